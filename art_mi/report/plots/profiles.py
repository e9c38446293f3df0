"""Information inside a model: layers, units, radii."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from art_mi.report.cells import norm_name
from art_mi.report.plots.canvas import (
    CEILING,
    NORMAL,
    STROKES,
    WORST,
    Marks,
    axes_in,
    band,
    finish,
    left_edge,
    mark,
    model_marks,
    name_rows,
    right_edge,
    wrapped,
)
from art_mi.results import FeatureProfile, LayerProfile, VulnerabilityCurve

QUANTITIES = {"normal": "normal information", "vulnerability": "vulnerability"}


def layer_information(profile: LayerProfile, ax: Axes | None = None) -> Axes:
    """Normal and worst-case information of each layer, the first layer on top, with 95 % intervals.

    :param profile: Profile of one model.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If the profile has no layer.
    """
    if not profile.layers:
        raise ValueError("`profile` must hold at least one layer, got none.")
    axes = axes_in(ax, 0.9 + 0.45 * len(profile.layers))
    unit = next(iter(profile.layers.values())).unit
    results = [result.in_unit(unit) for result in profile.layers.values()]
    estimates = [estimate for result in results for estimate in (result.normal, result.worst_case)]
    edge = right_edge(estimates)
    for row, result in enumerate(results):
        labels = ("normal", "worst case found") if row == 0 else (None, None)
        mark(axes, result.normal, row - 0.14, edge, NORMAL, "o", labels[0])
        mark(axes, result.worst_case, row + 0.14, edge, WORST, "D", labels[1])
    name_rows(axes, list(profile.layers))
    axes.set_xlim(left_edge(estimates), edge)
    axes.set_xlabel(f"information ({unit})")
    return finish(axes, "x", ncols=2)


def layer_vulnerability(
    profiles: Mapping[str, LayerProfile], ax: Axes | None = None, marks: Marks | None = None
) -> Axes:
    """Vulnerability of each layer of several models, layers of the same name in one row, with 95 % intervals.

    :param profiles: Profiles by model.
    :param ax: Axes to draw in; those of a new figure by default.
    :param marks: Colour and marker of each model; by default one after the other.
    :return: The axes drawn in.
    :raises ValueError: If there is no layer.
    """
    rows = list(dict.fromkeys(layer for profile in profiles.values() for layer in profile.layers))
    if not rows:
        raise ValueError("`profiles` must hold at least one layer, got none.")
    space = 0.22 + 0.15 * len(profiles)
    axes = axes_in(ax, 0.9 + 0.25 * len(profiles) + space * len(rows))
    unit = next(result.unit for profile in profiles.values() for result in profile.layers.values())
    drops = {
        model: {layer: result.in_unit(unit).vulnerability for layer, result in profile.layers.items()}
        for model, profile in profiles.items()
    }
    estimates = [drop for of_model in drops.values() for drop in of_model.values()]
    edge = right_edge(estimates)
    offsets = np.linspace(-0.5, 0.5, len(profiles) + 2)[1:-1]
    marks = marks or model_marks(profiles)
    for model, offset in zip(profiles, offsets, strict=True):
        colour, marker = marks[model]
        for layer, drop in drops[model].items():
            mark(axes, drop, rows.index(layer) + offset, edge, colour, marker)
        axes.plot([], [], color=colour, marker=marker, label=wrapped(model))
    name_rows(axes, rows)
    axes.set_xlim(left_edge(estimates), edge)
    axes.set_xlabel(f"vulnerability ({unit})")
    return finish(axes, "x")


def feature_histogram(
    profiles: Mapping[str, FeatureProfile],
    quantity: Literal["normal", "vulnerability"] = "vulnerability",
    ax: Axes | None = None,
    marks: Marks | None = None,
) -> Axes:
    """How the units of a layer are spread in information or in vulnerability; models share the bins.

    Estimates are counted as they are: the sampling error of each unit widens the histogram.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 3)

    :param profiles: Profiles by model.
    :param quantity: `"normal"` or `"vulnerability"`.
    :param ax: Axes to draw in; those of a new figure by default.
    :param marks: Colour and marker of each model; by default one after the other.
    :return: The axes drawn in.
    :raises ValueError: If there is no unit, or `quantity` is neither.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"`quantity` must be one of {', '.join(map(repr, QUANTITIES))}, got {quantity!r}.")
    units = [unit for profile in profiles.values() for unit in profile.units]
    if not units:
        raise ValueError("`profiles` must hold at least one unit, got none.")
    axes = axes_in(ax, 2.7 + 0.22 * len(profiles))
    name = units[0].normal.unit
    values = {
        model: [getattr(unit, quantity).in_unit(name).value for unit in profile.units]
        for model, profile in profiles.items()
    }
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins=min(20, max(5, len(units) // 4)))
    lines = ("-", "--", ":", "-.")
    marks = marks or model_marks(profiles)
    for index, model in enumerate(profiles):
        colour, _ = marks[model]
        label = wrapped(f"{model}, {len(values[model])} units")
        axes.hist(values[model], edges.tolist(), color=colour, alpha=0.25)
        stroke = lines[index % len(lines)]
        axes.hist(
            values[model], edges.tolist(), histtype="step", color=colour, linewidth=1.8, linestyle=stroke, label=label
        )
    axes.set_xlabel(f"{QUANTITIES[quantity]} of a unit ({name})")
    axes.set_ylabel("units")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return finish(axes, "y")


def information_against_eps(curve: VulnerabilityCurve, ax: Axes | None = None) -> Axes:
    """Normal and worst-case information against the radius, with 95 % intervals as bands.

    :param curve: Curve of one model.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If the curve has no radius.
    """
    axes = _radii(curve, ax)
    unit = curve.results[0].unit
    results = [result.in_unit(unit) for result in curve.results]
    normal, worst = [result.normal for result in results], [result.worst_case for result in results]
    band(axes, curve.eps, normal, "normal", color=NORMAL, linestyle="-", marker="o")
    band(axes, curve.eps, worst, "worst case found", color=WORST, linestyle="-", marker="D")
    axes.set_ylim(left_edge([*normal, *worst]), right_edge([*normal, *worst]))
    axes.set_ylabel(f"information ({unit})")
    return finish(axes, "y", ncols=2)


def accuracy_against_eps(curve: VulnerabilityCurve, ax: Axes | None = None) -> Axes:
    """The accuracy ceiling against the radius, and the accuracies measured, with 95 % intervals as bands.

    :param curve: Curve of one model.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If the curve has no radius.
    """
    axes = _radii(curve, ax)
    ceilings = [100 * result.accuracy_ceiling for result in curve.results]
    axes.plot(curve.eps, ceilings, color=CEILING, linestyle="--", marker=".", label="ceiling (behind its noise)")
    through = [result.measured_accuracy for result in curve.results]
    if all(accuracy is not None for accuracy in through):
        shown = [100 * accuracy for accuracy in through if accuracy is not None]
        axes.plot(curve.eps, shown, color=WORST, marker="D", markersize=5, label="measured behind that noise")
    plain = curve.accuracies.items()
    for (name, found), (line, marker) in zip(plain, STROKES[1:] * len(plain), strict=False):
        style = {"linestyle": line, "marker": marker, "markerfacecolor": "none"}
        band(axes, curve.eps, found, wrapped(f"{name}, without noise"), color=WORST, **style)
    axes.set_ylim(0, 102)
    axes.set_ylabel("accuracy (%)")
    return finish(axes, "y")


def _radii(curve: VulnerabilityCurve, ax: Axes | None) -> Axes:
    if not curve.results:
        raise ValueError("`curve` must hold at least one radius, got none.")
    axes = axes_in(ax, 3.2)
    norm = curve.results[0].settings.get("norm", curve.settings.get("norm"))
    axes.set_xlabel(
        "radius eps (raw input units)" if norm is None else f"radius eps ({norm_name(norm)}, raw input units)"
    )
    return axes
