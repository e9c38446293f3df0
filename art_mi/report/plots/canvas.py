"""What every figure shares: its size, colours and marks, and its way into a page or a file."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from textwrap import wrap
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from art_mi.results import Accuracy, MIEstimate

# Okabe and Ito: quantities have a colour each, models one of their own and a marker
NORMAL, WORST, CEILING = "#0072B2", "#D55E00", "#000000"
MODELS = (("#CC79A7", "o"), ("#009E73", "D"), ("#E69F00", "s"), ("#56B4E9", "^"), ("#000000", "v"))
STROKES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
Marks = Mapping[str, tuple[str, str]]  # colour and marker by model
WIDTH = 4.8  # inches; drawn at most a little larger, so that text can be read on a phone


def new_axes(height: float) -> Axes:
    """Axes of a figure of their own.

    :param height: Of the figure in inches.
    """
    return Figure(figsize=(WIDTH, height), layout="constrained").add_subplot()


def axes_in(ax: Axes | None, height: float) -> Axes:
    """The axes given, or where they are None new ones.

    :param ax: Axes to draw in.
    :param height: Of the new figure in inches.
    :raises TypeError: If `ax` is neither.
    """
    if not isinstance(ax, Axes | None):
        raise TypeError(f"`ax` must be None or matplotlib axes, got {type(ax).__name__}.")
    return new_axes(height) if ax is None else ax


def model_marks(names: Iterable[str]) -> Marks:
    """A colour and a marker for each model, in order.

    :param names: Models.
    """
    every = list(names)
    return dict(zip(every, islice(cycle(MODELS), len(every)), strict=True))


def wrapped(text: str, width: int = 44) -> str:
    """Text in two lines that fit a figure; what does not is left out.

    :param text: Any text.
    :param width: Letters in a line.
    """
    return "\n".join(wrap(text, width, max_lines=2, placeholder=" …")) or text


def finish(axes: Axes, grid: str, *, ncols: int = 1) -> Axes:
    """Lines, legend and plain text as everywhere; no name is read as mathematics.

    :param axes: What was drawn.
    :param grid: Axis whose values are read off: `"x"` or `"y"`.
    :param ncols: Columns of the legend.
    """
    axes.spines[["top", "right", "left" if grid == "x" else "bottom"]].set_visible(False)
    axes.tick_params(length=0, pad=5)
    axes.grid(axis=cast(Any, grid), color="#808080", alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    texts = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=ncols, frameon=False, borderpad=0, borderaxespad=0.6
        )
        texts += legend.get_texts()
    for text in texts:
        text.set_parse_math(False)
    return axes


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top down, their names on the left.

    :param axes: What is drawn on.
    :param names: One a row.
    """
    axes.set_yticks(range(len(names)), [wrapped(name, 20) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def mark(
    axes: Axes, estimate: MIEstimate, y: float, edge: float, colour: str, marker: str, label: str | None = None
) -> None:
    """An estimate in a row: marker, thin line for its interval, thick one from its lower to its upper bound.

    An interval without an upper end leaves through an arrow.

    :param axes: What is drawn on.
    :param estimate: In the unit of the axis.
    :param y: Height of the row.
    :param edge: Right end of the axis.
    :param colour: Colour.
    :param marker: Marker.
    :param label: Name in the legend.
    """
    low, high = estimate.confidence_interval
    axes.plot([low, min(high, edge)], [y, y], color=colour, linewidth=1.4)
    if math.isinf(high):
        axes.plot([edge], [y], color=colour, marker=">", markersize=6, clip_on=False)
    if estimate.lower is not None and estimate.upper is not None:
        ends = [estimate.lower, min(estimate.upper, edge)]
        axes.plot(ends, [y, y], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
    axes.plot([estimate.value], [y], color=colour, marker=marker, markersize=6, linestyle="none", label=label)


def right_edge(estimates: Iterable[MIEstimate]) -> float:
    """Right end of an axis, a little beyond every finite end.

    :param estimates: In the unit of the axis.
    """
    ends = [end for e in estimates for end in (e.value, e.upper, *e.confidence_interval) if end is not None]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)
    return 1.06 * largest if largest > 0 else 1.0


def left_edge(estimates: Iterable[MIEstimate]) -> float:
    """Left end of an axis: zero, or the lowest finite end below it.

    :param estimates: In the unit of the axis.
    """
    ends = [e.confidence_interval[0] for e in estimates]
    return 1.06 * min(0.0, *(end for end in ends if math.isfinite(end)), 0.0)


def band(
    axes: Axes, x: Sequence[float], values: Sequence[MIEstimate] | Sequence[Accuracy], label: str, **style: Any
) -> None:
    """A line with markers, and its 95 % intervals as a band.

    :param axes: What is drawn on.
    :param x: Where.
    :param values: Estimates or accuracies.
    :param label: Name in the legend.
    :param style: Of the line.
    """
    scale = 100 if isinstance(values[0], Accuracy) else 1
    ends = [(scale * low, scale * high) for low, high in (value.confidence_interval for value in values)]
    low, high = zip(*[[end if math.isfinite(end) else math.nan for end in pair] for pair in ends], strict=True)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, [scale * value.value for value in values], markersize=5, label=label, **style)


def figure_svg(figure: Figure, words: str = "") -> str:
    """An `<svg>` element to put into a page: transparent, the same text every time, drawn in the page's text colour.

    Black becomes `currentColor`, so that one image serves light and dark pages; identifiers carry a hash of the image
    and of its words, so that several images may share a page. Pictures inside are PNG.

    :param figure: Any matplotlib figure.
    :param words: What tells it from an equal figure on the same page.
    """
    svg = file_svg(figure)
    svg = svg[svg.index("<svg") :].strip()
    digest = hashlib.sha256(f"{words}{svg}".encode()).hexdigest()[:8]
    # tags only: text has its `<` and `>` escaped
    return re.sub(r"<[^>]+>", lambda tag: _inline(tag.group(), digest), svg)


def file_svg(figure: Figure) -> str:
    """A figure as the text of an SVG file, transparent, the same every time.

    :param figure: Any matplotlib figure.
    """
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    return _saved(figure, format="svg", metadata=nothing, transparent=True).decode()


def file_png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file, on white.

    :param figure: Any matplotlib figure.
    """
    return _saved(figure, format="png", metadata={"Software": None}, facecolor="white", dpi=200)


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    style: Any = {"svg.hashsalt": "art_mi", "svg.fonttype": "none"}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a browser has its own fonts
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _inline(tag: str, digest: str) -> str:
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>a{digest}-", tag)
    tag = tag.replace("#000000", "currentColor")
    return tag.replace("<svg ", '<svg fill="currentColor" ', 1)
