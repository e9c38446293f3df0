"""Trade-offs: clean against attacked accuracy, a curve a method, and which curve lies above which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.tables import Contrast, Rows, accuracy, contrast, interval, mean

Curve = Sequence[tuple[str, Rows]]  # settings with their rows


def trade_off(curves: Mapping[str, Curve]) -> Figure:
    """Means over training runs with their 95 % intervals over images, joined by clean accuracy; a faint point a run.

    :param curves: Settings by method.
    """
    axes = new_axes(3.8)
    for (name, settings), (colour, marker) in zip(curves.items(), MODELS, strict=False):
        points = sorted((mean(rows, "clean"), mean(rows, "AutoAttack"), label) for label, rows in settings)
        for _, rows in settings:
            runs = [(accuracy(row, "clean"), accuracy(row, "AutoAttack")) for row in rows]
            axes.plot(*zip(*runs, strict=True), color=colour, marker=marker, linestyle="none", alpha=0.3, markersize=4)
            axes.vlines(mean(rows, "clean"), *interval(rows, "AutoAttack"), color=colour, alpha=0.3, linewidth=1)
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

    :param points: Their difference there.
    :param overlap: The clean accuracies that both have, in per cent.
    """

    points: Contrast
    overlap: tuple[float, float]

    @property
    def holds(self) -> bool | None:
        """Whether it is above everywhere; None within two standard errors."""
        return self.points.positive

    def __str__(self) -> str:
        low, high = self.overlap
        return f"least lead {self.points} points, over {low:.1f} to {high:.1f} % clean"


def least_lead(ours: Curve, theirs: Curve) -> Lead | None:
    """Least difference of two curves of means under AutoAttack, over the clean accuracies that both have.

    Between two settings a curve is straight, so that a difference is a weighted sum of accuracies on the same images.
    The least of several differences errs low, and the clean accuracies are taken as they were measured.

    :param ours: Settings of one method.
    :param theirs: Of another.
    :return: None where they share no clean accuracy.
    """
    one, other = (sorted(((mean(rows, "clean"), rows) for _, rows in c), key=lambda p: p[0]) for c in (ours, theirs))
    leads = {}
    for x in sorted({x for x, _ in (*one, *other)}):
        ahead, behind = _at(one, x), _at(other, x)
        if ahead and behind:
            leads[x] = contrast([*ahead, *((-weight, rows) for weight, rows in behind)], "AutoAttack")
    if not leads:
        return None
    return Lead(min(leads.values(), key=lambda lead: lead.value), (min(leads), max(leads)))


def _at(curve: Sequence[tuple[float, Rows]], x: float) -> list[tuple[float, Rows]]:
    """The settings on both sides of a clean accuracy with their weights there; none where the curve does not reach."""
    for (left, low), (right, high) in pairwise(curve):
        if left <= x <= right:
            t = 0.0 if left == right else (x - left) / (right - left)
            return [(1 - t, low), (t, high)]
    return []
