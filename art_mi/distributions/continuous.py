"""Continuous problems: Gaussian and Student-t vectors, and injective maps that hide them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from art_mi.distributions.closed_forms import additive_uniform_information, gaussian_information, student_information
from art_mi.distributions.problem import FloatArray, Problem


def gaussian(name: str, covariance: ArrayLike, dim_x: int) -> Problem:
    """A centred Gaussian vector cut into two.

    :param name: Name of the problem.
    :param covariance: Positive definite matrix of shape `(d_x + d_z, d_x + d_z)`.
    :param dim_x: Number of coordinates that go to `x`.
    :return: The problem.
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    root = np.linalg.cholesky(matrix)

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        samples = rng.standard_normal((n, len(matrix))) @ root.T
        return samples[:, :dim_x], samples[:, dim_x:]

    return Problem(name, gaussian_information(matrix, dim_x), sampler)


def student(name: str, dispersion: ArrayLike, dim_x: int, df: float) -> Problem:
    """A multivariate Student-t vector cut into two; identity dispersion still carries information through the radius.

    :param name: Name of the problem.
    :param dispersion: Positive definite dispersion matrix.
    :param dim_x: Number of coordinates that go to `x`.
    :param df: Degrees of freedom, positive.
    :return: The problem.
    """
    matrix = np.asarray(dispersion, dtype=np.float64)
    root = np.linalg.cholesky(matrix)

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        scale = np.sqrt(df / rng.chisquare(df, size=(n, 1)))
        samples = scale * (rng.standard_normal((n, len(matrix))) @ root.T)
        return samples[:, :dim_x], samples[:, dim_x:]

    return Problem(name, student_information(matrix, dim_x, df), sampler)


def additive_uniform(half_width: float) -> Problem:
    """Z = X + U(-e, e) with X ~ U(0, 1): a density with sharp edges.

    :param half_width: Half-width e of the noise, positive.
    :return: The problem.
    """

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-half_width, half_width, size=(n, 1))

    return Problem(f"additive uniform {half_width}", additive_uniform_information(half_width), sampler)


def bivariate(rho: float) -> FloatArray:
    """The covariance of two standard normals.

    :param rho: Their correlation.
    """
    return np.array([[1.0, rho], [rho, 1.0]])


def dense(dim_x: int, dim_z: int, rho: float = 0.5) -> FloatArray:
    """The covariance in which all coordinates are correlated alike.

    :param dim_x: Coordinates of x.
    :param dim_z: Coordinates of z.
    :param rho: The correlation of any two.
    """
    return np.full((dim_x + dim_z, dim_x + dim_z), rho) + (1 - rho) * np.eye(dim_x + dim_z)


def canonical(dim_x: int, dim_z: int, correlations: Sequence[float]) -> FloatArray:
    """The covariance in which x_i and z_i have the i-th given correlation and nothing else is correlated.

    :param dim_x: Coordinates of x.
    :param dim_z: Coordinates of z.
    :param correlations: One for each of the first pairs.
    """
    matrix = np.eye(dim_x + dim_z)
    for i, rho in enumerate(correlations):
        matrix[i, dim_x + i] = matrix[dim_x + i, i] = rho
    return matrix


def low_rank(dim_x: int, dim_z: int, rank: int, noise_std: float, seed: int) -> FloatArray:
    """The covariance of shared factors seen through random loadings and independent noise.

    :param dim_x: Coordinates of x.
    :param dim_z: Coordinates of z.
    :param rank: Number of factors.
    :param noise_std: Standard deviation of the noise.
    :param seed: Seed of the loadings.
    """
    loadings = np.random.default_rng(seed).standard_normal((dim_x + dim_z, rank)) / np.sqrt(rank)
    return np.asarray(loadings @ loadings.T + noise_std**2 * np.eye(dim_x + dim_z))


def normal_cdf(values: FloatArray) -> FloatArray:
    """Uniform margins, from standard normal ones.

    :param values: Shape `(n, d)`.
    """
    return np.asarray(norm.cdf(values))


def half_cube(values: FloatArray) -> FloatArray:
    """The signed power 3/2, `x sqrt(|x|)`: heavier tails and a kink at 0.

    :param values: Shape `(n, d)`.
    """
    return values * np.sqrt(np.abs(values))


def wiggly_x(values: FloatArray) -> FloatArray:
    """An increasing map with ripples (derivative above 0.1).

    :param values: Shape `(n, d)`.
    """
    ripple = 0.4 * np.sin(values) + 0.2 * np.sin(1.7 * values + 1) + 0.03 * np.sin(3.3 * values - 2.5)
    return np.asarray(values + ripple)


def wiggly_z(values: FloatArray) -> FloatArray:
    """Another increasing map with ripples (derivative above 0.4).

    :param values: Shape `(n, d)`.
    """
    ripple = -0.4 * np.sin(0.4 * values) + 0.17 * np.sin(1.3 * values + 3.5) + 0.02 * np.sin(4.3 * values - 2.5)
    return np.asarray(values + ripple)


def bimodal(weight: float, left: float, right: float) -> Callable[[FloatArray], FloatArray]:
    """Map a standard normal coordinate to the mixture `weight` N(left, 1) + (1 - weight) N(right, 1).

    :param weight: Weight of the left mode.
    :param left: Mean of the left mode.
    :param right: Mean of the right mode.
    :return: The increasing map, by interpolation of the inverse distribution function.
    """
    grid = np.linspace(min(left, right) - 9.0, max(left, right) + 9.0, 40_001)
    margin = weight * norm.cdf(grid - left) + (1 - weight) * norm.cdf(grid - right)
    inside = (margin > 1e-15) & (margin < 1 - 1e-15)
    return lambda values: np.asarray(np.interp(values, norm.ppf(margin[inside]), grid[inside]))


def spiral(axis: int, speed: float) -> Callable[[FloatArray], FloatArray]:
    """Rotate the plane of two neighbouring axes by an angle that grows with the squared norm: a diffeomorphism.

    :param axis: First axis of the plane; the other is the next one.
    :param speed: Radians per unit of squared norm.
    :return: The map, which leaves the norm of every point unchanged.
    """

    def rotate(values: FloatArray) -> FloatArray:
        angle = speed * np.sum(values**2, axis=1)
        turned = values.copy()
        turned[:, axis] = np.cos(angle) * values[:, axis] - np.sin(angle) * values[:, axis + 1]
        turned[:, axis + 1] = np.sin(angle) * values[:, axis] + np.cos(angle) * values[:, axis + 1]
        return turned

    return rotate


def swiss_roll(values: FloatArray) -> FloatArray:
    """A spiral curve in the plane, from one standard normal coordinate.

    :param values: Shape `(n, 1)`.
    """
    t = 1.5 * np.pi * (1 + 2 * norm.cdf(values[:, 0]))
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 21.0
