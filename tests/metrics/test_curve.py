"""Curves over the radius against closed forms, and their monotony."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import WorstCaseMIEstimator, vulnerability_curve
from art_mi.distributions import two_point_gaussian_information
from art_mi.metrics import curve as module
from art_mi.metrics import noisy
from art_mi.results import Accuracy, VulnerabilityCurve

EPS = (0.0, 0.3, 0.6, 1.2)


class Score(nn.Module):
    """Two logits +-s of a linear map s, named `score`."""

    def __init__(self, weight: NDArray[np.float64]) -> None:
        super().__init__()
        self.score = nn.Linear(len(weight), 1)
        self.score.weight.data.copy_(torch.as_tensor(weight[None], dtype=torch.float32))
        self.score.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        z = self.score(x)
        return torch.cat([z, -z], dim=1)


def two_points(n: int = 300, dim: int = 5) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    w = generator.normal(size=dim)
    w /= np.linalg.norm(w)
    x = generator.normal(size=(n, dim))
    sign = np.tile([1.0, -1.0], n // 2)
    moved = x - np.outer(x @ w, w) + np.outer(1.5 * sign, w)
    return moved.astype(np.float32), (sign < 0).astype(np.int64), w


def mixture(n: int = 200) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Like two points, with a spread along the score."""
    x, y, w = two_points(n)
    spread = np.random.default_rng(1).normal(size=n)
    return (x + 0.8 * np.outer(spread, w)).astype(np.float32), y, w


def classifier(weight: NDArray[np.float64]) -> PyTorchClassifier:
    return PyTorchClassifier(Score(weight), nn.CrossEntropyLoss(), (5,), 2, device_type="cpu")


def curve(x: Any, w: Any, y: Any = None, eps: Any = EPS, **options: Any) -> VulnerabilityCurve:
    options = {"layer": "score", "norm": 2, "max_iter": 20, "verbose": False, **options}
    return vulnerability_curve(classifier(w), x, y, eps=eps, **options)


def test_two_points_follow_their_closed_form() -> None:
    x, _, w = two_points()
    found = curve(x, w, noise_std=1 / 1.5)
    assert found.eps == EPS
    for eps, result in zip(EPS, found.results, strict=True):
        truth = two_point_gaussian_information(1.5 - eps)
        assert result.worst_case.value == pytest.approx(truth, abs=0.015)
        assert result.settings["eps"] == eps
        assert result.normal == found.results[0].normal
    assert found.results[0].vulnerability.value == 0.0


def test_neither_information_nor_ceiling_nor_accuracy_rises_with_the_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, w = mixture()
    attack = noisy.worst_inputs

    def weaker(problem: Any, sigma: float, *, start: Tensor) -> Tensor:
        """The attack fails at one radius: it goes back to the clean inputs."""
        moved = attack(problem, sigma, start=start)
        return problem.x if problem.ball.eps == 0.6 else moved

    monkeypatch.setattr(noisy, "worst_inputs", weaker)
    found = curve(x, w, y, eps=(0.0, 0.1, 0.3, 0.6, 0.7, 1.2), noise_std=0.3, max_iter=5)
    for name in ("lower", "upper", "value"):
        values = [getattr(result.worst_case, name) for result in found.results]
        assert all(after <= before for before, after in itertools.pairwise(values))
    ceilings = [result.accuracy_ceiling for result in found.results]
    assert all(after <= before for before, after in itertools.pairwise(ceilings))
    accuracies = [point.value for point in found.accuracies["PGD-20"]]
    assert all(after <= before for before, after in itertools.pairwise(accuracies))
    assert found.results[3].worst_case == found.results[2].worst_case, "what a smaller radius found is kept"


def test_the_first_radius_is_what_the_metric_says() -> None:
    x, y, w = mixture()
    found = curve(x, w, y, eps=[0.4])
    estimator = WorstCaseMIEstimator(0.4, norm=2, layer="score", max_iter=20, verbose=False)
    assert found.results[0] == estimator.evaluate(classifier(w), x, y)


