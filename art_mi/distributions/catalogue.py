"""The list of problems that the self-test and the documentation run through."""

from __future__ import annotations

import numpy as np

from art_mi.distributions import continuous as c
from art_mi.distributions import discrete as d
from art_mi.distributions import mixtures as m
from art_mi.distributions.problem import Problem


def _gaussian() -> list[Problem]:
    return [
        c.gaussian("independent 1x1", np.eye(2), 1),
        c.gaussian("independent 5x5", np.eye(10), 5),
        c.gaussian("bivariate 0.5", c.bivariate(0.5), 1),
        c.gaussian("bivariate 0.75", c.bivariate(0.75), 1),
        c.gaussian("bivariate 0.95", c.bivariate(0.95), 1),
        c.gaussian("dense 2x2", c.dense(2, 2), 2),
        c.gaussian("dense 5x5", c.dense(5, 5), 5),
        c.gaussian("dense 25x25", c.dense(25, 25), 25),
        c.gaussian("two pairs 3x3", c.canonical(3, 3, [0.8, 0.8]), 3),
        c.gaussian("two pairs 5x5", c.canonical(5, 5, [0.8, 0.8]), 5),
        c.gaussian("two pairs 32x32", c.canonical(32, 32, [0.8, 0.8]), 32),
        c.gaussian("low rank 16x4", c.low_rank(16, 4, 2, 1.0, seed=3), 16),
    ]


def _heavy_tailed() -> list[Problem]:
    t_2x2, t_3x3 = c.student("Student 2x2, df 1", np.eye(4), 2, 1), c.student("Student 3x3, df 2", np.eye(6), 3, 2)
    return [
        c.student("Student 1x1, df 1", np.eye(2), 1, 1),
        t_2x2,
        t_3x3,
        c.student("Student 5x5, df 3", np.eye(10), 5, 3),
        c.student("Student dense 2x2, df 5", c.dense(2, 2), 2, 5),
        c.student("Student two pairs 3x3, df 3", c.canonical(3, 3, [0.7, 0.7]), 3, 3),
        t_2x2.transformed("asinh Student 2x2, df 1", np.arcsinh, np.arcsinh),
        t_3x3.transformed("asinh Student 3x3, df 2", np.arcsinh, np.arcsinh),
    ]


def _transformed() -> list[Problem]:
    pair = c.gaussian("base", c.bivariate(0.75), 1)
    three, five = (c.gaussian("base", c.canonical(k, k, [0.8, 0.8]), k) for k in (3, 5))
    return [
        pair.transformed("uniform margins 1x1", c.normal_cdf, c.normal_cdf),
        pair.transformed("wiggly 1x1", c.wiggly_x, c.wiggly_z),
        pair.transformed("half-cube 1x1", c.half_cube, c.half_cube),
        pair.transformed("bimodal margins", c.bimodal(0.3, 0.0, 5.0), c.bimodal(0.5, -1.0, 3.0)),
        pair.transformed("Swiss roll 2x1", c.swiss_roll, c.normal_cdf),
        three.transformed("uniform margins 3x3", c.normal_cdf, c.normal_cdf),
        three.transformed("spiral 3x3", c.spiral(0, 1 / 3), c.spiral(1, 1 / 3)),
        three.transformed(
            "spiral of uniform margins 3x3",
            lambda x: c.spiral(0, 1 / 3)(c.normal_cdf(x)),
            lambda z: c.spiral(1, 1 / 3)(c.normal_cdf(z)),
        ),
        five.transformed("half-cube 5x5", c.half_cube, c.half_cube),
        five.transformed("spiral 5x5", c.spiral(0, 1 / 5), c.spiral(1, 1 / 5)),
        *(c.additive_uniform(e) for e in (0.1, 0.3, 0.75, 2.0)),
    ]


def _discrete() -> list[Problem]:
    return [
        d.finite_table("table 3x4", [[4, 1, 1, 0], [1, 3, 1, 2], [0, 1, 5, 1]]),
        d.symmetric_channel(8, 0.2),
        d.noisy_binary_channel(1, 0.1),
        d.noisy_binary_channel(4, 0.1),
        d.erasure_channel(0.3),
        d.multinomial_uniform(5),
        d.multinomial_uniform(3, 4),
        d.zero_inflated_poisson(0.15),
        d.two_point_gaussian(1.0),
        d.two_point_gaussian(1.5, dim=10),
        d.two_point_uniform(0.6, 1.0),
    ]


def _mixtures() -> list[Problem]:
    return [m.cross(0.9), m.inliers(0.9, 0.2), m.letters(), m.waves(), m.galaxy()]


def problems() -> list[Problem]:
    """All problems of the catalogue, in a fixed order.

    >>> from art_mi.distributions import problems
    >>> len(problems()) >= 40
    True

    :return: At least forty problems of 1 to 32 dimensions a side, with information from 0 to about 2 nats.
    """
    return _gaussian() + _heavy_tailed() + _transformed() + _discrete() + _mixtures()
