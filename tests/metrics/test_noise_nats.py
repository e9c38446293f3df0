"""Noise chosen by what the clean representation is to say through it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_mi import RepresentationVulnerability, WorstCaseMIEstimator
from art_mi.distributions import two_point_gaussian_information


def linear(weight: NDArray[np.float64] | list[list[float]]) -> PyTorchClassifier:
    rows = torch.as_tensor(np.asarray(weight), dtype=torch.float32)
    layer = nn.Linear(rows.shape[1], len(rows), bias=False)
    layer.weight.data.copy_(rows)
    return PyTorchClassifier(
        nn.Sequential(layer), nn.CrossEntropyLoss(), (rows.shape[1],), len(rows), device_type="cpu"
    )


def measured(classifier: PyTorchClassifier, x: object, nats: float, eps: float = 0.1) -> RepresentationVulnerability:
    return WorstCaseMIEstimator(eps, noise_nats=nats, max_iter=20, verbose=False).evaluate(classifier, x)


def two_points(n: int = 1200) -> NDArray[np.float32]:
    return np.where(np.arange(n)[:, None] % 2, 1.0, -1.0).astype(np.float32)


@pytest.mark.parametrize("nats", [0.1, 0.35, 0.6])
def test_the_level_of_two_points_is_that_of_the_closed_form(nats: float) -> None:
    """Points at 1 and -1 along one axis: I = J(1 / sigma), in the worst case J((1 - eps) / sigma)."""
    result = measured(linear([[1.0], [0.0]]), two_points(), nats, eps=0.3)
    ratio = brentq(lambda t: two_point_gaussian_information(t) - nats, 0.01, 20)
    assert result.settings["noise_std_absolute"] == pytest.approx(1 / ratio, rel=0.05)
    assert result.normal.value == pytest.approx(nats, abs=0.02)
    assert result.worst_case.value == pytest.approx(two_point_gaussian_information(0.7 * ratio), abs=0.02)


def test_networks_of_different_scale_start_alike_and_lose_alike() -> None:
    x = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(3, 4))
    one, other = (measured(linear(scale * weight), x, 1.0) for scale in (1.0, 1000.0))
    for part in ("normal", "vulnerability"):
        assert getattr(one, part).value == pytest.approx(getattr(other, part).value, abs=1e-3)
    assert one.normal.value == pytest.approx(1.0, abs=0.05)


def test_a_loader_in_chunks_takes_the_level_of_its_first() -> None:
    x = torch.as_tensor(two_points(6000))[torch.randperm(6000, generator=torch.Generator().manual_seed(0))]
    loader = DataLoader(TensorDataset(x, torch.zeros(len(x), dtype=torch.long)), batch_size=500, shuffle=True)
    result = measured(linear([[1.0], [0.0]]), loader, 0.35, eps=0.0)
    assert result.normal.value == pytest.approx(0.35, abs=0.02)


def test_more_than_the_samples_tell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`noise_nats` must be above .* and below the 0\.693 nats said .*, got 0\.7"):
        measured(linear([[1.0], [0.0]]), two_points(), 0.7)
    with pytest.raises(ValueError, match=r"`noise_nats` must be above .*, got 1e-15"):
        measured(linear([[1.0], [0.0]]), two_points(), 1e-15)
    assert measured(linear([[1.0], [0.0]]), two_points(), 0.68).normal.value < math.log(2)
