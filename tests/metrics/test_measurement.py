"""The vulnerability from two estimates, and what intervals and sides have to do with each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import Flag, MIEstimate, RepresentationVulnerability, WorstCaseMIEstimator
from art_mi.metrics.measurement import difference


def estimate(value: float, lower: float | None, upper: float | None, *flags: Flag, spread: float = 0.1) -> MIEstimate:
    replicates = value + spread * np.linspace(-1, 1, 1001)
    return MIEstimate(
        value, (value, value), "entropy of codes", "none", 1000, 0,
        lower=lower, upper=upper, flags=flags, replicates=replicates,
    )  # fmt: skip


NORMAL = estimate(3.0, 3.0, 3.0, spread=0.2)


@pytest.mark.parametrize(
    ("worst", "sides", "interval"),
    [
        (
            estimate(2.0, 2.0, 2.3),
            (0.7, 1.0),
            (0.7 - 0.095, 1.0 + 0.095),
        ),  # as behind noise: the value is the lower side
        (estimate(2.0, 1.7, 2.0), (1.0, 1.3), (1.0 - 0.095, 1.3 + 0.095)),  # as of codes: it is the upper one
        (estimate(2.0, 1.9, 2.2), (0.8, 1.1), (0.8 - 0.095, 1.1 + 0.095)),
        (estimate(2.0, None, None), (None, None), (1.0 - 0.095, 1.0 + 0.095)),  # as by a critic
    ],
)
def test_an_end_of_the_interval_lies_beyond_its_own_side(worst: MIEstimate, sides: Any, interval: Any) -> None:
    drop = difference(NORMAL, worst, "", attacked=True)
    assert drop.value == 1.0
    assert (drop.lower, drop.upper) == pytest.approx(sides) if sides[0] else (drop.lower, drop.upper) == sides
    assert drop.confidence_interval == pytest.approx(interval)


def test_what_counting_misses_of_the_normal_side_may_be_lost_too() -> None:
    worst = estimate(2.0, 1.7, 2.0)
    plain, low = (difference(NORMAL, worst, "", attacked=True, undercounted=miss) for miss in (0.0, 0.04))
    assert low.confidence_interval[0] == plain.confidence_interval[0]
    assert low.confidence_interval[1] == pytest.approx(plain.confidence_interval[1] + 0.04)


def test_where_an_attack_failed_no_upper_side_is_claimed() -> None:
    failed = difference(NORMAL, NORMAL, "", attacked=True)
    assert (failed.value, failed.lower, failed.upper) == (0.0, 0.0, None)
    assert failed.confidence_interval == (0.0, 0.0)
    still = difference(NORMAL, NORMAL, "", attacked=False)
    assert (still.value, still.lower, still.upper) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("lower", "upper"), [(5.7, math.inf), (5.7, 5.7), (None, None)])
def test_where_the_samples_could_show_no_more_there_is_no_limit_above(lower: Any, upper: Any) -> None:
    normal = estimate(5.7, lower, upper, Flag.SATURATED)
    assert difference(normal, normal, "", attacked=True).confidence_interval == (0.0, math.inf)
    assert difference(normal, normal, "", attacked=False).confidence_interval == (0.0, 0.0)


def test_no_more_is_lost_than_there_was_however_a_critic_misreads() -> None:
    """Read as 3 and -35 nats: at most 3 are lost. Read as -7 without and with perturbation: anything may be."""
    drop = difference(NORMAL, estimate(-35.0, None, None, Flag.NEGATIVE), "", attacked=True)
    assert drop.value == 3.0
    assert drop.confidence_interval == pytest.approx((3.0 - 0.19, 3.0 + 0.19))
    for flag in (Flag.NEGATIVE, Flag.CRITIC_OVERFIT):
        misread = estimate(-7.0, None, None, flag)
        failed = difference(misread, misread, "", attacked=True)
        assert (failed.value, failed.confidence_interval) == (0.0, (0.0, math.inf))
        assert difference(misread, estimate(-8.0, None, None), "", attacked=True).value == 0.0


def measured(n: int, **settings: Any) -> RepresentationVulnerability:
    model = nn.Linear(3, 3)
    model.weight.data.copy_(torch.eye(3))
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (3,), 3, device_type="cpu")
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return WorstCaseMIEstimator(verbose=False, max_iter=5, **settings).evaluate(classifier, x)


METHODS = {
    "noisy": {},
    "noisy, weak noise": {"noise_std": 0.1},
    "noisy, uniform": {"noise": "uniform"},
    "argmax": {"method": "quantised"},
    "sign": {"method": "quantised", "codes": "sign"},
    "64 cells": {"method": "quantised", "codes": lambda z: (2 * z).round().long().clamp(-2, 1)},
    "critic": {"method": "critic", "max_steps": 2, "attack_steps": 1},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("eps", [0.0, 0.3, 1.0])
def test_every_interval_holds_the_value_and_both_sides(method: str, eps: float) -> None:
    result = measured(400, eps=eps, **METHODS[method])
    for _, found in result.rows():
        low, high = found.confidence_interval
        assert low <= found.value <= high
        for side in (found.lower, found.upper):
            assert side is None or low <= side <= high


def test_noise_too_weak_to_show_anything_bounds_no_vulnerability() -> None:
    """All samples are told apart before and after: what is lost cannot be seen."""
    result = measured(300, eps=0.01, noise="uniform", noise_std=0.0005)
    drop = result.vulnerability
    assert (drop.value, drop.lower, drop.upper) == (0.0, 0.0, None)
    assert drop.confidence_interval == (0.0, math.inf)
    assert Flag.SATURATED in result.flags
    assert "[0.0000, inf], at least 0.0000" in str(drop)
    assert "[0.0000, inf]" in str(result)
    assert "at least 0.000" in result.to_html()
