"""Feature profiles against closed forms and against the metric on a layer of one unit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn

from art_mi import Flag, WorstCaseMIEstimator, feature_profile
from art_mi.distributions import two_point_gaussian_information
from art_mi.metrics import features
from art_mi.results import FeatureProfile


def model(weight: Any, *after: nn.Module) -> nn.Sequential:
    weight = torch.as_tensor(np.atleast_2d(weight), dtype=torch.float32)
    first = nn.Linear(weight.shape[1], len(weight))
    first.weight.data.copy_(weight)
    first.bias.data.fill_(0.25)
    return nn.Sequential(first, *after, nn.Flatten())


def classifier(network: nn.Module, shape: tuple[int, ...] = (5,)) -> PyTorchClassifier:
    return PyTorchClassifier(network, nn.CrossEntropyLoss(), shape, 3, device_type="cpu")


def two_points(n: int, mu: float = 1.5) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    w = generator.normal(size=5)
    w /= np.linalg.norm(w)
    x = generator.normal(size=(n, 5))
    sign = np.tile([-1.0, 1.0], n // 2)
    return (x - np.outer(x @ w, w) + np.outer(mu * sign, w)).astype(np.float32), w


def vectors(n: int = 120) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)


def rows(count: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(3).normal(size=(count, 5))


def profile(network: nn.Module, x: Any = None, layer: str | None = "0", **options: Any) -> FeatureProfile:
    options = {"eps": 0.2, "max_iter": 4, "verbose": False, **options}
    return feature_profile(classifier(network), vectors() if x is None else x, layer, **options)


def test_a_unit_reaches_the_exact_worst_case_of_two_points_whatever_its_scale() -> None:
    x, w = two_points(400)
    found = profile(model([w, -50 * w]), x, eps=0.6, norm=2, noise_std=1 / 1.5, max_iter=20)
    for unit in found.units:
        assert unit.normal.value == pytest.approx(two_point_gaussian_information(1.5), abs=0.015)
        assert unit.worst_case.value == pytest.approx(two_point_gaussian_information(0.9), abs=0.015)
        assert unit.vulnerability.value == pytest.approx(unit.normal.value - unit.worst_case.value)


def test_a_unit_is_what_the_metric_says_of_a_layer_of_one() -> None:
    found = profile(model(rows()), noise_std=0.3)
    for unit, row in zip(found.units, rows(), strict=True):
        estimator = WorstCaseMIEstimator(0.2, layer="0", max_iter=4, noise_std=0.3, verbose=False)
        alone = estimator.evaluate(classifier(model(row)), vectors())
        assert unit.normal.value == pytest.approx(alone.normal.value, abs=1e-5)
        assert unit.worst_case.value == pytest.approx(alone.worst_case.value, abs=1e-4)
        assert unit.vulnerability.confidence_interval == pytest.approx(
            alone.vulnerability.confidence_interval, abs=1e-4
        )


def test_units_side_by_side_are_as_one_by_one() -> None:
    together = profile(model(rows()), batch_size=500)
    one_by_one = profile(model(rows()), batch_size=7)
    for one, other in zip(together.units, one_by_one.units, strict=True):
        assert one.worst_case.value == pytest.approx(other.worst_case.value, abs=1e-4)
        assert one.vulnerability.value > 0.05


def test_a_constant_unit_has_no_information_and_is_said_to_be_constant() -> None:
    found = profile(model([np.zeros(5), np.ones(5)]))
    constant, other = found.units
    for estimate in (constant.normal, constant.worst_case, constant.vulnerability):
        assert (estimate.value, estimate.lower, estimate.upper) == (0.0, 0.0, 0.0)
        assert estimate.estimator == "constant unit"
        assert "the same on all clean inputs" in estimate.bias
    assert other.normal.value > 0.5


def test_a_unit_without_gradient_is_flagged() -> None:
    found = profile(model(rows(2), nn.ReLU()), layer="1")
    linear = profile(model(rows(2)))
    for unit in found.units:
        assert Flag.ZERO_GRADIENT in unit.worst_case.flags
        assert Flag.ZERO_GRADIENT in unit.vulnerability.flags
        assert Flag.ZERO_GRADIENT not in unit.normal.flags
    assert all(Flag.ZERO_GRADIENT not in unit.worst_case.flags for unit in linear.units)


def test_nothing_is_lost_where_nothing_may_move() -> None:
    for unit in profile(model(rows()), eps=0.0).units:
        assert unit.vulnerability.value == 0.0
        assert unit.worst_case == unit.normal


def test_one_number_has_at_most_the_information_of_a_gaussian() -> None:
    for noise_std in (0.3, 1.0):
        most = 0.5 * math.log1p(noise_std**-2)
        for unit in profile(model(rows(2)), vectors(1000), eps=0.0, noise_std=noise_std).units:
            assert most - 0.1 < unit.normal.value < most + 0.02


def test_by_default_the_middle_of_each_map_is_a_unit_and_every_coordinate_of_a_vector() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(60, 3))
    x = np.random.default_rng(0).random((100, 1, 4, 5)).astype(np.float32)
    options: dict[str, Any] = {"eps": 0.0, "verbose": False}
    maps = feature_profile(classifier(network, (1, 4, 5)), x, "0", **options)
    assert [unit.unit for unit in maps.units] == [12, 32, 52]
    assert [u.unit for u in feature_profile(classifier(network, (1, 4, 5)), x, None, **options).units] == [0, 1, 2]
    chosen = feature_profile(classifier(network, (1, 4, 5)), x, "0", units=[32, 0], **options)
    assert [unit.unit for unit in chosen.units] == [32, 0]
    assert chosen.units[0] == maps.units[1]


def test_an_interrupted_profile_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(rows())
    whole = profile(network)
    attack, asked = features._moved, list[int]()

    def interrupted(problem: Any, units: list[int], sigmas: list[float]) -> Any:
        asked.extend(units)
        if asked == [0, 1, 2]:
            raise KeyboardInterrupt
        return attack(problem, units, sigmas)

    monkeypatch.setattr(features, "_moved", interrupted)
    options = {"out": tmp_path, "batch_size": 256 // 2}
    with pytest.raises(KeyboardInterrupt):
        profile(network, **options)
    again = profile(network, **options)
    assert asked == [0, 1, 2, 2, 3]
    assert again.units == whole.units


def test_the_classifier_leaves_as_it_came() -> None:
    network = model(rows())
    network[0].weight.grad = torch.ones(4, 5)
    profile(network)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert torch.equal(network[0].weight.grad, torch.ones(4, 5))
    assert all(not module._forward_hooks for module in network.modules())


def test_a_result_survives_json() -> None:
    found = profile(model(rows()))
    assert FeatureProfile.from_dict(found.to_dict()).to_json() == found.to_json()


@pytest.mark.parametrize("units", [[4], [-1], [0.5], [True], [], [1, 1]])
def test_wrong_units_are_refused(units: Any) -> None:
    with pytest.raises(ValueError, match="`units` must be distinct integers from 0 to 3, "):
        profile(model(rows()), units=units)


def test_noise_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`noise_std` must be a positive number, got -1"):
        profile(model(rows()), noise_std=-1)
