"""Encoders whose vulnerability is held at tau by a dual variable: does it land there, and what does it buy?

| Paper link: https://arxiv.org/abs/2002.11798 (definition 3.1 and equation 5.2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean, median, stdev
from typing import Any

from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi import WorstCaseMIEstimator
from art_mi.report.plots.canvas import MODELS, finish, new_axes
from experiments.curves import whole
from experiments.recipe import Recipe
from experiments.record import plain
from experiments.tables import Relation, Row, Rows, accuracy_table, contrast, grouped, markdown_table
from experiments.workshop import Workshop

TITLE = "Encoders whose vulnerability is constrained"
ABOUT = """Definition 3.1 of [Zhu, Zhang, Evans 2020](https://arxiv.org/abs/2002.11798) calls a representation robust
whose vulnerability is at most tau; the paper trains none to a tau. Here a dual variable, the weight beta of the worst
case, moves by 0.1 times what the vulnerability read in training exceeds tau by, within 0 and 1, once a batch. Does it
land there, and are heads on encoders of small tau more robust?"""
SIZES = (
    " Critics of encoders have {critic_width} channels and a learning rate of {critic_lr:g}."
    " Information is of all test images, by critics in {critic_steps} steps."
)
SETTINGS = {"version": 5}
ELSEWHERE = (3.0, 3.8, 4.6)  # of Fashion-MNIST, where the constraint of 3.0 is out of reach
TAUS = {"digits": (2.2, 2.6, 3.0, 3.4)}  # whose training reads 3.2 in the end where no constraint binds
NEAR = 0.1  # nats
FREE, ALONE = "no constraint (beta 0)", "worst case alone (beta 1)"
CONSTRAINED = {"beta": 0.0, "dual_lr": 0.1}


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """From no constraint to the worst case alone, and a robust head on each encoder."""
    constrained = ({"tau": tau, **CONSTRAINED} for tau in TAUS.get(data, ELSEWHERE))
    every = ({"beta": 0.0}, *constrained, {"beta": 1.0})
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
    head = ["encoder", "runs", "beta at the end", "vulnerability in training"]
    head += ["by fresh critics", "behind equal noise", "s an epoch"]
    lines = []
    for name, encoders, _ in _settings(rows):
        last = [row["history"][-1] for row in encoders]
        values = [
            "" if "beta" not in last[0] else _mean(record["beta"] for record in last),
            "" if "vulnerability" not in last[0] else _mean(record["vulnerability"] for record in last),
            *(_read(encoders, method) for method in ("critic", "noisy")),
            f"{median(row['seconds_per_epoch'] for row in encoders):.1f}",
        ]
        lines.append([name, str(len(encoders)), *values])
    legend = (
        "The vulnerability in training is what the trainer's own critics read, in the last epoch, on the batches that "
        "they learn from: it is what the constraint is held against, and no measurement, as it may exceed the log of "
        "the batch. The other readings are of test images: with the 95 % interval of the first run, and what normal "
        "information they are a part of. The critics are fitted anew; noise is such that clean features say half the "
        "log of the number of classes behind it. A saturated reading says of a drop only that it may be larger. "
        "Robust heads:"
    )
    of_heads = {name: heads for name, _, heads in _settings(rows) if heads}
    return "\n\n".join([markdown_table(head, lines), legend, accuracy_table(of_heads)])


def _read(encoders: Rows, method: str) -> str:
    """A vulnerability, its interval, what it is a part of, and flags."""
    reads = [row["measure"][method] for row in encoders]
    _, low, high = reads[0]["vulnerability"]
    interval = f"[{'' if low is None else f'{low:.2f}'}, {'' if high is None else f'{high:.2f}'}]"
    flags = sorted({flag.lower().replace("_", " ") for read in reads for flag in read["flags"]})
    normal, value = (_mean(read[quantity][0] for read in reads) for quantity in ("normal", "vulnerability"))
    return f"{value} {interval} of {normal}{''.join(f', {flag}' for flag in flags)}"


def figures(rows: Rows) -> dict[str, Figure]:
    """Vulnerability against tau, in training and behind equal noise, and its way there with the worst case's weight."""
    drawn = {}
    for name, (read, label) in SHOWN.items():
        axes = new_axes(3.2)
        points = [(_tau(row), read(row)) for row in _constrained(rows)]
        if points:
            axes.plot(*zip(*points, strict=True), color=MODELS[0][0], marker=MODELS[0][1], linestyle="none")
        if name == "tau":
            ends = [pick(tau for tau, _ in points) for pick in (min, max)] if points else []
            axes.plot(ends, ends, color="#808080", linewidth=1, label="tau")
        axes.set_xlabel("tau (nats)")
        axes.set_ylabel(label)
        drawn[name] = whole(finish(axes, "y"))
    for quantity, label in {"vulnerability": SHOWN["tau"][1], "beta": "weight beta"}.items():
        drawn[f"tau-{quantity}"] = _paths(rows, quantity, label)
    return drawn


def _paths(rows: Rows, quantity: str, label: str) -> Figure:
    """A quantity after each epoch, a line a run; its tau as a line of the same colour."""
    axes = new_axes(3.2)
    taus = dict.fromkeys(map(_tau, _constrained(rows)))
    colours = {tau: colour for tau, (colour, _) in zip(taus, MODELS, strict=False)}
    for row in _constrained(rows):
        tau, values = _tau(row), [record[quantity] for record in row["history"]]
        name = f"tau {tau:g}" if row["seed"] == 0 else None
        axes.plot(range(1, len(values) + 1), values, color=colours[tau], linewidth=1, label=name)
        if quantity == "vulnerability":
            axes.axhline(tau, color=colours[tau], linewidth=0.5, linestyle=":")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    return whole(finish(axes, "y", ncols=2))


def _constrained(rows: Rows) -> list[Row]:
    return [row for row in rows if "tau" in row["setting"]["options"]]


def _tau(row: Row) -> float:
    return float(row["setting"]["options"]["tau"])


def _in_training(row: Row) -> float:
    return float(row["history"][-1]["vulnerability"])


def _behind_noise(row: Row) -> float:
    return float(row["measure"]["noisy"]["vulnerability"][0])


SHOWN: dict[str, tuple[Callable[[Row], float], str]] = {  # noise says at most half a label: no axis for tau
    "tau": (_in_training, "vulnerability in training (nats)"),
    "tau-behind-noise": (_behind_noise, "vulnerability behind equal noise (nats)"),
}


def _settings(rows: Rows) -> Iterator[tuple[str, Rows, Rows]]:
    """Name, encoders and heads of each setting."""
    for name, encoders in grouped([row for row in rows if row["setting"]["encoder"] is None], _name).items():
        below = encoders[0]["setting"]["options"]
        heads = [row for row in rows if (row["setting"]["encoder"] or {}).get("options") == below]
        yield name, encoders, heads


def _name(row: Row) -> str:
    options = row["setting"]["options"]
    if "tau" in options:
        return f"tau {options['tau']:g}"
    return FREE if options["beta"] == 0 else ALONE


def _mean(values: Iterable[float]) -> str:
    every = list(values)
    apart = f" ± {stdev(every):.2f}" if len(every) > 1 else ""
    return f"{fmean(every):.2f}{apart}"


def relations(rows: Rows) -> Iterator[Relation]:
    """Whether vulnerability lands on tau, and what a smaller one buys."""
    settings = {name: (encoders, heads) for name, encoders, heads in _settings(rows)}
    constrained = [name for name in settings if name.startswith("tau")]
    for name in constrained:
        yield _landed(name, settings[name][0])
    pairs = [*pairwise(constrained), *((constrained[0], name) for name in (FREE, ALONE) if constrained)]
    for ours, theirs in pairs:
        if all(name in settings and settings[name][1] for name in (ours, theirs)):
            leads = {
                quantity: contrast([(1, settings[ours][1]), (-1, settings[theirs][1])], quantity)
                for quantity in ("AutoAttack", "clean")
            }
            yield Relation(
                f"a robust head is more robust on the encoder of {ours} than on that of {theirs}",
                ", ".join(f"{quantity} {lead}" for quantity, lead in leads.items()),
                leads["AutoAttack"].positive,
            )


def _landed(name: str, encoders: Rows) -> Relation:
    """Whether the reading in training ends near tau; None where the constraint is slack, or the reading passes by."""
    tau, reads = _tau(encoders[0]), [_in_training(row) for row in encoders]
    courses = [[(record["vulnerability"], record["beta"]) for record in row["history"]] for row in encoders]
    betas = [course[-1][1] for course in courses]
    off = [abs(read - tau) > NEAR for read in reads]
    said = ""
    if max(betas) < 0.01 and max(reads) <= tau:
        said = ", slack"
    elif len(set(off)) > 1:
        said = ", runs differ"
    elif not off[0] and any(map(_moves, courses)):
        said = ", still moving"
    near, satisfied = (
        fmean(sum(read - tau <= NEAR and (below or tau - read <= NEAR) for read, _ in course) for course in courses)
        for below in (False, True)
    )
    return Relation(
        f"{name}: the vulnerability read in training is within {NEAR} nats of tau",
        f"{_mean(reads)}, beta {fmean(betas):.2f}{' (its limit)' if min(betas) > 0.99 else ''}{said}; of "
        f"{len(courses[0])} epochs it was in {near:.3g}, and at most that above it in {satisfied:.3g}",
        None if said else not off[0],
    )


def _moves(course: Sequence[tuple[float, float]]) -> bool:
    """Whether the vulnerability, or the weight, is not at rest in the last quarter of the epochs."""
    late = course[-max(2, len(course) // 4) :]
    return any(max(values) - min(values) > NEAR for values in zip(*late, strict=True))
