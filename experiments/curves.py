"""Trade-offs: clean against attacked accuracy, a curve a method, and which curve lies above which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.stats import norm, t

from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.tables import Row, Rows, accuracy, correct, grouped, interval, mean, validated

RESAMPLES = 2000

Curve = Sequence[tuple[str, Rows]]  # settings with their rows
Values = NDArray[np.float64]


def curves(
    rows: Iterable[Row], name: Callable[[Row], str], place: Callable[[Row], tuple[str, str]]
) -> dict[str, list[tuple[str, Rows]]]:
    """Settings by the curve they are points of.

    :param rows: All rows.
    :param name: What a setting is called.
    :param place: Its curve, and what it is labelled there.
    """
    found: dict[str, list[tuple[str, Rows]]] = {}
    for same in grouped(rows, name).values():
        curve, label = place(same[0])
        found.setdefault(curve, []).append((label, same))
    return found


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


def chosen(curve: Curve) -> tuple[str, Rows]:
    """The setting of highest accuracy on held-out images."""
    return max(curve, key=lambda setting: validated(setting[1]))


def whole(axes: Axes) -> Figure:
    """The figure of axes that have one of their own."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


@dataclass(frozen=True)
class Lead:
    """How far one curve is above another.

    :param least: Their least difference, in points.
    :param interval: Where the least difference of the true curves lies, by a band that holds them everywhere in 95 %.
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

    The least of several differences errs low, and that of resampled ones once more. So the interval is of all of them
    at once: a band about the measured differences, as wide as images, and training runs where there are several, drawn
    again for both accuracies of all settings leave them in 95 %. Of n runs n - 1 are drawn, which gives their mean its
    variance (Rao and Wu 1988), and the band is wider as Student's quantile is than the normal one.

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
    nb_few = attacked.shape[2]

    def means(runs: Values, images: Values) -> tuple[Values, Values]:
        weighted = ((clean, images), (attacked, images[:nb_few]))
        x, y = (np.average(np.average(values, axis=2, weights=few), axis=1, weights=runs) for values, few in weighted)
        return 100 * x, 100 * y

    (nb_runs, nb_images), rng = clean.shape[1:], np.random.default_rng(random_state)
    x, y = means(np.ones(nb_runs), np.ones(nb_images))
    ends = [(part.min(), part.max()) for part in np.split(x, [len(ours)])]
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)
    if low > high:
        return None
    knots = np.unique(np.clip(x, low, high))
    lead = _lead(x, y, len(ours), knots)

    def drawn_again(draw_images: bool) -> Values:
        every, counts = np.ones(nb_images), (_drawn(rng, nb_runs, max(nb_runs - 1, 1)) for _ in range(RESAMPLES))
        again = ((runs, _drawn(rng, nb_images, nb_images) if draw_images else every) for runs in counts)
        return np.array([_lead(*means(*drawn), len(ours), knots) for drawn in again if drawn[1][:nb_few].any()]) - lead

    moved = drawn_again(True)
    spread = np.maximum(moved.std(0), 1e-9)
    band = np.quantile(np.abs(moved / spread).max(1), 0.95) * spread
    if nb_runs > 1:  # degrees of freedom by Satterthwaite, of runs where their share of the variance is largest
        freedom = (nb_runs - 1) / max(((drawn_again(False).std(0) / spread) ** 4).max(), 1e-9)
        band *= t.ppf(0.975, freedom) / norm.ppf(0.975)
    average = trapezoid(lead, knots) / (high - low) if high > low else lead[0]
    interval = float((lead - band).min()), float((lead + band).min())
    return Lead(float(lead.min()), interval, float(average), (float(low), float(high)))


def _lead(x: Values, y: Values, nb_ours: int, knots: Values) -> Values:
    """Lead of the first points' curve over that of the others."""
    curves = np.split(np.stack([x, y]), [nb_ours], axis=1)
    ours, theirs = (np.interp(knots, *curve[:, np.argsort(curve[0])]) for curve in curves)
    return ours - theirs


def _drawn(rng: np.random.Generator, nb: int, times: int) -> Values:
    """How often each of so many is drawn, with replacement."""
    return rng.multinomial(times, np.full(nb, 1 / nb)).astype(float)
