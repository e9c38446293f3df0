"""Figures 3 and 4 of Zhu, Zhang, Evans 2020: single features, and saliency maps, of a standard and a robust model.

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.1 and appendix)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi.metrics import feature_profile
from art_mi.report.plots import feature_histogram, saliency_grid
from art_mi.results import FeatureProfile
from art_mi.saliency import information_saliency, loss_saliency
from experiments.curves import whole
from experiments.recipe import Recipe
from experiments.tables import Relation, Row, Rows, accuracy_table, grouped, markdown_table
from experiments.workshop import Workshop

TITLE = "Features and saliency of a standard and a robust model"
LAYER = "body.2"  # the second convolution
SHOWN = 8  # images of the grids


def recipes(seed: int) -> Iterator[Recipe]:
    """Standard and Madry's training, once each."""
    if seed == 0:
        yield from (Recipe(method) for method in ("standard", "Madry", "MIMAE"))


def measure(workshop: Workshop, recipe: Recipe, classifier: PyTorchClassifier) -> dict[str, Any]:
    """Information of every channel's middle unit, and maps of the first test images."""
    x, y = (part[: workshop.plan.nb_measured] for part in workshop.samples.test)
    profile = feature_profile(classifier, x, LAYER, eps=workshop.samples.eps, verbose=False)
    information = information_saliency(classifier, x)[:SHOWN]
    loss = loss_saliency(classifier, x[:SHOWN], y[:SHOWN])
    images = {"x": x[:SHOWN], "saliency_information": information, "saliency_loss": loss}
    return {
        "features": profile.to_dict(),
        "images": {name: np.asarray(maps, dtype=float).tolist() for name, maps in images.items()},
    }


def section(rows: Rows) -> str:
    """How the units of the layer are spread."""
    lines = []
    for row in rows:
        profile = FeatureProfile.from_dict(row["measure"]["features"])
        normal, drop = (
            [getattr(unit, quantity).value for unit in profile.units] for quantity in ("normal", "vulnerability")
        )
        low, middle, high = np.quantile(drop, (0.1, 0.5, 0.9))
        share, _ = _lost_share(row)
        spread = f"{low:.2f}, {middle:.2f}, {high:.2f}"
        lines.append([row["setting"]["method"], str(len(drop)), f"{np.median(normal):.2f}", spread, f"{share:.2f}"])
    head = ["model", "units", "median normal information", "vulnerability: deciles 1, 5, 9", "lost share"]
    return f"{markdown_table(head, lines)}\n\n{accuracy_table(grouped(rows, lambda row: row['setting']['method']))}"


def relations(rows: Rows) -> Iterator[Relation]:
    """That the units of robust models lose a smaller share of their information than those of the standard one."""
    found = {row["setting"]["method"]: _lost_share(row) for row in rows}
    for name in ("Madry", "MIMAE"):
        if {"standard", name} <= found.keys():
            (ours, error), (theirs, their_error) = found[name], found["standard"]
            apart = math.hypot(error, their_error)
            yield Relation(
                f"the second layer's units lose a smaller share of their information under {name} than under standard "
                "training",
                f"{ours:.2f} against {theirs:.2f}, the difference ± {apart:.2f} over units, one training run each",
                None if abs(ours - theirs) <= 2 * apart else ours < theirs,
            )


def _lost_share(row: Row) -> tuple[float, float]:
    """Share of their information that the units lose together, and its standard error over units."""
    units = FeatureProfile.from_dict(row["measure"]["features"]).units
    lost, had = (np.array([getattr(unit, what).value for unit in units]) for what in ("vulnerability", "normal"))
    share = lost.sum() / max(had.sum(), 1e-12)
    error = np.std(lost - share * had, ddof=1) / math.sqrt(len(units)) / max(had.mean(), 1e-12)
    return float(share), float(error)


def figures(rows: Rows) -> dict[str, Figure]:
    """Histograms of both quantities, and a grid of maps for each model."""
    profiles = {row["setting"]["method"]: FeatureProfile.from_dict(row["measure"]["features"]) for row in rows}
    drawn = {
        "features-normal": whole(feature_histogram(profiles, "normal")),
        "features-vulnerability": whole(feature_histogram(profiles, "vulnerability")),
    }
    for row in rows:
        images = {name: np.asarray(maps) for name, maps in row["measure"]["images"].items()}
        drawn[f"saliency-{row['setting']['method'].lower()}"] = whole(saliency_grid(images))
    return drawn
