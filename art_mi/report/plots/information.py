"""Information of whole representations: before and after the attack, and over noise levels."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from art_mi.report.plots.canvas import (
    NORMAL,
    STROKES,
    WORST,
    axes_in,
    band,
    finish,
    left_edge,
    mark,
    right_edge,
    wrapped,
)
from art_mi.results import RepresentationVulnerability


def information_bars(results: Mapping[str, RepresentationVulnerability], ax: Axes | None = None) -> Axes:
    """Normal and worst-case information of each model, in the unit of the first.

    A marker is the estimate, a thin line its 95 % interval, a thick one runs from the lower to the upper bound of a
    two-sided estimate. An interval without an upper end leaves through an arrow.

    :param results: Results by model.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If `results` is empty.
    """
    if not results:
        raise ValueError("`results` must hold at least one model, got none.")
    axes = axes_in(ax, 0.9 + 0.8 * len(results))
    unit = next(iter(results.values())).unit
    shown = [result.in_unit(unit) for result in results.values()]
    estimates = [estimate for result in shown for estimate in (result.normal, result.worst_case)]
    edge = right_edge(estimates)
    for row, (name, result) in enumerate(zip(results, shown, strict=True)):
        labels = ("normal", "worst case found") if row == 0 else (None, None)
        mark(axes, result.normal, row - 0.12, edge, NORMAL, "o", labels[0])
        mark(axes, result.worst_case, row + 0.16, edge, WORST, "D", labels[1])
        place = axes.get_yaxis_transform()
        axes.text(0, row - 0.32, wrapped(name), transform=place, va="bottom", fontweight="bold", parse_math=False)
    axes.set_yticks([])
    axes.set_ylim(len(shown) - 0.6, -0.75)
    axes.set_xlim(left_edge(estimates), edge)
    axes.set_xlabel(f"information ({unit})")
    return finish(axes, "x", ncols=2)


def sweep_curve(results: Mapping[str, RepresentationVulnerability], ax: Axes | None = None) -> Axes:
    """Normal and worst-case information against the noise level, with 95 % intervals as bands.

    :param results: Results by model; those without a sweep are left out.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If no result has a sweep.
    """
    swept = {name: result for name, result in results.items() if result.sweep}
    if not swept:
        raise ValueError("`results` must hold a result with a sweep over noise levels, got none.")
    axes = axes_in(ax, 3.1 + 0.4 * len(swept))
    unit = next(iter(swept.values())).unit
    levels: set[float] = set()
    for (name, result), (line, marker) in zip(swept.items(), STROKES * len(swept), strict=False):
        points = sorted(result.in_unit(unit).sweep, key=lambda point: float(point.settings["noise_std"]))
        x = [float(point.settings["noise_std"]) for point in points]
        levels.update(x)
        style = {"linestyle": line, "marker": marker}
        band(axes, x, [p.normal for p in points], wrapped(f"{name}, normal"), color=NORMAL, **style)
        band(axes, x, [p.worst_case for p in points], wrapped(f"{name}, worst case found"), color=WORST, **style)
    if min(levels) > 0:
        axes.set_xscale("log")
        axes.set_xticks(sorted(levels), [f"{level:g}" for level in sorted(levels)])
        axes.minorticks_off()
    axes.set_xlabel("noise level (standard deviations of the representation)")
    axes.set_ylabel(f"information ({unit})")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    return finish(axes, "y")
