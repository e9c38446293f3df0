"""Figures of results; each takes the axes to draw in and gives them back."""

from __future__ import annotations

from art_mi.report.plots.canvas import figure_svg
from art_mi.report.plots.images import adversarial_examples, saliency_grid
from art_mi.report.plots.information import information_bars, sweep_curve
from art_mi.report.plots.models import accuracy_against_information, accuracy_rows, gap_against_vulnerability
from art_mi.report.plots.profiles import (
    accuracy_against_eps,
    feature_histogram,
    information_against_eps,
    layer_information,
    layer_vulnerability,
)
from art_mi.report.plots.training import training_accuracies, training_losses

__all__ = [
    "accuracy_against_eps",
    "accuracy_against_information",
    "accuracy_rows",
    "adversarial_examples",
    "feature_histogram",
    "figure_svg",
    "gap_against_vulnerability",
    "information_against_eps",
    "information_bars",
    "layer_information",
    "layer_vulnerability",
    "saliency_grid",
    "sweep_curve",
    "training_accuracies",
    "training_losses",
]
