"""Samples as pictures: what an attack changed, and what a model looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from art_mi.report.plots.canvas import WORST, axes_in

Pictures = NDArray[np.float64]
Labels = NDArray[Any]
COLUMNS = 6
SIGNED = "PuOr"
SALIENCY = {"saliency_information": "information\ngradient", "saliency_loss": "loss\ngradient"}


def are_images(x: NDArray[Any] | None) -> bool:
    """Whether samples can be shown: `(n, channels, height, width)` with one or three channels.

    :param x: Samples, or None.
    """
    return x is not None and x.ndim == 4 and x.shape[1] in (1, 3) and len(x) > 0


def adversarial_examples(images: Mapping[str, NDArray[Any]], ax: Axes | None = None) -> Axes:
    """The first samples, as they are, perturbed, and the difference, with what the model calls them.

    Differences are summed over channels; white is none, and the scale is the same for all samples.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 4, its images)

    :param images: `x` and `x_adv` `(n, channels, height, width)` in raw units; `y`, `predicted`, `predicted_adv`.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If `x` or `x_adv` is missing or holds no images.
    """
    x, x_adv = _required(images, "x"), _required(images, "x_adv")
    change = (x_adv - x).sum(1)
    largest = float(np.abs(x_adv - x).max())
    rows = [_photographs(x, x), _photographs(x_adv, x), _signed(change, np.abs(change).max())]
    names = ["clean", "perturbed", f"change\n(at most\n{largest:.2g})"]
    predictions = [images.get("predicted"), images.get("predicted_adv"), None]
    return _grid(rows, names, predictions, images.get("y"), ax)


def saliency_grid(images: Mapping[str, NDArray[Any]], ax: Axes | None = None) -> Axes:
    """The first samples above the gradients of the information and of the loss with respect to them.

    Gradients are summed over channels. Each sample is scaled by the 99th percentile of its own and cut off there, as a
    few pixels of robust models stand out. White is none, orange is negative, purple positive.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 4)

    :param images: `x`, and `saliency_information` or `saliency_loss` of the same shape, in raw units.
    :param ax: Axes to draw in; those of a new figure by default.
    :return: The axes drawn in.
    :raises ValueError: If `x` or both maps are missing, or hold no images.
    """
    x = _required(images, "x")
    found = [name for name in SALIENCY if name in images]
    if not found:
        raise ValueError(f"`images` must hold {' or '.join(map(repr, SALIENCY))}, got {', '.join(images)}.")
    rows, names = [_photographs(x, x)], ["image"]
    for name in found:
        gradient = _required(images, name).sum(1)
        rows.append(_signed(gradient, np.quantile(np.abs(gradient), 0.99, (1, 2), keepdims=True)))
        names.append(SALIENCY[name])
    return _grid(rows, names, [None] * len(rows), images.get("y"), ax)


def _required(images: Mapping[str, NDArray[Any]], name: str) -> Pictures:
    found = images.get(name)
    if found is None or not are_images(found):
        shape = "none" if found is None else f"shape {found.shape}"
        raise ValueError(f"`images` must hold `{name}` of shape (n, 1 or 3, height, width), got {shape}.")
    return found[:COLUMNS].astype(np.float64)


def _photographs(x: Pictures, reference: Pictures) -> Pictures:
    """Pictures `(n, height, width, 4)`, from the least to the greatest value of the reference, 0 and 1 included."""
    low, high = min(0.0, reference.min()), max(1.0, reference.max())
    colours = np.clip((x - low) / (high - low), 0, 1).transpose(0, 2, 3, 1)
    return np.concatenate([np.broadcast_to(colours, (*colours.shape[:3], 3)), np.ones((*colours.shape[:3], 1))], -1)


def _signed(values: Pictures, largest: Any) -> Pictures:
    scaled = values / np.maximum(largest, 1e-12)
    return np.asarray(mpl.colormaps[SIGNED](0.5 + 0.5 * scaled), dtype=np.float64)


def _grid(
    rows: list[Pictures], names: list[str], predictions: list[Labels | None], y: Labels | None, ax: Axes | None
) -> Axes:
    """Rows of pictures, a column a sample, the label above and predictions below, those of wrong ones framed."""
    n, height, width, _ = rows[0].shape
    axes = axes_in(ax, 0.35 + len(rows) * (0.62 * height / width + 0.16))
    for row, (pictures, predicted) in enumerate(zip(rows, predictions, strict=True)):
        top = 1.3 * row
        for column, picture in enumerate(pictures):
            left = 1.1 * column
            wrong = y is not None and predicted is not None and str(y[column]) != str(predicted[column])
            axes.imshow(picture, extent=(left, left + 1, top + 1, top), interpolation="none")
            frame: Any = {"edgecolor": WORST, "linewidth": 2} if wrong else {"edgecolor": "#808080", "linewidth": 0.5}
            axes.add_patch(Rectangle((left, top), 1, 1, fill=False, **frame))
            if predicted is not None:
                style: Any = {"ha": "center", "va": "top", "fontsize": 8, "fontweight": "bold" if wrong else "normal"}
                axes.text(left + 0.5, top + 1.04, f"as {_brief(predicted[column])}", parse_math=False, **style)
    axes.set_xlim(-0.02, 1.1 * n - 0.08)
    axes.set_ylim(1.3 * len(rows) - (0.27 if predictions[-1] is None else 0.02), -0.02)
    axes.set_aspect(height / width)
    axes.set_yticks([1.3 * row + 0.5 for row in range(len(rows))], names)
    axes.set_xticks(
        [1.1 * column + 0.5 for column in range(n)], [""] * n if y is None else [_brief(label) for label in y[:n]]
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
    return axes


def _brief(label: Any) -> str:
    text = str(label)
    return text if len(text) <= 8 else f"{text[:7]}…"
