"""Accuracy under attack: one attack or a set of them, and whether they can be believed."""

from __future__ import annotations

from art_mi.evaluation.accuracy import accuracy, attacked_accuracy, undisturbed
from art_mi.evaluation.attacks import BUILDERS, DEFAULT, standard_attacks
from art_mi.evaluation.robustness import evaluate_robustness

__all__ = [
    "BUILDERS",
    "DEFAULT",
    "accuracy",
    "attacked_accuracy",
    "evaluate_robustness",
    "standard_attacks",
    "undisturbed",
]
