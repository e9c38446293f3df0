"""Encoders whose vulnerability is held at tau by a dual variable: does it land there, and what does it buy?

| Paper link: https://arxiv.org/abs/2002.11798 (definition 3.1 and equation 5.2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi import WorstCaseMIEstimator
from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.curves import whole
from experiments.recipe import Recipe
from experiments.record import plain
from experiments.tables import QUANTITIES, Relation, Row, Rows, cell, contrast, grouped, markdown_table
from experiments.workshop import Workshop

TITLE = "Encoders of a chosen vulnerability"
SETTINGS = {"version": 5}
TAUS = (2.2, 2.6, 3.0, 3.4)  # digits end at 3.2 without a constraint and at 2.1 by the worst case alone
CONSTRAINED = {"beta": 0.0, "dual_lr": 0.1}


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """From no constraint to the worst case alone, and a robust head on each encoder."""
    every = ({"beta": 0.0}, *({"tau": tau, **CONSTRAINED} for tau in TAUS), {"beta": 1.0})
    encoders = [Recipe("worst-case MI", seed=seed, options=options) for options in every]
    yield from encoders
    yield from (Recipe("Madry", "MLP", seed, encoder=encoder) for encoder in encoders)


def measure(workshop: Workshop, recipe: Recipe, classifier: PyTorchClassifier) -> dict[str, Any]:
    """Vulnerability of the features on test images, by critics that the training never saw, and through noise."""
    if recipe.encoder is not None:
        return {}
    x, half_a_label = workshop.samples.test[0], math.log(classifier.nb_classes) / 2
    methods: dict[str, dict[str, Any]] = {
        "critic": {"method": "critic", "max_steps": workshop.plan.critic_steps},
        "noisy": {"noise_nats": half_a_label},
    }
    found = {}
    for name, settings in methods.items():
        common = {"layer": "features", "random_state": recipe.seed, "verbose": False, **settings}
        result = WorstCaseMIEstimator(workshop.samples.eps, **common).evaluate(classifier, x)
        estimates = {"vulnerability": result.vulnerability, "normal": result.normal, "worst case": result.worst_case}
        values = {name: [estimate.value, *estimate.confidence_interval] for name, estimate in estimates.items()}
        found[name] = plain({**values, "flags": [flag.name for flag in result.flags]})
    return found


def section(rows: Rows) -> str:
    """Where vulnerability landed, and what a robust head makes of the encoder."""
    head = ["encoder", "runs", "beta at the end", "vulnerability in training", "by fresh critics", "behind equal noise"]
    lines = []
    for name, encoders, heads in _settings(rows):
        last = [row["history"][-1] for row in encoders]
        values = [
            "" if "beta" not in last[0] else _mean(record["beta"] for record in last),
            "" if "vulnerability" not in last[0] else _mean(record["vulnerability"] for record in last),
            *(_read(encoders, method) for method in ("critic", "noisy")),
            *(cell(heads, quantity) if heads else "" for quantity in QUANTITIES),
        ]
        lines.append([name, str(len(encoders)), *values])
    legend = (
        "Readings are of test images: vulnerability with its 95 % interval (of the first run), of what normal "
        "information. The critics are fitted anew; noise is such that clean features say half the log of the number of "
        "classes behind it. A saturated reading says of a drop only that it may be larger."
    )
    return f"{markdown_table([*head, *(f'robust head: {quantity}' for quantity in QUANTITIES)], lines)}\n\n{legend}"


def _read(encoders: Rows, method: str) -> str:
    """A vulnerability, its interval, what it is a part of, and flags."""
    reads = [row["measure"][method] for row in encoders]
    _, low, high = reads[0]["vulnerability"]
    interval = f"[{'' if low is None else f'{low:.2f}'}, {'' if high is None else f'{high:.2f}'}]"
    flags = sorted({flag.lower().replace("_", " ") for read in reads for flag in read["flags"]})
    normal = fmean(read["normal"][0] for read in reads)
    value = _mean(read["vulnerability"][0] for read in reads)
    return f"{value} {interval} of {normal:.2f}{''.join(f', {flag}' for flag in flags)}"


def figures(rows: Rows) -> dict[str, Figure]:
    """Vulnerability against tau."""
    axes = new_axes(3.2)
    for (name, pick), (colour, marker) in zip(READINGS.items(), MODELS, strict=False):
        points = [(row["setting"]["options"]["tau"], pick(row)) for row in rows if "tau" in row["setting"]["options"]]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, linestyle="none", label=name)
    axes.plot([0, max(TAUS)], [0, max(TAUS)], color="#808080", linewidth=1, label="tau")
    axes.set_xlabel("tau (nats)")
    axes.set_ylabel("vulnerability (nats)")
    return {"tau": whole(finish(axes, "y", ncols=2))}


READINGS: dict[str, Callable[[Row], float]] = {
    "in training": lambda row: float(row["history"][-1]["vulnerability"]),
    "by fresh critics": lambda row: float(row["measure"]["critic"]["vulnerability"][0]),
    "behind noise": lambda row: float(row["measure"]["noisy"]["vulnerability"][0]),
}


def _settings(rows: Rows) -> Iterator[tuple[str, Rows, Rows]]:
    """Name, encoders and heads of each setting."""
    for same in grouped([row for row in rows if row["setting"]["encoder"] is None], _name).items():
        below = same[1][0]["setting"]["options"]
        heads = [row for row in rows if (row["setting"]["encoder"] or {}).get("options") == below]
        yield same[0], same[1], heads


def _name(row: Row) -> str:
    options = row["setting"]["options"]
    if "tau" in options:
        return f"tau {options['tau']:g}"
    return "no constraint (beta 0)" if options["beta"] == 0 else "worst case alone (beta 1)"


def _mean(values: Iterable[float]) -> str:
    every = list(values)
    apart = f" ± {stdev(every):.2f}" if len(every) > 1 else ""
    return f"{fmean(every):.2f}{apart}"


def relations(rows: Rows) -> Iterator[Relation]:
    """Whether vulnerability lands on tau, and what a smaller one buys."""
    constrained = [(name, encoders) for name, encoders, _ in _settings(rows) if name.startswith("tau")]
    for name, encoders in constrained:
        tau = encoders[0]["setting"]["options"]["tau"]
        ended = fmean(row["history"][-1]["beta"] for row in encoders)
        for reading in ("in training", "by fresh critics"):
            read = fmean(READINGS[reading](row) for row in encoders)
            unread = reading == "by fresh critics" and any(row["measure"]["critic"]["flags"] for row in encoders)
            slack = ended < 0.01 and read <= tau
            said = ", flagged" if unread else ", slack" if slack else ", the limit" if ended > 0.99 else ""
            yield Relation(
                f"{name}: the vulnerability read {reading} is within 0.1 nats of tau",
                f"{read:.2f}, beta {ended:.2f}{said}",
                None if unread or slack else abs(read - tau) <= 0.1,
            )
    heads = [(name, rows) for name, _, rows in _settings(rows) if rows and name.startswith("tau")]
    for (least, tight), (most, loose) in pairwise(heads):
        gain = contrast([(1, tight), (-1, loose)], "AutoAttack")
        yield Relation(
            f"a robust head is more robust on the encoder of {least} than on that of {most}",
            f"{gain} points under AutoAttack",
            gain.positive,
        )
