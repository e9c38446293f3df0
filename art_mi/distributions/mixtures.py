"""Gaussian mixtures: truth by numerical integration of the plane, exact to many digits for smooth densities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from art_mi.distributions.problem import FloatArray, Problem


def plane_mixture_information(
    weights: ArrayLike, means: ArrayLike, covariances: ArrayLike, *, nb_points: int = 1601, width: float = 8.0
) -> float:
    """Information between the two coordinates of a Gaussian mixture in the plane, by the trapezoid rule.

    :param weights: Weights of shape `(k,)`, normalised to sum 1.
    :param means: Means of shape `(k, 2)`.
    :param covariances: Covariances of shape `(k, 2, 2)`.
    :param nb_points: Grid points along each axis.
    :param width: Margin around the means in standard deviations.
    :return: Information in nats.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    mu, cov = np.asarray(means, dtype=np.float64), np.asarray(covariances, dtype=np.float64)
    std = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    low, high = (mu - width * std).min(0), (mu + width * std).max(0)
    axes = [np.linspace(low[i], high[i], nb_points) for i in range(2)]
    joint = np.zeros((nb_points, nb_points))
    for weight, m, c in zip(w, mu, cov, strict=True):
        precision = np.linalg.inv(c)
        dx, dz = axes[0] - m[0], axes[1] - m[1]
        exponent = precision[0, 0] * dx[:, None] ** 2 + precision[1, 1] * dz[None] ** 2
        exponent += 2 * precision[0, 1] * dx[:, None] * dz[None]
        joint += weight * np.exp(-0.5 * exponent) / (2 * np.pi * np.sqrt(np.linalg.det(c)))
    joint /= joint.sum()
    product = joint.sum(1)[:, None] * joint.sum(0)[None]
    support = joint > 1e-280
    return float(np.sum(joint[support] * np.log(joint[support] / product[support])))


def plane_mixture(name: str, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> Problem:
    """A Gaussian mixture in the plane; x and z are the two coordinates.

    :param name: Name of the problem.
    :param weights: Weights of shape `(k,)`.
    :param means: Means of shape `(k, 2)`.
    :param covariances: Covariances of shape `(k, 2, 2)`.
    :return: The problem.
    """
    w = np.asarray(weights, dtype=np.float64)
    mu, roots = np.asarray(means, dtype=np.float64), np.linalg.cholesky(np.asarray(covariances, dtype=np.float64))

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        k = rng.choice(len(w), size=n, p=w / w.sum())
        samples = mu[k] + np.einsum("nij,nj->ni", roots[k], rng.standard_normal((n, 2)))
        return samples[:, 0], samples[:, 1]

    return Problem(name, plane_mixture_information(w, mu, covariances), sampler)


def cross(rho: float) -> Problem:
    """Two crossing Gaussians of opposite correlation, which no linear measure sees.

    :param rho: Correlation of the first; the second has its negative.
    :return: The problem.
    """
    covariances = np.array([[[1, r], [r, 1]] for r in (rho, -rho)])
    return plane_mixture(f"crossing Gaussians {rho}", [1, 1], np.zeros((2, 2)), covariances)


def inliers(rho: float, fraction: float) -> Problem:
    """A correlated Gaussian pair of which a fraction is replaced by independent noise with the same margins.

    :param rho: Correlation of the signal.
    :param fraction: Fraction of pairs that are noise.
    :return: The problem.
    """
    covariances = np.array([[[1, rho], [rho, 1]], [[1, 0], [0, 1]]])
    return plane_mixture(f"inliers {rho}, {fraction}", [1 - fraction, fraction], np.zeros((2, 2)), covariances)


def letters() -> Problem:
    """Six narrow Gaussians that draw the letters A and I.

    :return: The problem.
    """
    slope = 0.95 * np.sqrt(0.04 * 0.2)
    means = np.array([[1, 0], [1, 1], [1, -1], [-0.8, -0.2], [-1.2, 0], [-0.4, 0]])
    covariances = [
        np.diag([0.01, 0.2]),
        np.diag([0.05, 0.001]),
        np.diag([0.05, 0.001]),
        np.diag([0.03, 0.001]),
        np.array([[0.04, slope], [slope, 0.2]]),
        np.array([[0.04, -slope], [-slope, 0.2]]),
    ]
    return plane_mixture("letters", np.ones(6), means, np.stack(covariances))


def waves(nb_components: int = 12, amplitude: float = 5.0, frequency: float = 3.0) -> Problem:
    """Balls on a line whose height repeats with period four, bent by a sine of an independent third coordinate.

    :param nb_components: Number of balls.
    :param amplitude: Amplitude of the sine.
    :param frequency: Frequency of the sine.
    :return: The problem, x in the plane and z scalar.
    """
    k = np.arange(nb_components)
    means = 1.5 * np.stack([k, k % 4], axis=1)
    base = plane_mixture("base", np.ones(nb_components), means, np.tile(0.1 * np.eye(2), (nb_components, 1, 1)))

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        x, z = base.sample(n, rng)
        free = rng.standard_normal(n)
        bent = x[:, 0] + amplitude * np.sin(frequency * free)
        return np.stack([0.1 * bent - 0.8, 0.5 * free], axis=1), z

    return Problem(f"waves {nb_components}", base.mi, sampler)


def galaxy(speed: float = 0.5, distance: float = 3.0) -> Problem:
    """Two balls in space, x their first two coordinates wound into a spiral, z the third.

    Only the projection of x on the line through the balls carries information: the truth is an integral in the plane.

    :param speed: Radians per unit of squared norm.
    :param distance: Distance of the balls along each axis.
    :return: The problem.
    """
    half = 0.5 * distance
    base = plane_mixture(
        "base", [1, 1], [[-half * np.sqrt(2), -half], [half * np.sqrt(2), half]], np.tile(np.eye(2), (2, 1, 1))
    )

    def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        along, z = base.sample(n, rng)
        across = rng.standard_normal(n)
        x = np.stack([along[:, 0] + across, along[:, 0] - across], axis=1) / np.sqrt(2)
        angle = speed * np.sum(x**2, axis=1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=1), z

    return Problem(f"galaxy {speed}, {distance}", base.mi, sampler)
