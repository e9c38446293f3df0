"""The margin attack: its objective by hand, and that no scale of the logits hides anything from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi.attacks import MarginAttack
from art_mi.attacks.margin import margin


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.scale * self.network(x)
        return out


def classifier(scale: float = 1.0) -> PyTorchClassifier:
    options: dict[str, Any] = {"clip_values": (0.0, 1.0), "device_type": "cpu"}
    return PyTorchClassifier(Scaled(scale), nn.CrossEntropyLoss(), (6,), 4, **options)


def samples() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    x = np.random.default_rng(0).random((200, 6), dtype=np.float32)
    return x, classifier().predict(x).argmax(1)


def accuracy(art: PyTorchClassifier, attack: Any) -> float:
    x, y = samples()
    return float((art.predict(attack.generate(x, y)).argmax(1) == y).mean())


def attack(art: PyTorchClassifier, **options: Any) -> MarginAttack:
    return MarginAttack(art, **{"eps": 0.1, "random_state": 0, "verbose": False, **options})


def test_the_margin_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-5.0, -5.0, -9.0]])
    assert margin(logits, torch.tensor([0, 1, 0])).tolist() == [-1.0, 2.0, 0.0]


def test_it_breaks_what_cross_entropy_breaks() -> None:
    art = classifier()
    pgd = ProjectedGradientDescentPyTorch(art, eps=0.1, eps_step=0.01, max_iter=50, num_random_init=1, verbose=False)
    reference = accuracy(art, pgd)
    assert 0.1 < reference < 0.9
    assert abs(accuracy(art, attack(art)) - reference) <= 0.03


def test_scaled_logits_blind_cross_entropy_but_not_the_margin() -> None:
    plain, sharp = classifier(), classifier(1e4)
    pgd = ProjectedGradientDescentPyTorch(sharp, eps=0.1, eps_step=0.01, max_iter=50, verbose=False)
    assert accuracy(sharp, attack(sharp)) == accuracy(plain, attack(plain))
    assert accuracy(sharp, pgd) > accuracy(sharp, attack(sharp)) + 0.2


def test_beyond_the_confidence_a_sample_is_moved_no_further() -> None:
    x, y = samples()
    art = classifier()
    for confidence in (0.0, 0.5):
        stopping = attack(art, eps=1.0, eps_step=0.01, confidence=confidence, num_random_init=0)
        found = margin(torch.from_numpy(art.predict(stopping.generate(x, y))), torch.from_numpy(y))
        assert found.max() < confidence + 0.6
    free = margin(torch.from_numpy(art.predict(attack(art, eps=1.0).generate(x, y))), torch.from_numpy(y))
    assert free.max() > 2


@pytest.mark.parametrize(("norm", "order"), [("inf", np.inf), (2, 2), (1, 1)])
def test_it_stays_in_ball_and_box(norm: Any, order: float) -> None:
    x, y = samples()
    x_adv = attack(classifier(), norm=norm, num_random_init=2).generate(x, y)
    assert np.linalg.norm(x_adv - x, ord=order, axis=1).max() <= 0.1 * (1 + 1e-5)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


def test_without_labels_it_takes_the_predictions() -> None:
    x, y = samples()
    assert np.array_equal(attack(classifier()).generate(x), attack(classifier()).generate(x, y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": -1.0}, "`confidence` must be a non-negative number, got -1.0"),
        ({"eps_step": 0.0}, "`eps_step` must be None or a positive number, got 0.0"),
        ({"max_iter": -1}, "`max_iter` must be an integer of at least 0, got -1"),
    ],
)
def test_bad_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(classifier(), **options)


def test_another_estimator_is_refused() -> None:
    with pytest.raises(TypeError, match="must be an ART PyTorchClassifier"):
        MarginAttack(nn.Linear(2, 2))  # type: ignore[arg-type]
