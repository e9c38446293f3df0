"""Closed forms of entropies and of the information of channels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, special
from scipy.stats import norm

from art_mi.distributions.problem import floats
from art_mi.rules import NON_NEGATIVE, NUMBER, POSITIVE, PROPORTION, check, integer

LOG_2 = math.log(2.0)


def _square(name: str, values: ArrayLike) -> NDArray[np.float64]:
    matrix = floats(name, values)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`{name}` must be a square matrix, got shape {matrix.shape}.")
    return matrix


def binary_entropy(p: float) -> float:
    """Entropy H2(p) = -p log p - (1 - p) log(1 - p) of a coin.

    >>> from art_mi.distributions import binary_entropy
    >>> round(binary_entropy(0.5), 4), binary_entropy(1.0)
    (0.6931, 0.0)

    :param p: Probability in `[0, 1]`.
    :return: Entropy in nats, between 0 and log 2.
    :raises ValueError: If `p` is not a probability.
    """
    check("p", p, PROPORTION)
    return float(special.entr(p) + special.entr(1.0 - p))


def gaussian_information(covariance: ArrayLike, dim_x: int) -> float:
    """Information between the first `dim_x` and the other coordinates of a Gaussian vector.

    I = (log det S_x + log det S_z - log det S) / 2.

    >>> from art_mi.distributions import gaussian_information
    >>> round(gaussian_information([[1.0, 0.9], [0.9, 1.0]], 1), 4)
    0.8304

    :param covariance: Positive definite matrix of shape `(d_x + d_z, d_x + d_z)`.
    :param dim_x: Number of coordinates of the first vector.
    :return: Information in nats.
    :raises ValueError: If the matrix is not positive definite or `dim_x` leaves a side empty.
    """
    matrix = _square("covariance", covariance)
    check("dim_x", dim_x, integer(1, len(matrix) - 1))
    blocks = (matrix[:dim_x, :dim_x], matrix[dim_x:, dim_x:], matrix)
    signs, logdets = zip(*(np.linalg.slogdet(block) for block in blocks), strict=True)
    if min(signs) <= 0:
        raise ValueError("`covariance` must be positive definite, got a matrix with determinant <= 0.")
    return 0.5 * float(logdets[0] + logdets[1] - logdets[2])


def linear_gaussian_information(weights: ArrayLike, noise_std: float, covariance: ArrayLike | None = None) -> float:
    """Information of the channel Z = A X + N(0, sigma^2 I) with Gaussian X: log det(I + A S A' / sigma^2) / 2.

    >>> from art_mi.distributions import linear_gaussian_information
    >>> round(linear_gaussian_information([[2.0]], 0.5), 4)
    1.4166

    :param weights: Matrix A of shape `(d_z, d_x)`.
    :param noise_std: Standard deviation sigma of the noise, positive.
    :param covariance: Covariance S of X; `None` is the identity.
    :return: Information in nats.
    :raises ValueError: If `noise_std` is not positive, or `covariance` of another shape.
    """
    check("noise_std", noise_std, POSITIVE)
    a = np.atleast_2d(floats("weights", weights))
    s = np.eye(a.shape[1]) if covariance is None else _square("covariance", covariance)
    if a.shape[1:] != s.shape[:1]:
        raise ValueError(f"`covariance` must have the {a.shape[1]} rows of X, got shape {s.shape}.")
    return 0.5 * float(np.linalg.slogdet(np.eye(a.shape[0]) + a @ s @ a.T / noise_std**2)[1])


def student_information(dispersion: ArrayLike, dim_x: int, df: float) -> float:
    """Information between two blocks of a multivariate Student-t vector.

    The Gaussian value at the same dispersion plus a term of the degrees of freedom and dimensions alone, the sum
    h(d_x) + h(d_z) - h(d_x + d_z) of the entropies at identity dispersion, so it is positive for uncorrelated blocks.

    | Paper link: https://doi.org/10.1111/j.1467-9469.2011.00774.x

    >>> from art_mi.distributions import student_information
    >>> round(student_information([[1.0, 0.0], [0.0, 1.0]], 1, df=1), 4)  # uncorrelated, not independent
    0.2242

    :param dispersion: Positive definite dispersion (not covariance) matrix.
    :param dim_x: Number of coordinates of the first vector.
    :param df: Degrees of freedom, positive.
    :return: Information in nats.
    :raises ValueError: If `df` is not positive, or as :func:`gaussian_information`.
    """
    check("df", df, POSITIVE)
    dim = len(_square("dispersion", dispersion))

    def entropy(d: int) -> float:
        half = 0.5 * (df + d)
        log_norm = special.gammaln(0.5 * df) - special.gammaln(half) + 0.5 * d * math.log(df * math.pi)
        return float(log_norm + half * (special.digamma(half) - special.digamma(0.5 * df)))

    return gaussian_information(dispersion, dim_x) + entropy(dim_x) + entropy(dim - dim_x) - entropy(dim)


def table_information(table: ArrayLike) -> float:
    """Information of a finite joint distribution, sum P log(P / (P_x P_z)).

    >>> from art_mi.distributions import table_information
    >>> round(table_information([[1, 0], [0, 1]]), 4)
    0.6931

    :param table: Non-negative weights of shape `(k_x, k_z)`; they are normalised to sum 1.
    :return: Information in nats.
    :raises ValueError: If it is no table, a weight is negative, or all are zero.
    """
    p = floats("table", table)
    if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any() or p.sum() == 0:
        raise ValueError(f"`table` must hold non-negative weights (k_x, k_z), not all zero, got {table!r}.")
    p = p / p.sum()
    return float(-special.entr(p).sum() + special.entr(p.sum(1)).sum() + special.entr(p.sum(0)).sum())


def additive_uniform_information(half_width: float) -> float:
    """Information of Z = X + U(-e, e) with X ~ U(0, 1): e - log(2 e) for e <= 1/2, else 1 / (4 e).

    >>> from art_mi.distributions import additive_uniform_information
    >>> round(additive_uniform_information(0.1), 4)
    1.7094

    :param half_width: Half-width e of the noise, positive.
    :return: Information in nats.
    :raises ValueError: If `half_width` is not positive.
    """
    check("half_width", half_width, POSITIVE)
    return half_width - math.log(2 * half_width) if half_width <= 0.5 else 0.25 / half_width


def two_point_gaussian_information(t: float) -> float:
    """Information J(t) of a fair sign sent at distance t through unit Gaussian noise: Z = +-t + N(0, 1).

    J(t) = log 2 - E[log(1 + exp(-2 t (t + N)))], increasing from 0 to log 2. The worst case of Z = w.X + s N with
    X = +-mu, when every point may move r = eps ||w||_q along the channel, is `J((m - r)_+ / s)` with `m = |w.mu|`.

    >>> from art_mi.distributions import two_point_gaussian_information
    >>> round(two_point_gaussian_information(1.0), 4)
    0.3368

    :param t: Half the distance of the two points in noise standard deviations; its sign does not matter.
    :return: Information in nats.
    :raises ValueError: If `t` is no finite number.
    """
    t = abs(float(check("t", t, NUMBER)))

    def integrand(noise: float) -> float:
        return float(norm.pdf(noise) * np.logaddexp(0.0, -2.0 * t * (t + noise)))

    loss = integrate.quad(integrand, -12.0, 12.0, points=[-min(t, 12.0), 0.0], epsabs=1e-12, limit=200)[0]
    return max(0.0, LOG_2 - loss)


def two_point_uniform_information(m: float, h: float) -> float:
    """Information of a fair sign at distance m through uniform noise: Z = +-m + U(-h, h): `log 2 min(1, |m| / h)`.

    Its worst case under a reach r along the channel is the same formula at `(m - r)_+`.

    >>> from art_mi.distributions import two_point_uniform_information
    >>> round(two_point_uniform_information(0.6, 1.0), 4)
    0.4159

    :param m: Half the distance of the two points.
    :param h: Half-width of the noise, positive.
    :return: Information in nats.
    :raises ValueError: If `m` is no finite number or `h` not positive.
    """
    check("m", m, NUMBER)
    check("h", h, POSITIVE)
    return LOG_2 * min(1.0, abs(m) / h)


def zero_inflated_poisson_information(p: float) -> float:
    """Information of X ~ Exp(1) and Z, which is 0 with probability p and Poisson(X) otherwise.

    The published value (1 - p) 0.3012 of Gao et al. (2017) is I(X; Z, B) with the inflation B seen; a zero of Z does
    not show B, so the information is smaller for every p > 0. Integrated here over the law of Z given X.

    >>> from art_mi.distributions import zero_inflated_poisson_information
    >>> round(zero_inflated_poisson_information(0.0), 4)
    0.3012

    :param p: Probability of an inflated zero, in `[0, 1)`.
    :return: Information in nats.
    :raises ValueError: If `p` is outside `[0, 1)`.
    """
    check("p", p, ("a number of at least 0 and below 1", lambda v: NON_NEGATIVE[1](v) and v < 1))
    counts = np.arange(1, 200)
    mass_zero = p + (1 - p) / 2

    def given(x: float) -> float:
        zero = p + (1 - p) * math.exp(-x)
        log_poisson = counts * math.log(x) - x - special.gammaln(counts + 1)
        # P(Z = k) = (1 - p) 2^-(k + 1): the inflation cancels in the ratio for k >= 1
        rest = (1 - p) * np.exp(log_poisson) @ (log_poisson + (counts + 1) * LOG_2)
        return float(math.exp(-x) * (zero * math.log(zero / mass_zero) + rest))

    return float(integrate.quad(given, 0.0, 1.0)[0] + integrate.quad(given, 1.0, 60.0, limit=200)[0])
