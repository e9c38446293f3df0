"""Trade-offs: clean against attacked accuracy, a curve a method, and which curve lies above which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.tables import Rows, accuracy, correct, interval, mean

RESAMPLES = 2000

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
    """How far one curve is above another.

    :param least: Their least difference, in points.
    :param interval: Its 95 % interval.
    :param average: Their mean difference, in points.
    :param overlap: The clean accuracies that both have, in per cent.
    """

    least: float
    interval: tuple[float, float]
    average: float
    overlap: tuple[float, float]

    @property
    def holds(self) -> bool | None:
        """Whether it is above everywhere; None where the interval has both signs."""
        low, high = self.interval
        return True if low >= 0 else False if high < 0 else None

    def __str__(self) -> str:
        (low, high), (left, right) = self.interval, self.overlap
        return (
            f"least lead {self.least:+.1f} [{low:+.1f}, {high:+.1f}] points, on average {self.average:+.1f}, over "
            f"{left:.1f} to {right:.1f} % clean"
        )


def least_lead(ours: Curve, theirs: Curve, *, random_state: int = 0) -> Lead | None:
    """Least difference of two curves of means under AutoAttack, over the clean accuracies that both have.

    Its interval is that of images, and of training runs where there are several, drawn again for both accuracies of all
    settings at once. The least of several differences errs low; of equal curves about one in twenty is told apart.

    :param ours: Settings of one method.
    :param theirs: Of another, on the same images; runs of the same seed are taken together.
    :param random_state: Seed of the resampling.
    :return: None where they share no clean accuracy.
    """
    every = [rows for _, rows in (*ours, *theirs)]
    seeds = sorted(set.intersection(*({row["seed"] for row in rows} for rows in every)))
    clean, attacked = (
        np.array([[correct(row, quantity) for seed in seeds for row in rows if row["seed"] == seed] for rows in every])
        for quantity in ("clean", "AutoAttack")
    )  # (settings, seeds, images), the attacked images being the first ones

    def leads(runs: NDArray[np.int64], images: NDArray[np.int64]) -> tuple[float, float, float, float] | None:
        x = np.average(np.average(clean, axis=2, weights=images), axis=1, weights=runs)
        few = images[: attacked.shape[2]]
        if not few.any():
            return None
        y = np.average(np.average(attacked, axis=2, weights=few), axis=1, weights=runs)
        return _between(100 * x, 100 * y, len(ours))

    (nb_runs, nb_images), rng = clean.shape[1:], np.random.default_rng(random_state)
    measured = leads(np.ones(nb_runs, dtype=int), np.ones(nb_images, dtype=int))
    if measured is None:
        return None
    drawn = [
        leads(
            rng.multinomial(nb_runs, np.full(nb_runs, 1 / nb_runs)),
            rng.multinomial(nb_images, np.full(nb_images, 1 / nb_images)),
        )
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile([found[0] for found in drawn if found is not None], (0.025, 0.975))
    least, average, *overlap = measured
    return Lead(least, (float(low), float(high)), average, (overlap[0], overlap[1]))


def _between(x: NDArray[np.float64], y: NDArray[np.float64], nb_ours: int) -> tuple[float, float, float, float] | None:
    """Least and mean lead of the first points' curve over that of the others, and where they overlap."""
    curves = [(part[np.argsort(part[:, 0])]).T for part in np.split(np.stack([x, y], axis=1), [nb_ours])]
    low, high = max(curve[0][0] for curve in curves), min(curve[0][-1] for curve in curves)
    if low > high:
        return None
    knots = np.unique(np.clip(x, low, high))
    ahead, behind = (np.interp(knots, *curve) for curve in curves)
    lead = ahead - behind
    average = trapezoid(lead, knots) / (high - low) if high > low else lead[0]
    return float(lead.min()), float(average), float(low), float(high)
