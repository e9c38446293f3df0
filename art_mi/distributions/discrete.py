"""Problems with discrete parts: finite tables, channels with a finite input, counts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from art_mi.distributions.closed_forms import (
    LOG_2,
    binary_entropy,
    table_information,
    two_point_gaussian_information,
    two_point_uniform_information,
    zero_inflated_poisson_information,
)
from art_mi.distributions.problem import FloatArray, Problem


def finite_table(name: str, table: ArrayLike) -> Problem:
    """A finite joint distribution; the sides are the row and column numbers.

    :param name: Name of the problem.
    :param table: Non-negative weights of shape `(k_x, k_z)`.
    :return: The problem.
    """
    p = np.asarray(table, dtype=np.float64)
    p = p / p.sum()

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        cells = rng.choice(p.size, size=n, p=p.ravel())
        return (cells // p.shape[1]).astype(float), (cells % p.shape[1]).astype(float)

    return Problem(name, table_information(p), sampler)


def symmetric_channel(nb_symbols: int, error: float) -> Problem:
    """A uniform symbol that is replaced by another one, uniform among the others, with probability `error`.

    :param nb_symbols: Number of symbols, at least 2.
    :param error: Probability of a wrong symbol.
    :return: The problem.
    """
    wrong = error / (nb_symbols - 1)
    table = np.full((nb_symbols, nb_symbols), wrong) + (1 - error - wrong) * np.eye(nb_symbols)
    return finite_table(f"symmetric channel {nb_symbols}, error {error}", table)


def erasure_channel(erasure: float) -> Problem:
    """A fair sign that is erased (sent as 0) with probability `erasure`: (1 - erasure) log 2.

    :param erasure: Probability of an erasure.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x = rng.choice([-1.0, 1.0], size=n)
        return x, x * (rng.uniform(size=n) >= erasure)

    return Problem(f"erasure channel {erasure}", (1 - erasure) * LOG_2, sampler)


def noisy_binary_channel(dim: int, error: float) -> Problem:
    """Independent fair signs, each flipped with probability `error`: dim (log 2 - H2(error)).

    :param dim: Number of signs.
    :param error: Probability of a flip.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x = rng.choice([-1.0, 1.0], size=(n, dim))
        return x, x * np.where(rng.uniform(size=(n, dim)) < error, -1.0, 1.0)

    return Problem(f"{dim} flipped signs, error {error}", dim * (LOG_2 - binary_entropy(error)), sampler)


def two_point_gaussian(t: float, dim: int = 1) -> Problem:
    """A fair sign at distance t, hidden in `dim` coordinates of x, seen through unit Gaussian noise: J(t).

    :param t: Half the distance of the two points in noise standard deviations.
    :param dim: Dimension of x: one sign and `dim - 1` independent Gaussians.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        sign = rng.choice([-1.0, 1.0], size=(n, 1))
        z = t * sign + rng.standard_normal((n, 1))
        return np.hstack([sign, rng.standard_normal((n, dim - 1))]), z

    return Problem(f"two points, Gaussian noise {t}, dim {dim}", two_point_gaussian_information(t), sampler)


def two_point_uniform(m: float, h: float) -> Problem:
    """A fair sign at distance m seen through uniform noise U(-h, h): log 2 min(1, m / h).

    :param m: Half the distance of the two points.
    :param h: Half-width of the noise.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        sign = rng.choice([-1.0, 1.0], size=n)
        return sign, m * sign + rng.uniform(-h, h, size=n)

    return Problem(f"two points {m}, uniform noise {h}", two_point_uniform_information(m, h), sampler)


def multinomial_uniform(*nb_symbols: int) -> Problem:
    """Independent coordinates, each a uniform symbol in {0..m-1} and Z = X + U(0, 2): log m - (m - 1) / m log 2.

    | Paper link: https://arxiv.org/abs/1709.06212

    :param nb_symbols: The number of symbols m of each coordinate.
    :return: The problem.
    """
    sizes = np.asarray(nb_symbols)

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x = rng.integers(0, sizes, size=(n, len(sizes))).astype(float)
        return x, x + rng.uniform(0.0, 2.0, size=x.shape)

    mi = sum(math.log(m) - (m - 1) / m * LOG_2 for m in nb_symbols)
    return Problem(f"multinomial + uniform {'x'.join(map(str, nb_symbols))}", mi, sampler)


def zero_inflated_poisson(p: float) -> Problem:
    """X ~ Exp(1); Z is 0 with probability p and Poisson(X) otherwise.

    :param p: Probability of an inflated zero.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x = rng.exponential(size=n)
        return x, rng.poisson(x) * (rng.uniform(size=n) >= p).astype(float)

    return Problem(f"zero-inflated Poisson {p}", zero_inflated_poisson_information(p), sampler)
