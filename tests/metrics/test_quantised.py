"""Codes that attacks meet, also those of no clean input."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import RepresentationVulnerability, WorstCaseMIEstimator
from art_mi.codes import minimum_entropy_cover
from art_mi.metrics import quantised, reached
from art_mi.metrics.reached import Reached, keys_of

LOG_2 = math.log(2)
TWO_POINTS = np.tile([[0.5], [-0.5]], (200, 1))


def measured(weight: Any, bias: Any, x: Any, eps: float, y: Any = None, **settings: Any) -> RepresentationVulnerability:
    """Of the outputs W x + b, by codes."""
    rows = torch.as_tensor(np.atleast_2d(weight), dtype=torch.float32)
    model = nn.Linear(rows.shape[1], len(rows))
    model.weight.data.copy_(rows)
    model.bias.data.copy_(torch.as_tensor(bias, dtype=torch.float32).expand(len(rows)))
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (rows.shape[1],), max(2, len(rows)), device_type="cpu")
    estimator = WorstCaseMIEstimator(eps, method="quantised", verbose=False, **settings)
    return estimator.evaluate(classifier, np.asarray(x, dtype=np.float32), y)


def test_signs_that_no_clean_input_has_are_reached() -> None:
    """The bits x + 0.2 >= 0 and 0.2 - x >= 0 of +-0.5 differ; within 0.4 of both lie inputs whose bits are 1, 1."""
    result = measured([[1.0], [-1.0]], 0.2, TWO_POINTS, 0.4, codes="sign")
    assert result.normal.value == pytest.approx(LOG_2)
    assert result.worst_case.value == 0.0
    assert result.vulnerability.value == pytest.approx(LOG_2)
    assert (result.settings["nb_codes"], result.settings["nb_codes_met"]) == (2, 1)
    assert measured([[1.0], [-1.0]], 0.2, TWO_POINTS, 0.29, codes="sign").vulnerability.value == 0.0


def test_a_class_that_no_clean_input_has_is_reached() -> None:
    """Of the outputs (4x, -4x, 1) the third is largest where |x| < 1/4."""
    y = np.tile([0, 1], 200)
    result = measured([[4.0], [-4.0], [0.0]], [0.0, 0.0, 1.0], TWO_POINTS, 0.45, y)
    assert result.normal.value == pytest.approx(LOG_2)
    assert result.worst_case.value == 0.0
    assert result.measured_accuracy == 0.0  # all are of the third class
    assert result.settings["nb_codes_attacked_for"] == 3
    assert measured([[4.0], [-4.0], [0.0]], [0.0, 0.0, 1.0], TWO_POINTS, 0.24, y).vulnerability.value == 0.0


def test_of_many_classes_the_predicted_and_then_the_nearest_are_attacked_for() -> None:
    """Of (4x, -4x, u - 9, ..., v - 0.1, ..., u - 9) at x = +-1/2, u = v = 0 only the one with v can become largest."""
    weight = np.concatenate([[[4.0, 0.0, 0.0], [-4.0, 0.0, 0.0]], np.tile([[0.0, 1.0, 0.0]], (48, 1))])
    bias = np.r_[0.0, 0.0, np.full(48, -9.0)]
    weight[36], bias[36] = [0.0, 0.0, 1.0], -0.1
    x = np.tile([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]], (100, 1))
    result = measured(weight, bias, x, 0.45, max_codes=3)
    assert result.worst_case.value == 0.0
    assert result.settings["nb_codes_attacked_for"] == 3
    assert measured(weight, bias, x, 0.45, max_codes=2).vulnerability.value == 0.0


def test_met_codes_are_kept_as_far_as_samples_meet_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reached, "MOST_MET", 1)
    found = Reached(np.array([10, 20]), np.array([0, 1, 1]))
    found.add(np.array([[30, 30, 40], [30, 20, 40], [50, 10, 50], [50, 50, 50]]))
    np.testing.assert_array_equal(found.keys, [10, 20, 50])  # met by all three
    np.testing.assert_array_equal(found.seen, [[1, 0, 1], [1, 1, 1], [0, 1, 1]])
    assert found.nb_left_out == 1  # 30; of 40 a single sample knew
    found.add(np.array([[60, 60, 60], [60, 20, 10]]))
    np.testing.assert_array_equal(found.keys, [10, 20, 50])  # as many met it, later
    np.testing.assert_array_equal(found.seen, [[1, 0, 1], [1, 1, 1], [1, 1, 1]])
    assert found.nb_left_out == 2


def test_what_is_left_out_is_said_and_leaves_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    problem = measured, random.normal(size=(16, 8)), 0.0, random.normal(size=(200, 8)), 0.3
    all_met = partial(*problem, codes="sign", max_codes=8)()
    monkeypatch.setattr(reached, "MOST_MET", 2)
    few = partial(*problem, codes="sign", max_codes=8)()
    assert all_met.settings["nb_codes_left_out"] == 0 < few.settings["nb_codes_left_out"]
    assert few.settings["nb_codes_met"] == 2 < all_met.settings["nb_codes_met"]
    assert all_met.worst_case.value < few.worst_case.value <= few.normal.value
    assert all_met.worst_case.lower <= few.worst_case.value


def test_keys_tell_codes_apart() -> None:
    codes = torch.randint(0, 2, (3000, 64), generator=torch.Generator().manual_seed(1))
    assert len(keys_of(codes).unique()) == len(codes.unique(dim=0))
    np.testing.assert_array_equal(keys_of(torch.tensor([[3], [-7]])), [3, -7])


@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_the_best_cover_where_it_is_too_dear_to_be_sought(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearest of 13 points of the plane: one more than are covered exactly by default."""
    random = np.random.default_rng(seed)
    points, x = torch.from_numpy(random.uniform(0, 4, (13, 2))).float(), random.uniform(0, 4, (600, 2))
    problem = measured, np.eye(2), 0.0, x, 0.7
    found = partial(*problem, codes=lambda z: torch.cdist(z, points).argmin(1), max_iter=10)()
    monkeypatch.setattr(quantised, "minimum_entropy_cover", partial(minimum_entropy_cover, exact_up_to=13))
    best = partial(*problem, codes=lambda z: torch.cdist(z, points).argmin(1), max_iter=10)()
    for here, there in ((found.worst_case, best.worst_case), (found.vulnerability, best.vulnerability)):
        assert here.lower <= there.value + 1e-9
        assert there.value <= here.upper + 1e-9
        assert here.confidence_interval[0] <= there.value <= here.confidence_interval[1]
