"""Models side by side: accuracies under attack, vulnerability against the gap, information against accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import pearsonr

from art_mi.report.plots.canvas import (
    CEILING,
    Marks,
    axes_in,
    finish,
    left_edge,
    model_marks,
    name_rows,
    right_edge,
    wrapped,
)
from art_mi.report.verdict import differences
from art_mi.results import Accuracy, ModelRecord, RepresentationVulnerability, wilson_interval


def accuracy_rows(
    accuracies: Mapping[str, Mapping[str, Accuracy]],
    ax: Axes | None = None,
    marks: Marks | None = None,
) -> Axes:
    """Accuracies with 95 % intervals, a row each, the models of a row below each other.

    :param accuracies: By model and by name, for instance :meth:`.RobustnessResult.accuracies`.
    :param ax: Axes to draw in; those of a new figure by default.
    :param marks: Colour and marker of each model; by default one after the other.
    :return: The axes drawn in.
    :raises ValueError: If there is no accuracy.
    """
    rows = list(dict.fromkeys(name for of_model in accuracies.values() for name in of_model))
    if not rows:
        raise ValueError("`accuracies` must hold at least one accuracy, got none.")
    space = 0.22 + 0.15 * len(accuracies)
    axes = axes_in(ax, 0.9 + 0.25 * len(accuracies) + space * len(rows))
    offsets = np.linspace(-0.5, 0.5, len(accuracies) + 2)[1:-1]
    marks = marks or model_marks(accuracies)
    for model, offset in zip(accuracies, offsets, strict=True):
        colour, marker = marks[model]
        for row, name in enumerate(rows):
            if found := accuracies[model].get(name):
                ends = [100 * end for end in found.confidence_interval]
                axes.plot(ends, [row + offset] * 2, color=colour, linewidth=1.6)
                axes.plot([100 * found.value], [row + offset], color=colour, marker=marker, markersize=6)
        axes.plot([], [], color=colour, marker=marker, label=wrapped(model))
    name_rows(axes, rows)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy (%), with 95 % interval")
    return finish(axes, "x")


def gap_against_vulnerability(records: Sequence[ModelRecord], ax: Axes | None = None) -> Axes:
    """Natural minus worst-case accuracy against representation vulnerability, a point a model, with the correlation.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 1)

    Pearson's correlation is of models, not of samples, so that few models say little: its 95 % interval (Fisher) is
    given with it from four models on, and nothing below three.

    :param records: Models; those without vulnerability or without accuracy under attack are left out.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If no record has both.
    """
    found = [
        (r, r.representation, r.robustness)
        for r in records
        if r.representation and r.robustness and r.robustness.nb_attacks
    ]
    if not found:
        raise ValueError("`records` must hold a model with vulnerability and accuracy under attack, got none.")
    axes = axes_in(ax, 3.2 + 0.22 * len(found))
    unit = found[0][1].unit
    marks = model_marks(record.name for record in records)
    points = []
    for record, representation, robustness in found:
        drop, gap = representation.in_unit(unit).vulnerability, 100 * robustness.gap
        (left, right), (low, high) = drop.confidence_interval, robustness.gap_interval
        colour, marker = marks[record.name]
        axes.plot([left, right], [gap, gap], color=colour, linewidth=1.4)
        axes.plot([drop.value] * 2, [100 * low, 100 * high], color=colour, linewidth=1.4)
        axes.plot(drop.value, gap, color=colour, marker=marker, linestyle="none", label=wrapped(record.name))
        points.append((drop.value, gap))
    alike = not differences({r.name: representation for r, representation, _ in found})
    threats = {(robustness.norm, robustness.eps) for *_, robustness in found}
    said = _correlation(points) if alike and len(threats) == 1 else "measured differently: no correlation"
    axes.plot([], [], linestyle="none", label=said)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"representation vulnerability ({unit})")
    axes.set_ylabel("adversarial gap (points)")
    return finish(axes, "y")


def _correlation(points: list[tuple[float, float]]) -> str:
    n = len(points)
    x, y = zip(*points, strict=True)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"n = {n} model{'s' if n > 1 else ''}: no correlation to speak of"
    result = pearsonr(x, y)
    if n == 3:
        return f"r = {result.statistic:.2f}, n = 3 models: too few for an interval"
    low, high = result.confidence_interval()
    return f"r = {result.statistic:.2f} [{low:.2f}, {high:.2f}], n = {n} models"


def accuracy_against_information(
    results: Mapping[str, RepresentationVulnerability], ax: Axes | None = None, marks: Marks | None = None
) -> Axes:
    """Measured accuracy against worst-case (filled) and normal (hollow) information, below the accuracy ceiling.

    Accuracy is that of the classifier on the perturbed inputs through the noise or codes that the ceiling speaks of.
    The ceiling is drawn where the results, and the noise levels of their sweeps, have one: above the upper bound of
    the worst-case information that it comes from.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 2)

    :param results: Results by model; those without measured accuracy have their ceiling drawn only.
    :param ax: Axes to draw in; those of a new figure by default.
    :param marks: Colour and marker of each model; by default one after the other.
    :return: The axes drawn in.
    :raises ValueError: If `results` is empty.
    """
    if not results:
        raise ValueError("`results` must hold at least one model, got none.")
    axes = axes_in(ax, 3.2 + 0.22 * len(results))
    unit = next(iter(results.values())).unit
    shown = {name: result.in_unit(unit) for name, result in results.items()}
    every = [point for result in shown.values() for point in (result, *result.sweep)]
    line = sorted((_ceiling_information(point), 100 * point.accuracy_ceiling) for point in every)
    axes.plot(*zip(*line, strict=True), color=CEILING, linestyle="--", marker=".", label="accuracy ceiling")
    marks = marks or model_marks(shown)
    for name, result in shown.items():
        colour, marker = marks[name]
        if (accuracy := result.measured_accuracy) is None:
            continue
        low, high = wilson_interval(round(accuracy * result.normal.nb_samples), result.normal.nb_samples)
        ends, y = [result.worst_case.value, result.normal.value], 100 * accuracy
        axes.plot(ends, [y, y], color=colour, linewidth=1)
        axes.plot([ends[0]] * 2, [100 * low, 100 * high], color=colour, linewidth=1.4)
        axes.plot(ends[1], y, color=colour, marker=marker, markerfacecolor="none")
        axes.plot(ends[0], y, color=colour, marker=marker, linestyle="none", label=wrapped(name))
    estimates = [estimate for point in every for estimate in (point.normal, point.worst_case)]
    axes.set_xlim(left_edge(estimates), right_edge(estimates))
    axes.set_ylim(0, 102)
    axes.set_xlabel(f"information ({unit}): filled worst case, hollow normal")
    axes.set_ylabel("accuracy on the perturbed inputs (%)")
    return finish(axes, "y")


def _ceiling_information(result: RepresentationVulnerability) -> float:
    """The information that the ceiling comes from: the upper bound, where there is one."""
    upper = result.worst_case.upper
    return result.worst_case.value if upper is None or math.isinf(upper) else upper
