"""The defaults, written here a second time, beside where each number comes from."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import DALETrainer, MARTTrainer, MIMAETrainer, TRADESTrainer, WorstCaseMITrainer
from art_mi.trainers.options import FitOptions


@pytest.mark.parametrize(
    ("made", "defaults"),
    [
        # Section 5.1 and algorithm 1 of the paper; the mean over classes is ours, as the printed sum collapses
        (MIMAETrainer, {"lamb": 0.4, "beta": 1.0, "start_std": 0.001, "adversarial_loss": "boosted"}),
        (MIMAETrainer, {"distance": "mae", "reduction": "mean", "symmetric": True}),
        # The papers' 1 / lambda on CIFAR-10, and the published codes' starts
        (TRADESTrainer, {"beta": 6.0, "start_std": 0.001}),
        (MARTTrainer, {"beta": 5.0, "start_std": 0.001}),
        # Margin of the published code; algorithm 1 moves the multiplier
        (DALETrainer, {"rho": 0.1, "multiplier": None, "robust_loss": "cross_entropy", "swapped": False}),
        # Published code on MNIST: steps of 0.1 with noise of 1e-3 = sqrt(2 * 0.1 * 5e-6), ten as on CIFAR-10
        (LangevinMonteCarlo, {"eps": 0.3, "eps_step": 0.1, "max_iter": 10, "temperature": 5e-6}),
        (LangevinMonteCarlo, {"noise": "gaussian", "step": "sign", "potential": "log_error"}),
        # Section 5 of the paper, and its published code
        (WorstCaseMITrainer, {"bound": "donsker_varadhan", "beta": 1.0, "head": "robust", "critic_lr": 1e-4}),
        (FitOptions, {"log_every": 50}),  # ours
    ],
)
def test_defaults_are_those_of_the_papers(made: Callable[..., Any], defaults: dict[str, Any]) -> None:
    parameters = signature(made).parameters
    assert {name: parameters[name].default for name in defaults} == defaults
