"""How a model was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from art_mi.report.plots.canvas import MODELS, NORMAL, STROKES, WORST, axes_in, finish, wrapped

ACCURACIES = {"clean_accuracy": ("clean", NORMAL, "o"), "robust_accuracy": ("under attack", WORST, "D")}
NO_TERMS = {"epoch", "lr", *ACCURACIES}


def has_accuracies(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is an accuracy to draw.

    :param history: A record an epoch.
    """
    return any(_points(history, name) for name in ACCURACIES)


def has_losses(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is a loss to draw.

    :param history: A record an epoch.
    """
    return any(_points(history, name) for name in _terms(history))


def training_accuracies(history: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Validation accuracies, clean and under attack, against the epoch.

    :param history: A record an epoch, as trainers keep it; epochs without validation leave gaps.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If there is none.
    """
    found = {name: _points(history, name) for name in ACCURACIES}
    if not any(found.values()):
        raise ValueError("`history` must hold `clean_accuracy` or `robust_accuracy`, got neither.")
    axes = axes_in(ax, 3.0)
    for name, points in found.items():
        if points:
            label, colour, marker = ACCURACIES[name]
            x, y = zip(*points, strict=True)
            axes.plot(x, [100 * value for value in y], color=colour, marker=marker, markersize=4, label=label)
    axes.set_ylim(0, 102)
    axes.set_ylabel("validation accuracy (%)")
    return _epochs(axes)


def training_losses(history: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """The loss and its terms against the epoch.

    :param history: A record an epoch, as trainers keep it.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If there is none.
    """
    found = {name: points for name in _terms(history) if (points := _points(history, name))}
    if not found:
        raise ValueError("`history` must hold a loss, got none.")
    axes = axes_in(ax, 3.0)
    colours = ["#000000", NORMAL, WORST, *(colour for colour, _ in MODELS[:4])]
    for index, (name, points) in enumerate(found.items()):
        x, y = zip(*points, strict=True)
        line, _ = STROKES[index % len(STROKES)]
        axes.plot(x, y, color=colours[index % len(colours)], linestyle=line, label=wrapped(name))
    axes.set_ylabel("mean over the epoch")
    return _epochs(axes)


def _terms(history: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in dict.fromkeys(key for record in history for key in record) if name not in NO_TERMS]


def _points(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Epochs and values, of those epochs that have a number."""
    values = [(float(record.get("epoch", index + 1)), record.get(name)) for index, record in enumerate(history)]
    return [(epoch, float(value)) for epoch, value in values if isinstance(value, int | float)]


def _epochs(axes: Axes) -> Axes:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finish(axes, "y", ncols=2)
