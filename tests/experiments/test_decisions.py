"""Information about decisions: by hand for two points, and attacks that blur classes but not what lies within them."""

from __future__ import annotations

import math

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import WorstCaseMIEstimator
from experiments.decisions import apart, decision_information, divided_vulnerability


def linear(scale: float) -> PyTorchClassifier:
    """Two logits, scale times plus and minus the distance of the first pixel from one half."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 0], model[1].weight[1, 0] = scale, -scale
        model[1].bias.copy_(torch.tensor([-scale / 2, scale / 2]))
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 2, 2), 2, clip_values=(0.0, 1.0), device_type="cpu")


def images(n: int, margin: float) -> np.ndarray:
    """First pixels at one half plus and minus the margin, the others at random."""
    x = np.random.default_rng(0).random((n, 1, 2, 2)).astype(np.float32)
    x[:, 0, 0, 0] = np.where(np.arange(n) % 2, 0.5 + margin, 0.5 - margin)
    return x


def test_odds_of_four_points_by_hand() -> None:
    """At -1, -1, 1 and 1 without noise: two others of the other class at distance 2, one of its own at 0."""
    z = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    decided = torch.tensor([0, 0, 1, 1])
    quiet = torch.Generator()
    values = [apart(lambda x: x, 1.0, decided, quiet.manual_seed(seed))(z) for seed in range(400)]
    # log 2 + E[-(2 + e)^2 / 2 + e^2 / 2] over e and -e, whose tilt cancels
    assert abs(float(torch.stack(values).mean()) - (math.log(2) - 2.0)) < 1e-4


def test_decisions_of_two_points_survive_what_cannot_reach_them() -> None:
    """Logits of two values say log 2 of a decision but for the noise; moved onto each other they say nothing."""
    x = images(400, margin=0.2)
    clean, worst = decision_information(linear(1.0), x, eps=0.25, nats=0.6)
    assert abs(clean - 0.6) < 0.02
    assert worst < 0.02
    clean, half = decision_information(linear(1.0), x, eps=0.1, nats=0.6)
    assert 0.02 < half < clean - 0.1


def test_scale_does_not_count() -> None:
    x = images(200, margin=0.2)
    one, other = (decision_information(linear(scale), x, eps=0.1, nats=0.5) for scale in (1.0, 100.0))
    assert np.allclose(one, other, atol=1e-3)


def test_what_lies_within_a_class_does_not_count() -> None:
    """Spread within classes far from the boundary: gathered by an attack, it takes information but no decision."""
    x = images(400, margin=0.3)
    x[:, 0, 0, 0] += np.random.default_rng(1).uniform(-0.1, 0.1, 400).astype(np.float32)
    clean, worst = decision_information(linear(1.0), x, eps=0.1, nats=2.0)
    assert clean > math.log(2) - 0.01
    assert clean - worst < 0.01
    assert WorstCaseMIEstimator(0.1, noise_nats=2.0, verbose=False).evaluate(linear(1.0), x).vulnerability.value > 0.3


def test_a_drop_is_divided_into_what_is_of_the_label_and_what_lies_within() -> None:
    """Far from the boundary all that is lost lies within labels; of two points that can meet, all is of the label."""
    y, spread = np.arange(400) % 2, np.random.default_rng(1).uniform(-0.1, 0.1, 400).astype(np.float32)
    wide, points = images(400, margin=0.3), images(400, margin=0.1)
    wide[:, 0, 0, 0] += spread
    nothing, some = (-0.01, 0.01), (0.2, 2.0)
    for x, level, of_the_label, inside in ((wide, 0.1, nothing, some), (points, 1.0, some, nothing)):
        between, within = divided_vulnerability(linear(1.0), x, y, eps=0.1, noise_std=level)
        assert of_the_label[0] < between < of_the_label[1]
        assert inside[0] < within < inside[1]
        whole = WorstCaseMIEstimator(0.1, noise_std=level, verbose=False).evaluate(linear(1.0), x).vulnerability.value
        assert abs(between + within - whole) < 1e-6
