"""Figures of results: information on clean and attacked inputs, and its sweep over noise levels."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from art_mi.results import MIEstimate, RepresentationVulnerability

NORMAL, WORST = "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito: at least 3:1 on white and on near-black
STROKES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))


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
    axes = _axes(0.7 + 0.85 * len(results)) if ax is None else ax
    unit = next(iter(results.values())).unit
    shown = [result.in_unit(unit) for result in results.values()]
    estimates = [estimate for result in shown for estimate in (result.normal, result.worst_case)]
    edge = _edge(estimates)
    for row, result in enumerate(shown):
        first = row == 0
        _mark(axes, result.normal, row - 0.14, edge, NORMAL, "o", "normal" if first else None)
        _mark(axes, result.worst_case, row + 0.14, edge, WORST, "D", "worst case found" if first else None)
    for row, name in enumerate(results):
        place = axes.get_yaxis_transform()
        axes.text(0, row - 0.34, _wrapped(name), transform=place, va="bottom", fontweight="bold", parse_math=False)
    axes.set_yticks([])
    axes.set_ylim(len(shown) - 0.6, -0.75)
    axes.set_xlim(min(0.0, *(e.confidence_interval[0] for e in estimates)), edge)
    axes.set_xlabel(f"information ({unit})")
    _finish(axes, "x", ncols=2)
    return axes


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
    axes = _axes(3.2) if ax is None else ax
    unit = next(iter(swept.values())).unit
    levels: list[float] = []
    for (name, result), (line, marker) in zip(swept.items(), STROKES * len(swept), strict=False):
        points = sorted(result.in_unit(unit).sweep, key=lambda point: float(point.settings["noise_std"]))
        x = [float(point.settings["noise_std"]) for point in points]
        levels.extend(x)
        _curve(axes, x, [point.normal for point in points], NORMAL, line, marker, _wrapped(name, ", normal"))
        _curve(
            axes, x, [point.worst_case for point in points], WORST, line, marker, _wrapped(name, ", worst case found")
        )
    if min(levels) > 0:
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(levels)), [f"{level:g}" for level in sorted(set(levels))])
        axes.minorticks_off()
    axes.set_xlabel("noise level (standard deviations of the representation)")
    axes.set_ylabel(f"information ({unit})")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _finish(axes, "y", ncols=1)
    return axes


def figure_svg(figure: Figure) -> str:
    """An `<svg>` element to put into a page: transparent, the same text every time, drawn in the page's text colour.

    Black becomes `currentColor`, so that one image serves light and dark pages; identifiers carry a hash of the image,
    so that several images may share a page.

    :param figure: Any matplotlib figure.
    """
    buffer = io.StringIO()
    style: Any = {"svg.hashsalt": "art_mi", "svg.fonttype": "none"}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has its own fonts
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True, bbox_inches="tight", pad_inches=0.04)
    text = buffer.getvalue()
    svg = text[text.index("<svg") :].strip()
    mark = hashlib.sha256(svg.encode()).hexdigest()[:8]
    return re.sub(
        r"<[^>]+>", lambda tag: _inline(tag.group(), mark), svg
    )  # tags only: text has its `<` and `>` escaped


def _inline(tag: str, mark: str) -> str:
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>a{mark}-", tag)
    tag = tag.replace("#000000", "currentColor")
    return tag.replace("<svg ", '<svg fill="currentColor" ', 1)


def _axes(height: float) -> Axes:
    return Figure(figsize=(5.8, height)).add_subplot()


def _wrapped(name: str, suffix: str = "") -> str:
    """A name in lines that fit the figure."""
    return "\n".join(wrap(name + suffix, 52)) or name


def _edge(estimates: list[MIEstimate]) -> float:
    """Right end of the axis: a little beyond every finite end."""
    ends = [end for e in estimates for end in (e.value, e.upper, *e.confidence_interval) if end is not None]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)
    return 1.06 * largest if largest > 0 else 1.0


def _mark(axes: Axes, estimate: MIEstimate, y: float, edge: float, colour: str, marker: str, label: str | None) -> None:
    low, high = estimate.confidence_interval
    axes.plot([low, min(high, edge)], [y, y], color=colour, linewidth=1.4)
    if math.isinf(high):
        axes.plot([edge], [y], color=colour, marker=">", markersize=7, clip_on=False)
    if estimate.lower is not None and estimate.upper is not None:
        ends = [estimate.lower, min(estimate.upper, edge)]
        axes.plot(ends, [y, y], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
    axes.plot([estimate.value], [y], color=colour, marker=marker, markersize=7, linestyle="none", label=label)


def _curve(
    axes: Axes, x: list[float], estimates: list[MIEstimate], colour: str, line: str, marker: str, label: str
) -> None:
    low, high = zip(*(estimate.confidence_interval for estimate in estimates), strict=True)
    top = [end if math.isfinite(end) else math.nan for end in high]
    axes.fill_between(x, low, top, color=colour, alpha=0.15, linewidth=0)
    values = [estimate.value for estimate in estimates]
    axes.plot(x, values, color=colour, linestyle=line, marker=marker, markersize=5, label=label)


def _finish(axes: Axes, grid: str, ncols: int) -> None:
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x" if grid == "x" else "y", color="#808080", alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, frameon=False, borderpad=0, borderaxespad=0.6
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
