"""Figures 1 and 2 of Zhu, Zhang, Evans 2020: does vulnerability tell robust models from others?

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.1)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi import WorstCaseMIEstimator, adversarial_accuracy_upper_bound
from art_mi.evaluation import evaluate_robustness
from art_mi.report.plots.canvas import MODELS, finish, new_axes
from art_mi.results import RepresentationVulnerability
from experiments.correlation import FEWEST
from experiments.curves import whole
from experiments.dale import STILL, constraint
from experiments.decisions import decision_information, divided_vulnerability
from experiments.mimae import WEIGHTS
from experiments.ordering import (
    EXPECTED,
    KNOWN,
    Models,
    between_networks,
    in_parts,
    name_of,
    network_of,
    over_all,
    readings,
    rho,
)
from experiments.recipe import Recipe
from experiments.record import plain
from experiments.table1 import ENCODERS
from experiments.tables import Relation, Row, Rows, accuracy, accuracy_table, folded, grouped, interval, markdown_table
from experiments.workshop import Workshop

TITLE = "Vulnerability against robustness"
ABOUT = """Figures 1 and 2 of [Zhu, Zhang, Evans 2020](https://arxiv.org/abs/2002.11798): is a model that loses less
information under attack (the `drop`, or vulnerability, in nats) more robust (its `gap`: clean accuracy less that
under attack), and is no model more accurate than its worst-case information allows? In the paper the gap shrinks
with the vulnerability of the logits, and accuracies stay below the bound. Orders are compared by Spearman's rank
correlation (rho): 1 for the same order. Estimates are this package's; the paper's own reading, by critics that are
attacked and not fitted again, is not among them, and the goal of 0.9 is ours. They are named after method, layer and
noise, in multiples of the layer's spread: `noisy, logits, 1` is the default; `half a label` is noise through which
clean inputs say half of the log of the number of classes; `quantised, decisions` is of the predicted class. MIMAE
and TRADES have their published weights, DALE the first margin of its own section, the worst-case encoder is that of
table 1. Models are the sample here: readings and accuracies of a model are means over its training runs, of which all
but the small CNN have one only on Fashion-MNIST, where they are long. Means are less noisy, so that a correlation of
them is not to be held against one of single runs; with the claims stand those of each seed that has all models, too.
Ceilings are held against the accuracy of every run."""
SIZES = (
    " Critics of encoders have {critic_width} channels and a learning rate of {critic_lr:g}."
    " Information is of {nb_measured:,} test images, by critics in {critic_steps} steps."
)
NETWORKS = ("small CNN", "Baseline-H", "VGG-like", "ResNet-18", "DenseNet")
SHORT = NETWORKS[:1]  # of which every seed is run on all data
LAYERS = {"logits": None, "features": "features"}
NOISE = (0.1, 0.3, 1.0)  # times the representation's standard deviation
SETTINGS = {"noise": NOISE, "layers": LAYERS, "version": 3}
EQUAL = "noisy, {}, half a label"  # noise through which clean inputs say half the log of the number of classes
DECISIONS = "decisions behind noise"
FGSM = "FGSM's gap in place of information"
CODES = "quantised, decisions"
DEFAULT = "noisy, logits, 1"
PARTS = ("of the label", "within labels")
CHOSEN = {  # how, and on which data; everything else is looked at after the fact
    EQUAL.format("logits"): ("chosen before any model was measured", ""),
    CODES: ("chosen on the first 7 models of digits", "digits"),
    DEFAULT: ("the estimator's default, chosen when 18 models of digits had been measured", "digits"),
}
GOAL = 0.9
HEADLINE = ("models", "runs of each", "estimate", *(f"rank correlation of {what}" for what in EXPECTED))
METHODS: dict[str, dict[str, Any]] = {  # Okabe and Ito's colours; hollow where a method is milder than its namesake
    "standard": {"color": "#000000"},
    "Madry": {"color": "#D55E00"},
    "Madry, half the radius": {"color": "#D55E00", "fillstyle": "none"},
    "TRADES": {"color": "#E69F00"},
    "MIMAE": {"color": "#009E73"},
    "DALE": {"color": "#56B4E9"},
    "worst-case MI, robust head": {"color": "#CC79A7"},
    "worst-case MI, standard head": {"color": "#CC79A7", "fillstyle": "none"},
}


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Every network by every defence; once each where a run is long, as the models are the sample here."""
    networks = NETWORKS if seed == 0 or data == "digits" else SHORT
    for name in networks:
        yield Recipe("standard", name, seed)
        yield Recipe("Madry", name, seed)
        yield Recipe("MIMAE", name, seed, options=WEIGHTS["MIMAE"][0])
    for name in networks:
        yield Recipe("Madry", name, seed, radius=0.5)
    encoder = Recipe("worst-case MI", "Baseline-H", seed, options=ENCODERS["worst case"])
    if encoder.network in networks:
        yield Recipe("Madry", "MLP", seed, encoder=encoder)
        yield Recipe("standard", "MLP", seed, encoder=encoder)
    margins = constraint(data)
    for name in networks:
        yield Recipe("TRADES", name, seed, options=WEIGHTS["TRADES"][0])
        options = {"rho": margins.cross_entropy[0], **margins.dale}
        yield Recipe("DALE", name, seed, options=options, sampling=STILL)


def measure(workshop: Workshop, recipe: Recipe, classifier: PyTorchClassifier) -> dict[str, Any]:
    """Information of test images in logits and features, by each method; where it can, of others than AutoAttack's."""
    n = workshop.plan.nb_measured
    x, y = workshop.samples.test[0][-n:], workshop.samples.test[1][-n:]
    eps, half_a_label = workshop.samples.eps, math.log(classifier.nb_classes) / 2

    def read(**settings: Any) -> RepresentationVulnerability:
        return WorstCaseMIEstimator(eps, verbose=False, **settings).evaluate(classifier, x, y)

    found: dict[str, Any] = {}
    for name, layer in LAYERS.items():
        levels = read(layer=layer, noise_std=NOISE).sweep
        found |= {f"noisy, {name}, {level:g}": _kept(result) for level, result in zip(NOISE, levels, strict=True)}
        found[EQUAL.format(name)] = _kept(read(layer=layer, noise_nats=half_a_label))
    found["critic, logits"] = _kept(read(method="critic", max_steps=workshop.plan.critic_steps))
    found[CODES] = _kept(read(method="quantised", codes="argmax"))
    for part, drop in zip(PARTS, divided_vulnerability(classifier, x, y, eps, NOISE[-1]), strict=True):
        found[f"{DEFAULT}: {part}"] = {"vulnerability": drop}
    normal, worst = decision_information(classifier, x, eps, half_a_label)
    found[DECISIONS] = {"normal": normal, "worst case": worst, "vulnerability": normal - worst}
    plain_fgsm = evaluate_robustness(classifier, x, y, eps=eps, attacks=["FGSM"], checks=False, verbose=False)
    found[FGSM] = {"vulnerability": plain_fgsm.clean.value - plain_fgsm.attacks["FGSM"].accuracy.value}
    return found


def _kept(result: RepresentationVulnerability) -> dict[str, Any]:
    estimates = {"normal": result.normal, "worst case": result.worst_case, "vulnerability": result.vulnerability}
    kept = {name: estimate.value for name, estimate in estimates.items()}
    intervals = {f"{name}, interval": estimate.confidence_interval for name, estimate in estimates.items()}
    rest = {"ceilings": result.ceilings, "measured accuracy": result.measured_accuracy}
    read: dict[str, Any] = plain({**kept, **intervals, **rest, "flags": [flag.name for flag in result.flags]})
    return read


def section(rows: Rows) -> str:
    """Accuracies, information with its ceilings, and correlations by method, layer and noise."""
    table = readings(rows)
    legend = (
        f"`{EQUAL.format('logits')}` is through noise behind which the logits of clean images say half the log of the "
        f"number of classes, `{CODES}` the entropy of the predicted classes, `critic, logits` by critics fitted anew, "
        "not the paper's own, and on few images. A drop in the information of noisy logits is that of the label, "
        f"{_of_the_label(table):.0%} of it over all models, plus that within labels."
    )
    orders = [
        over_all(rows, table),
        legend,
        folded("In parts: beyond the training radius, within networks, of defended models", in_parts(table, NETWORKS)),
        folded("Between networks: whom the drop places too high", between_networks(table, NETWORKS)),
    ]
    return "\n\n".join([accuracy_table(grouped(rows, name_of)), _information(rows, table), *orders])


def _information(rows: Rows, table: Mapping[str, Models]) -> str:
    """The second figure as a table."""
    lines = []
    for name in table[DEFAULT]:
        line = [name]
        for read in (table[DEFAULT][name], table[CODES][name]):
            ceilings = [f"{100 * read[form]:.0f}" for form in ("exact", "published", "label_aware")]
            line += [f"{read['normal']:.2f} to {read['worst case']:.2f}", " / ".join(ceilings)]
            line += [f"{100 * read['measured accuracy']:.0f}"]
        lines.append(line)
    head = ["nats, clean to worst case", "ceilings (%)", "accuracy (%)"]
    legend = (
        "Information on clean and on perturbed inputs, and the accuracies that the latter still allows: exact, as "
        "published, and from what is left of the label. Beside them the accuracy on the same perturbations, behind the "
        "same noise or of the same decisions. Ceilings behind noise are none of the model as it is, and its accuracy "
        "under AutoAttack may exceed them: "
    )
    legend += "; ".join(_above(rows, estimate) for estimate in (EQUAL.format("logits"), DEFAULT, CODES)) + "."
    heads = [f"{estimate}: {what}" for estimate in (DEFAULT, CODES) for what in head]
    return f"{markdown_table(['model', *heads], lines)}\n\n{legend}"


def _above(rows: Rows, estimate: str) -> str:
    """After how many runs AutoAttack leaves more than the ceilings."""
    counts = [
        sum(accuracy(row, "AutoAttack") > 100 * row["measure"][estimate]["ceilings"][form] for row in rows)
        for form in ("exact", "label_aware")
    ]
    return f"by `{estimate}` it does the exact one in {counts[0]} of {len(rows)} runs, the label-aware in {counts[1]}"


def headline(rows: Rows) -> Iterator[list[str]]:
    """Rank correlations over all models, by the estimate named beforehand and by the default; none of few models."""
    if len(grouped(rows, name_of)) < FEWEST:
        return
    table = readings(rows)
    for estimate in (EQUAL.format("logits"), DEFAULT):
        found = [rho(table[estimate], what) for what in EXPECTED]
        yield [
            str(len(table[estimate])),
            _span(len(read["runs"]) for read in table[estimate].values()),
            f"{estimate} ({CHOSEN[estimate][0]})",
            *("" if rho is None else str(rho) for rho in found),
        ]


def _span(counts: Iterable[int]) -> str:
    """One number where all are the same."""
    fewest, *_, most = sorted(counts)
    return str(most) if fewest == most else f"{fewest} to {most}"


def figures(rows: Rows) -> dict[str, Figure]:
    """Both figures, by the estimates chosen beforehand and by the estimator's default."""
    table, drawn = readings(rows), {}
    shown = {"equal": EQUAL.format("logits"), "decisions": CODES, "default": DEFAULT}
    for name, estimate in shown.items():
        drawn[f"gap-against-vulnerability-{name}"] = _scatter(table[estimate], estimate, "vulnerability against gap")
        what = "worst case against robust accuracy"
        drawn[f"robustness-against-information-{name}"] = _scatter(table[estimate], estimate, what)
    drawn["accuracy-under-ceilings-decisions"] = _under_ceilings(rows, CODES, "AutoAttack")
    drawn["accuracy-under-ceilings-default"] = _under_ceilings(rows, DEFAULT, None)
    return drawn


def _of_the_label(table: Mapping[str, Models]) -> float:
    """Share of the drop in logits at the default noise, summed over models, that is of the label."""
    between, within = (sum(read["vulnerability"] for read in table[f"{DEFAULT}: {part}"].values()) for part in PARTS)
    return float(between / (between + within))


def relations(rows: Rows) -> Iterator[Relation]:
    """Whether the readings order the models, and whether an accuracy exceeds its ceiling."""
    table = readings(rows)
    seeds = sorted({row["seed"] for row in rows})
    single = {seed: readings([row for row in rows if row["seed"] == seed]) for seed in seeds}
    for what in EXPECTED:
        after = {estimate: found for estimate, models in table.items() if (found := rho(models, what))}
        tried = after.keys() - set(KNOWN)
        best = max(tried, key=lambda estimate: after[estimate].rho, default=None)
        seen = f"; the highest of {len(tried)} estimates, after the fact, is {after[best]} by {best}" if best else ""
        for estimate, (how, chosen_on) in CHOSEN.items():
            models = table[estimate]
            found, weaker = rho(models, what), rho(models, what, "PGD-20")
            alone = [
                f"{one.rho:.2f} of seed {seed}"
                for seed, of_seed in single.items()
                if len(of_seed[estimate]) == len(models) and (one := rho(of_seed[estimate], what))
            ]
            singly = f" (single runs: {', '.join(alone)})" if len(seeds) > 1 else ""
            yield Relation(
                f"{what}: a rank correlation of at least {GOAL} over all models, by {estimate}, {how}",
                f"{found} over {len(models)} models{singly}, against PGD-20 {weaker}{seen}",
                None if found is None else found.at_least(GOAL),
                chosen_on,
            )
    for kind, bounds in (
        ("information through noise and of codes", True),
        ("the critics' estimates, no bounds", False),
    ):
        reads = [
            (f"{_run(row)} by {estimate}", read)
            for row in rows
            for estimate, read in row["measure"].items()
            if "ceilings" in read and estimate.startswith("critic") != bounds
        ]
        above = [said for said, read in reads if "CONTRADICTION" in read["flags"]]
        seen = f"{len(above)} do: {'; '.join(above)}" if above else "none does"
        exact, aware = (
            sum(read["measured accuracy"] > read["ceilings"][form] for _, read in reads)
            for form in ("exact", "label_aware")
        )
        yield Relation(
            f"{'an inequality that must hold' if bounds else 'no inequality'}: "
            "no accuracy measured on the perturbations found, behind the same noise or codes, exceeds its ceiling by "
            f"more than three standard errors: {kind}",
            f"{seen}; by anything, {exact} of {len(reads)} exceed the exact one, {aware} the label-aware",
            not above,
        )
    yield _under_ceiling(rows)


def _under_ceiling(rows: Rows) -> Relation:
    """AutoAttack's accuracy against what the perturbations found leave of the label in decisions."""
    margins = []
    for row in rows:
        ceiling = 100 * row["measure"][CODES]["ceilings"]["label_aware"]
        low, high = interval([row], "AutoAttack")
        margins.append((ceiling - accuracy(row, "AutoAttack"), ceiling - high, ceiling - low, _run(row)))
    value, least, most, run = min(margins)
    none, some = min(margin[1] for margin in margins) >= 0, min(margin[2] for margin in margins) < 0
    return Relation(
        "no accuracy under AutoAttack, of the first test images, exceeds the label-aware ceiling of the model's "
        "decisions, read on the last ones, of digits on all",
        f"the least margin is {value:.1f} [{least:.1f}, {most:.1f}] points (the interval is of the accuracy alone), "
        f"of {run}, of {len(rows)} training runs",
        True if none else False if some else None,
    )


def _run(row: Row) -> str:
    return f"{name_of(row)}, seed {row['seed']}"


def _scatter(models: Models, estimate: str, what: str) -> Figure:
    """A claim as a picture: a marker a network, a colour a method."""
    x, y = EXPECTED[what]
    axes = new_axes(4.4)
    markers = {name: marker for name, (_, marker) in zip(NETWORKS, MODELS, strict=True)}
    for read in models.values():
        mark = {"marker": markers[read["network"]], **METHODS[read["method"]]}
        axes.plot(read[x], read[f"{y}, AutoAttack"], linestyle="none", alpha=0.8, **mark)
    for name, marker in markers.items():
        axes.plot([], [], color="#808080", marker=marker, linestyle="none", label=name)
    for name, style in METHODS.items():
        axes.plot([], [], marker="o", linestyle="none", label=name, **style)
    unit = {"vulnerability": "representation vulnerability (nats)", "worst case": "worst-case information (nats)"}
    axes.set_xlabel(f"{unit[x]}\n{estimate}; rho {rho(models, what)}")
    axes.set_ylabel("adversarial gap (points)" if y == "gap" else "accuracy under AutoAttack (%)")
    return whole(finish(axes, "y", ncols=2))


def _under_ceilings(rows: Rows, estimate: str, attack: str | None) -> Figure:
    """Worst-case information and the accuracy that is left, below what the former allows, a marker a network.

    :param rows: Training runs of all models.
    :param estimate: What reads the information.
    :param attack: What leaves the accuracy, beside that of clean inputs, hollow; None for that on the perturbations of
        the estimate, behind its noise.
    """
    axes = new_axes(4.0)
    most = max(row["measure"][estimate]["worst case" if attack is None else "normal"] for row in rows)
    nats = np.linspace(0, most, 200)
    nb_classes = 10  # of every data set here
    for form, line in (("exact", "-"), ("published", "--")):
        ceiling = [100 * adversarial_accuracy_upper_bound(value, nb_classes, form) for value in nats]
        axes.plot(nats, ceiling, color="#808080", linestyle=line, linewidth=1, label=f"ceiling, {form}")
    marks = dict(zip(NETWORKS, MODELS, strict=False))
    for row in rows:
        read, (colour, marker) = row["measure"][estimate], marks[network_of(row)]
        x, y = read["worst case"], 100 * read["measured accuracy"] if attack is None else accuracy(row, attack)
        axes.plot(x, y, color=colour, marker=marker, linestyle="none")
        if attack is not None:
            clean = read["normal"], accuracy(row, "clean")
            axes.plot(*clean, color=colour, marker=marker, fillstyle="none", linestyle="none")
            axes.plot(*zip(clean, (x, y), strict=True), color=colour, linewidth=0.5, alpha=0.4)
    for name in dict.fromkeys(map(network_of, rows)):
        colour, marker = marks[name]
        axes.plot([], [], color=colour, marker=marker, linestyle="none", label=name)
    hollow = "" if attack is None else ", on clean inputs hollow"
    axes.set_xlabel(f"worst-case information (nats){hollow}\n{estimate}")
    axes.set_ylabel("accuracy there, behind the same noise (%)" if attack is None else f"accuracy under {attack} (%)")
    return whole(finish(axes, "y", ncols=2))
