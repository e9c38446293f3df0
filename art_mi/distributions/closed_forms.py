"""Closed forms: entropies, channels, and worst cases of representations that can be worked out on paper."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, special
from scipy.stats import norm

from art_mi.rules import NON_NEGATIVE, NUMBER, POSITIVE, PROPORTION, check, integer

LOG_2 = math.log(2.0)


def _square(name: str, values: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
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
    a = np.atleast_2d(np.asarray(weights, dtype=np.float64))
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
    p = np.asarray(table, dtype=np.float64)
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


@dataclass(frozen=True)
class SignWorstCase:
    """Exact information of a sign representation, clean and worst case, in nats, with the risks of the sign itself.

    :param normal: Information of the sign on clean inputs.
    :param worst_case: Least information that an attacker can leave.
    :param vulnerability: Their difference.
    :param risk: Probability that the sign is not y.
    :param adversarial_risk: Probability that an attacker can make it so.
    :param adversarial_gap: Their difference.
    """

    normal: float
    worst_case: float
    vulnerability: float
    risk: float
    adversarial_risk: float
    adversarial_gap: float


def linear_sign_worst_case(m: float, s: float, reach: float, *, bias: float = 0.0) -> SignWorstCase:
    """Exact worst-case information of g = sgn(w.x + b) under y = +-1 fair, x ~ N(y theta, Sigma).

    Points with `|w.x + b|` within the reach are free, all others fixed, so P(g = +1) ranges over an interval; H2 is
    concave, so the least entropy is at one of its ends.

    | Paper link: https://arxiv.org/abs/2002.11798 (model 3.1 and theorem 3.2, whose printed limits are swapped)

    >>> from art_mi.distributions import linear_sign_worst_case
    >>> found = linear_sign_worst_case(m=1.0, s=1.0, reach=1.0)
    >>> round(found.normal, 4), round(found.worst_case, 4)
    (0.6931, 0.5745)

    :param m: Mean w.theta of the score for y = +1.
    :param s: Its standard deviation sqrt(w' Sigma w), positive.
    :param reach: How far the score of a point can be moved, eps ||w||_q with the dual exponent q, non-negative.
    :param bias: Bias b of the score.
    :return: Information, worst case and vulnerability in nats, and the risks of g as a classifier of y.
    :raises ValueError: If an argument breaks its rule.
    """
    for name, value, rule in (
        ("m", m, NUMBER),
        ("s", s, POSITIVE),
        ("reach", reach, NON_NEGATIVE),
        ("bias", bias, NUMBER),
    ):
        check(name, value, rule)

    def positive(shift: float) -> float:
        return 0.5 * float(norm.cdf((m + bias + shift) / s) + norm.cdf((-m + bias + shift) / s))

    def risk(r: float) -> float:
        return 0.5 * float(norm.cdf((r - m - bias) / s) + norm.cdf((r - m + bias) / s))

    normal = binary_entropy(positive(0.0))
    worst = min(binary_entropy(positive(reach)), binary_entropy(positive(-reach)))
    return SignWorstCase(normal, worst, normal - worst, risk(0.0), risk(reach), risk(reach) - risk(0.0))


def empirical_sign_worst_case(scores: ArrayLike, reach: ArrayLike) -> float:
    """Exact least entropy of sgn(score) over a finite sample whose i-th score can move by `reach[i]`.

    For an l_inf attack inside a box the reach of a point is `sum_j |w_j| min(eps, r_j)`, r_j its distance to the face
    of the box in the helpful direction, which the caller works out.

    >>> from art_mi.distributions import empirical_sign_worst_case
    >>> round(empirical_sign_worst_case([-2.0, -1.0, 1.0, 2.0], reach=1.0), 4)  # three of four on one side
    0.5623

    :param scores: Values w.x + b of shape `(n,)`; sgn(0) = +1.
    :param reach: Non-negative reach towards the other sign, scalar or of shape `(n,)`.
    :return: The least attainable entropy of the code in nats.
    :raises ValueError: If there is no score, or a reach is negative.
    """
    values, radius = np.broadcast_arrays(np.asarray(scores, float), np.asarray(reach, float))
    if values.size == 0:
        raise ValueError(f"`scores` must hold at least one score, got {scores!r}.")
    if not (radius >= 0).all():
        raise ValueError(f"`reach` must be non-negative, got {reach!r}.")
    upper = float(np.mean((values >= 0) | (values + radius >= 0)))
    lower = float(np.mean((values >= 0) & (values - radius >= 0)))
    return min(binary_entropy(upper), binary_entropy(lower))


def floor_worst_case(cells: int, eps: float) -> float:
    """Least entropy of floor(x') for x uniform on `[0, cells]` and `|x' - x| <= eps`, found by trying all choices.

    Points within eps of an inner step are free, and each strip goes wholly to one side of its step.

    >>> from art_mi.distributions import floor_worst_case
    >>> round(floor_worst_case(3, 0.25), 5)
    1.02818

    :param cells: Number of cells, at least 1.
    :param eps: Radius in `[0, 1/2]`.
    :return: Entropy in nats.
    :raises ValueError: If `cells` or `eps` breaks its rule.
    """
    check("cells", cells, integer(1))
    check("eps", eps, ("a number between 0 and 1/2", lambda v: 0 <= v <= 0.5))
    steps = np.array(list(itertools.product([-eps, eps], repeat=cells - 1)))
    masses = 1 + np.diff(steps, axis=1, prepend=0.0, append=0.0)
    return float(special.entr(masses / cells).sum(axis=1).min())


def theorem_3_2_bounds(adversarial_gap: float) -> tuple[float, float]:
    """Limits of the representation vulnerability from the adversarial gap AG, with the printed order corrected.

    log 2 - H2(1/2 - AG/2) <= RV <= log 2 - H2(max(0, 1/2 - AG)).

    | Paper link: https://arxiv.org/abs/2002.11798 (theorem 3.2; the paper prints the two limits swapped)

    >>> from art_mi.distributions import theorem_3_2_bounds
    >>> low, high = theorem_3_2_bounds(0.1)
    >>> round(low, 4), round(high, 4)
    (0.005, 0.0201)

    :param adversarial_gap: Adversarial risk minus risk, in `[0, 1]`.
    :return: Lower and upper limit in nats.
    :raises ValueError: If `adversarial_gap` is outside `[0, 1]`.
    """
    check("adversarial_gap", adversarial_gap, PROPORTION)
    return (
        LOG_2 - binary_entropy(0.5 - 0.5 * adversarial_gap),
        LOG_2 - binary_entropy(max(0.0, 0.5 - adversarial_gap)),
    )
