"""Trade-offs: clean against attacked accuracy, a curve a method, and which curve lies above which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.tables import Rows, accuracy, contrast, mean

Curve = Sequence[tuple[str, Rows]]  # settings with their rows


def trade_off(curves: Mapping[str, Curve]) -> Figure:
    """Means over training runs, joined in the order of clean accuracy, and a faint point each run.

    :param curves: Settings by method.
    """
    axes = new_axes(3.8)
    for (name, settings), (colour, marker) in zip(curves.items(), MODELS, strict=False):
        points = sorted((mean(rows, "clean"), mean(rows, "AutoAttack"), label) for label, rows in settings)
        for _, rows in settings:
            runs = [(accuracy(row, "clean"), accuracy(row, "AutoAttack")) for row in rows]
            axes.plot(*zip(*runs, strict=True), color=colour, marker=marker, linestyle="none", alpha=0.3, markersize=4)
        x, y, labels = zip(*points, strict=True)
        axes.plot(x, y, color=colour, marker=marker, linewidth=1, label=name)
        for point in zip(x, y, labels, strict=True):
            axes.annotate(point[2], point[:2], textcoords="offset points", xytext=(4, 4), fontsize=6, color=colour)
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel("accuracy under AutoAttack (%)")
    return whole(finish(axes, "y", ncols=2))


def whole(axes: Axes) -> Figure:
    """The figure of axes that have one of their own."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


@dataclass(frozen=True)
class Lead:
    """Where one curve is least above another.

    :param points: By how many points.
    :param error: Standard error of such a difference, that of the corner with the largest.
    :param overlap: The clean accuracies that both have, in per cent.
    """

    points: float
    error: float
    overlap: tuple[float, float]

    @property
    def holds(self) -> bool | None:
        """Whether it is above everywhere; None within two standard errors."""
        return None if abs(self.points) < 2 * self.error else self.points >= 0

    def __str__(self) -> str:
        low, high = self.overlap
        return f"least lead {self.points:+.1f} ± {self.error:.1f} points, over {low:.1f} to {high:.1f} % clean"


def least_lead(ours: Curve, theirs: Curve) -> Lead | None:
    """Least difference of two curves of means under AutoAttack, over the clean accuracies that both have.

    The least of several differences errs low.

    :param ours: Settings of one method.
    :param theirs: Of another.
    :return: None where they share no clean accuracy.
    """
    one, other = (sorted((mean(rows, "clean"), mean(rows, "AutoAttack")) for _, rows in c) for c in (ours, theirs))
    corners = sorted({x for x, _ in (*one, *other)})
    leads = {
        x: first - second
        for x in corners
        if (first := _at(one, x)) is not None and (second := _at(other, x)) is not None
    }
    if not leads:
        return None
    errors = [[contrast([(1, rows)], "AutoAttack").error for _, rows in curve] for curve in (ours, theirs)]
    return Lead(min(leads.values()), math.hypot(*map(max, errors)), (min(leads), max(leads)))


def _at(curve: Sequence[tuple[float, float]], x: float) -> float | None:
    for (left, low), (right, high) in pairwise(curve):
        if left <= x <= right:
            return low if left == right else low + (high - low) * (x - left) / (right - left)
    return None