def test_later_radii_start_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, w = two_points(120)
    starts, ends = [], []
    attack = noisy.worst_inputs

    def watched(problem: Any, sigma: float, *, start: Tensor) -> Tensor:
        starts.append(start)
        ends.append(attack(problem, sigma, start=start))
        return ends[-1]

    monkeypatch.setattr(noisy, "worst_inputs", watched)
    curve(x, w, max_iter=3)
    assert torch.equal(starts[0], torch.from_numpy(x))
    assert all(torch.equal(start, end) for start, end in zip(starts[1:], ends, strict=False))


def test_accuracies_are_those_of_the_plain_linear_classifier() -> None:
    x, y, w = mixture()
    found = curve(x, w, y, max_iter=2, norm=math.inf)  # in l_inf the steps reach the corner, in l_2 nearly the point
    margin = np.where(y == 0, 1, -1) * (x @ w) / np.abs(w).sum()
    for eps, point in zip(EPS, found.accuracies["PGD-20"], strict=True):
        assert point.value == pytest.approx(float((margin > eps).mean()), abs=0.006)
        assert point.nb_samples == len(x)
        assert point.confidence_interval[0] <= point.value <= point.confidence_interval[1]
    assert "plain classifier" in found.settings["ceilings and accuracies"]


def test_what_was_wrong_at_a_smaller_radius_stays_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, w = mixture(120)

    def failing(_: Any, attack: Any, inputs: Any, labels: Any, *, random_state: int) -> Accuracy:
        return Accuracy.of(np.arange(len(labels)) % 2 == (attack.eps > 0.5))

    monkeypatch.setattr(module, "attacked_accuracy", failing)
    clean = np.where(y == 0, 1, -1) * (x @ w) > 0
    points = curve(x, w, y, eps=(0.0, 0.3, 0.6), max_iter=1).accuracies["PGD-20"]
    assert np.array_equal(points[0].correct, clean)
    assert np.array_equal(points[1].correct, clean & (np.arange(120) % 2 == 0))
    assert not points[2].correct.any()


def test_without_labels_there_are_no_accuracies() -> None:
    x, _, w = two_points(120)
    assert curve(x, w, max_iter=1).accuracies == {}


def test_an_interrupted_curve_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, w = mixture(120)
    whole = curve(x, w, y, max_iter=3)
    attack, radii = noisy.worst_inputs, list[float]()

    def interrupted(problem: Any, sigma: float, *, start: Tensor) -> Tensor:
        radii.append(problem.ball.eps)
        if radii.count(0.6) == 1 and radii[-1] == 0.6:
            raise KeyboardInterrupt
        return attack(problem, sigma, start=start)

    monkeypatch.setattr(noisy, "worst_inputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        curve(x, w, y, max_iter=3, out=tmp_path)
    assert curve(x, w, y, max_iter=3, out=tmp_path) == whole
    assert radii == [0.3, 0.6, 0.6, 1.2]


def test_a_result_survives_json() -> None:
    x, y, w = mixture(120)
    found = curve(x, w, y, max_iter=1, norm=math.inf)
    assert VulnerabilityCurve.from_dict(found.to_dict()).to_json() == found.to_json()


@pytest.mark.parametrize(
    ("eps", "error", "match"),
    [
        (0.1, TypeError, "`eps` must be a sequence of radii, got float"),
        ("0.1", TypeError, "`eps` must be a sequence of radii, got str"),
        ([], ValueError, r"`eps` must hold ascending radii, got \[\]"),
        ([0.2, 0.1], ValueError, r"`eps` must hold ascending radii, got \[0.2, 0.1\]"),
        ([0.1, 0.1], ValueError, "`eps` must hold ascending radii"),
        ([-0.1], ValueError, "`eps` must be a non-negative number, got -0.1"),
        ([math.nan], ValueError, "`eps` must be a non-negative number, got nan"),
    ],
)
def test_wrong_radii_are_refused(eps: Any, error: type[Exception], match: str) -> None:
    x, _, w = two_points(120)
    with pytest.raises(error, match=match):
        curve(x, w, eps=eps)


def test_noise_must_be_positive() -> None:
    x, _, w = two_points(120)
    with pytest.raises(ValueError, match="`noise_std` must be a positive number, got 0"):
        curve(x, w, noise_std=0)


def test_radii_may_be_an_array() -> None:
    x, _, w = two_points(120)
    assert curve(x, w, eps=np.array([0.0, 0.5]), max_iter=1).eps == (0.0, 0.5)
