"""Figures 3 and 4 of Zhu, Zhang, Evans 2020: single features, and saliency maps, of standard and robust models.

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.1 and appendix)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure
from scipy.stats import t

from art_mi.metrics import feature_profile
from art_mi.report.plots import feature_histogram, saliency_grid
from art_mi.results import FeatureProfile
from art_mi.saliency import information_saliency, loss_saliency
from experiments.curves import whole
from experiments.recipe import Recipe
from experiments.table1 import ENCODERS
from experiments.tables import Relation, Row, Rows, accuracy_table, grouped, markdown_table
from experiments.workshop import Workshop

TITLE = "Features and saliency of standard and robust models"
ABOUT = """Figures 3 and 4 of [Zhu, Zhang, Evans 2020](https://arxiv.org/abs/2002.11798): what single units of the
second layer say, and lose under attack, in standard and in robust models; and saliency maps, gradients by the pixels.
In the paper units of robust models lose less, and maps of encoders trained for the worst case show the outlines of
things."""
SIZES = (
    " Critics of encoders have {critic_width} channels and a learning rate of {critic_lr:g}."
    " Information is of {nb_measured:,} test images."
)
NETWORK, LAYER = "Baseline-H", "body.3"  # its second convolution
SHOWN = 8  # images of the grids
SETTINGS = {"layer": LAYER, "version": 2}


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Three trainings with labels, and the encoders without."""
    yield from (Recipe(method, NETWORK, seed) for method in ("standard", "Madry", "MIMAE"))
    yield from (Recipe("worst-case MI", NETWORK, seed, options) for options in ENCODERS.values())


def measure(workshop: Workshop, recipe: Recipe, classifier: PyTorchClassifier) -> dict[str, Any]:
    """Information of every channel's middle unit; of the first run maps of images, an encoder's of its features."""
    x, y = (part[: workshop.plan.nb_measured] for part in workshop.samples.test)
    profile = feature_profile(classifier, x, LAYER, eps=workshop.samples.eps, verbose=False)
    found: dict[str, Any] = {"features": profile.to_dict()}
    if recipe.seed == 0:
        labelled = recipe.method != "worst-case MI"
        information = information_saliency(classifier, x, layer=None if labelled else "features")[:SHOWN]
        images = {"x": x[:SHOWN], "saliency_information": information}
        if labelled:
            images["saliency_loss"] = loss_saliency(classifier, x[:SHOWN], y[:SHOWN])
        found["images"] = {name: np.asarray(maps, dtype=float).tolist() for name, maps in images.items()}
    return found


def section(rows: Rows) -> str:
    """How the units of the layer are spread."""
    lines = []
    for name, same in grouped(rows, _name).items():
        normal, drop = (
            [getattr(unit, quantity).value for row in same for unit in _profile(row).units]
            for quantity in ("normal", "vulnerability")
        )
        low, middle, high = np.quantile(drop, (0.1, 0.5, 0.9))
        share, _ = _lost_share(same)
        spread = f"{low:.2f}, {middle:.2f}, {high:.2f}"
        lines.append([name, str(len(same)), str(len(drop)), f"{np.median(normal):.2f}", spread, f"{share:.2f}"])
    head = ["model", "runs", "units", "median normal information", "vulnerability: deciles 1, 5, 9", "lost share"]
    legend = (
        f"Units of the second convolution of {NETWORK}, the middle one of each channel, each behind noise of its own. "
        "The lost share is what they lose together of what they say together. Plots are of the first run."
    )
    trained = grouped([row for row in rows if "last" in row], _name)
    return "\n\n".join([markdown_table(head, lines), legend, accuracy_table(trained)])


def _profile(row: Row) -> FeatureProfile:
    return FeatureProfile.from_dict(row["measure"]["features"])


def _name(row: Row) -> str:
    options = row["setting"]["options"]
    found = next((name for name, of_encoder in ENCODERS.items() if of_encoder == options), "")
    return f"{found} encoder" if found else str(row["setting"]["method"])


def relations(rows: Rows) -> Iterator[Relation]:
    """That the units of robust models lose a smaller share of their information than those of the standard one."""
    found = grouped(rows, _name)
    for name, other in (("Madry", "standard"), ("MIMAE", "standard"), ("worst case encoder", "normal encoder")):
        if {other, name} <= found.keys():
            (ours, error), (theirs, their_error) = _lost_share(found[name]), _lost_share(found[other])
            apart, least = math.hypot(error, their_error), min(len(found[name]), len(found[other]))
            reach = float(t.ppf(0.975, 2 * (least - 1))) if least > 1 else 2.0
            yield Relation(
                f"the second layer's units lose a smaller share of their information: {name} than {other}",
                f"{ours:.2f} against {theirs:.2f}, the difference ± {apart:.2f} over units and runs",
                None if abs(ours - theirs) <= reach * apart else ours < theirs,
            )


def _lost_share(rows: Rows) -> tuple[float, float]:
    """Share of their information that the units lose together, and its standard error over units, and over runs."""
    of_runs = [_profile(row).units for row in rows]
    lost, had = (
        np.array([[getattr(unit, what).value for unit in units] for units in of_runs])
        for what in ("vulnerability", "normal")
    )
    total = max(float(had.mean()), 1e-12)
    share = float(lost.mean()) / total
    beyond = lost - share * had  # of (runs, units)
    variances = [beyond.var(ddof=1) / beyond.size, *([beyond.mean(1).var(ddof=1) / len(rows)] if len(rows) > 1 else [])]
    return share, math.sqrt(sum(variances)) / total


def figures(rows: Rows) -> dict[str, Figure]:
    """Histograms of both quantities, and a grid of maps for each model, of the first run."""
    first = [same[0] for same in grouped(rows, _name).values()]
    profiles = {_name(row): _profile(row) for row in first}
    drawn = {
        "features-normal": whole(feature_histogram(profiles, "normal")),
        "features-vulnerability": whole(feature_histogram(profiles, "vulnerability")),
    }
    for row in first:
        images = {name: np.asarray(maps) for name, maps in row["measure"]["images"].items()}
        drawn[f"saliency-{_name(row).lower().replace(' ', '-')}"] = whole(saliency_grid(images))
    return drawn
