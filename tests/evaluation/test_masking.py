"""Checks for masked gradients speak up where gradients are masked, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi.datasets import load
from art_mi.evaluation import evaluate_robustness
from art_mi.evaluation.masking import MOST_SAMPLES, more_steps, planned_checks
from art_mi.evaluation.target import Target
from art_mi.models import small_cnn
from art_mi.results import Flag, RobustnessResult
from art_mi.threat import NormBall

EPS = 0.03
GRADIENTS = ("FGSM", "PGD-20", "PGD-50")


def evaluated(toy: Any, art: Any, **options: Any) -> RobustnessResult:
    options = {"eps": EPS, "attacks": GRADIENTS, "verbose": False, **options}
    return evaluate_robustness(art, toy.x(100), toy.y(100), **options)


def test_a_linear_classifier_raises_no_flag(toy: Any) -> None:
    found = evaluated(toy, toy.classifier())
    assert found.flags == ()
    assert set(found.checks) == {"same answer", "gradients", "moves", "large ball", "more steps", "noise", "black box"}
    assert all(check.passed for check in found.checks.values())
    assert "leaves 0.0%" in found.checks["large ball"].finding


def test_a_network_trained_on_real_images_raises_no_flag() -> None:
    digits = load("digits")
    model = small_cnn((1, 8, 8), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    art = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.from_numpy(digits.x_train), torch.from_numpy(digits.y_train)
    for _ in range(60):
        rows = torch.randint(len(x), (128,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    found = evaluate_robustness(
        art, digits.x_test[:150], digits.y_test[:150], eps=0.1, attacks=GRADIENTS, verbose=False
    )
    assert found.clean.value > 0.8
    assert found.worst_case.confidence_interval[1] < found.clean.confidence_interval[0]
    assert found.flags == ()


MASKS = {
    "rounded inputs": lambda toy: toy.through(toy.linear(), lambda x: (x * 255).round() / 255),
    "a detached path": lambda toy: toy.through(toy.linear(), lambda x: x.detach()),
    "logits times 10,000": lambda toy: toy.linear(scale=1e4),
}


@pytest.mark.parametrize("mask", MASKS)
def test_masked_gradients_raise_flags(mask: str, toy: Any) -> None:
    found = evaluated(toy, toy.classifier(MASKS[mask](toy)))
    assert {Flag.ABOVE_CHANCE, Flag.BLACK_BOX_STRONGER, Flag.NOISE_STRONGER} <= set(found.flags)
    assert found.worst_case.value > evaluated(toy, toy.classifier(), checks=False).worst_case.value + 0.1
    for name in ("black box", "noise"):  # what a check breaks alone is counted all the same
        broken = list(found.checks[name].broken)
        assert broken
        assert not found.worst_case.correct[broken].any()


def test_without_checks_there_are_none(toy: Any) -> None:
    found = evaluated(toy, toy.classifier(), attacks=("FGSM",), checks=False)
    assert found.checks == {}
    assert found.flags == ()


def test_checks_that_cannot_be_made_are_left_out_and_said_so(toy: Any) -> None:
    alone = evaluated(toy, toy.classifier(), attacks=("FGSM",)).settings["left out"]
    assert alone == {"check more steps": "it compares two of FGSM, PGD-20 and PGD-50"}
    other = evaluated(toy, toy.classifier(), attacks=("PGD-20", "PGD-50"), norm=2)
    assert other.settings["left out"] == {"check black box": "the norm is not inf"}
    assert other.flags == ()
    without = evaluated(toy, toy.classifier(), attacks=("PGD-l2",)).settings["left out"]
    assert without["check noise"] == without["check black box"] == "no attack with gradients was run in this ball"


def test_a_classifier_of_vectors_without_a_box_is_checked_as_far_as_it_goes() -> None:
    model = nn.Linear(5, 3)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3, 5))
        model.bias.zero_()
    art = PyTorchClassifier(model, nn.CrossEntropyLoss(), (5,), 3)
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    found = evaluate_robustness(art, x, x[:, :3].argmax(1), eps=0.3, attacks=GRADIENTS, verbose=False)
    assert found.settings["left out"] == {"check black box": "it needs images and clip_values"}
    assert set(found.checks) == {"same answer", "gradients", "moves", "large ball", "more steps", "noise"}
    assert found.flags == ()


# --- single checks ---


def _right(*broken: int, n: int = 200) -> Any:
    correct = np.ones(n, dtype=bool)
    correct[list(broken)] = False
    return correct


@pytest.mark.parametrize(
    ("fewer", "more", "passed"),
    [
        (range(50), range(50), True),
        (range(50), range(60), True),
        (range(50), range(3, 50), True),  # 3 of 3: p = 0.125
        (range(50), range(20, 50), False),
        (range(50), range(10, 62), True),  # 10 against 12
    ],
)
def test_more_steps_may_not_help_the_model_beyond_noise(fewer: range, more: range, passed: bool) -> None:
    check = more_steps({"PGD-20": _right(*fewer), "PGD-50": _right(*more)})
    assert check.passed is passed
    assert check.flag is Flag.STEPS_HELP_THE_MODEL
    helped, hurt = len(set(fewer) - set(more)), len(set(more) - set(fewer))
    assert f"PGD-50 breaks {hurt} that PGD-20 does not, and does not break {helped} that PGD-20 does" in check.finding


def test_every_step_of_the_ladder_counts() -> None:
    check = more_steps({"FGSM": _right(*range(90)), "PGD-20": _right(), "PGD-50": _right(*range(90))})
    assert not check.passed


def test_many_samples_are_thinned_evenly_and_in_pairs(toy: Any) -> None:
    n = 2 * MOST_SAMPLES + 1
    ball = NormBall(np.inf, EPS, (0.0, 1.0))
    target = Target(toy.classifier(), toy.x(n), toy.y(n), ball, 256, 0)
    broken = np.arange(n) % 3 == 0  # every third is also every third of those that are kept
    correct = {"PGD-20": np.ones(n, dtype=bool), "PGD-50": ~broken}
    plan, _ = planned_checks(target, correct, None)
    assert f"of {len(range(0, n, 3))} samples" in plan["more steps"]().finding
    assert f"breaks {int(broken[::3].sum())} that PGD-20 does not" in plan["more steps"]().finding
    assert f"of {len(range(0, n, 3))} samples right" in plan["large ball"]().finding
