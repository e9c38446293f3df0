"""Closed forms of worst cases: what perturbations leave of the information of a representation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.stats import norm

from art_mi.distributions.closed_forms import LOG_2, binary_entropy
from art_mi.distributions.problem import floats
from art_mi.rules import NON_NEGATIVE, NUMBER, POSITIVE, PROPORTION, check, integer


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
    values, radius = np.broadcast_arrays(floats("scores", scores), floats("reach", reach))
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
    check("eps", eps, ("a number between 0 and 1/2", lambda v: PROPORTION[1](v) and v <= 0.5))
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
