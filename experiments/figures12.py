"""Figures 1 and 2 of Zhu, Zhang, Evans 2020: does vulnerability tell robust models from others?

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.1)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi import WorstCaseMIEstimator, adversarial_accuracy_upper_bound
from art_mi.evaluation import evaluate_robustness
from art_mi.report.plots.canvas import MODELS, finish, new_axes
from art_mi.results import RepresentationVulnerability
from experiments.correlation import FEWEST, Correlation, correlation, reliability
from experiments.curves import whole
from experiments.dale import STILL, constraint
from experiments.decisions import decision_information, divided_vulnerability
from experiments.mimae import WEIGHTS
from experiments.recipe import Recipe
from experiments.record import plain
from experiments.table1 import ENCODERS
from experiments.tables import (
    Relation,
    Row,
    Rows,
    accuracy,
    accuracy_table,
    contrast,
    grouped,
    markdown_table,
)
from experiments.workshop import Workshop

TITLE = "Vulnerability against robustness"
NETWORKS = ("small CNN", "Baseline-H", "VGG-like", "ResNet-18", "DenseNet")
LAYERS = {"logits": None, "features": "features"}
NOISE = (0.1, 0.3, 1.0)  # times the representation's standard deviation
SETTINGS = {"noise": NOISE, "layers": LAYERS, "version": 3}
EQUAL = "noisy, {}, half a label"  # noise through which clean inputs say half the log of the number of classes
DECISIONS = "decisions behind noise"
FGSM = "FGSM's gap in place of information"
UNDEFENDED = "trained against attacks or not"
CODES = "quantised, decisions"
DEFAULT = "noisy, logits, 1"
CHOSEN = {  # how, and on which data; everything else is looked at after the fact
    EQUAL.format("logits"): ("chosen before any model was measured", ""),
    CODES: ("chosen on the first 7 models of digits", "digits"),
    DEFAULT: ("the estimator's default, chosen when 18 models of digits had been measured", "digits"),
}


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Every network by every defence, once each: what counts here are differences between models."""
    if seed > 0:
        return
    for name in NETWORKS:
        yield Recipe("standard", name)
        yield Recipe("Madry", name)
        yield Recipe("MIMAE", name, options=WEIGHTS["MIMAE"][0])
    for name in NETWORKS:
        yield Recipe("Madry", name, radius=0.5)
    encoder = Recipe("worst-case MI", "Baseline-H", options=ENCODERS["worst case"])
    yield Recipe("Madry", "MLP", encoder=encoder)
    yield Recipe("standard", "MLP", encoder=encoder)
    margins = constraint(data)
    for name in NETWORKS:
        yield Recipe("TRADES", name, options=WEIGHTS["TRADES"][0])
        yield Recipe("DALE", name, options={"rho": margins.cross_entropy[0], **margins.dale}, sampling=STILL)


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
    for level in NOISE:
        between, within = divided_vulnerability(classifier, x, y, eps, level)
        found[f"noisy, logits, {level:g}: of the label"] = {"vulnerability": between}
        found[f"noisy, logits, {level:g}: within labels"] = {"vulnerability": within}
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


GOAL = 0.9
YARDSTICKS = {"AutoAttack": "clean of those", "PGD-20": "clean"}  # with the clean accuracy on the same images
EXPECTED = {  # what should rise with what
    "vulnerability against gap": ("vulnerability", "gap"),
    "worst case against robust accuracy": ("worst case", "robust"),
    "label-aware ceiling against robust accuracy": ("label-aware", "robust"),
}


def section(rows: Rows) -> str:
    """Accuracies, information with its ceilings, and correlations by method, layer and noise."""
    return "\n\n".join([accuracy_table(grouped(rows, _name)), _information(rows), _correlations(rows), _within(rows)])


def _information(rows: Rows) -> str:
    """The second figure as a table."""

    def above(estimate: str) -> str:
        ceilings = [100 * row["measure"][estimate]["ceilings"]["exact"] for row in rows]
        nb = sum(accuracy(row, "AutoAttack") > ceiling for row, ceiling in zip(rows, ceilings, strict=True))
        return f"{nb} of {len(rows)} models are more accurate than the exact one of `{estimate}`"

    lines = []
    for row in rows:
        line = [_name(row)]
        for estimate in (DEFAULT, CODES):
            read = row["measure"][estimate]
            ceilings = [f"{100 * read['ceilings'][form]:.0f}" for form in ("exact", "published", "label_aware")]
            line += [f"{read['normal']:.2f} to {read['worst case']:.2f}", " / ".join(ceilings)]
            line += [f"{100 * read['measured accuracy']:.0f}"]
        lines.append(line)
    head = ["nats, clean to worst case", "ceilings (%)", "accuracy (%)"]
    legend = (
        "Information on clean and on perturbed inputs, and the accuracies that the latter still allows: exact, as "
        "published, and from what is left of the label. Beside them the accuracy on the same perturbations, behind the "
        "same noise or of the same decisions."
    )
    heads = [f"{estimate}: {what}" for estimate in (DEFAULT, CODES) for what in head]
    return f"{markdown_table(['model', *heads], lines)}\n\n{legend}"


def _correlations(rows: Rows) -> str:
    pairs = [(what, yardstick) for yardstick in YARDSTICKS for what in EXPECTED]
    lines = []
    for estimate, models in _table(rows).items():
        saturated = sum("SATURATED" in read.get("flags", ()) for read in models.values())
        no_drop = sum(read["vulnerability"] == 0 for read in models.values())
        counts = ["", ""] if estimate == UNDEFENDED else [str(saturated), str(no_drop)]
        rhos = (_rho(models, what, yardstick) for what, yardstick in pairs)
        lines.append([estimate, *counts, *(str(rho or "") for rho in rhos)])
    head = ["estimate", "saturated", "no drop", *(f"{what}, {yardstick}" for what, yardstick in pairs)]
    legend = (
        "Spearman's rho over all models, with the central 95 % under resampling of models, which are no independent "
        f"sample. `{EQUAL.format('logits')}` is through noise behind which the logits of clean images say half the log "
        f"of the number of classes, `{CODES}` the entropy of the predicted classes. A drop in the information of noisy "
        "logits is that of the label plus that within labels. Models with an estimate near its ceiling count as "
        f"saturated, those for which none was found as without a drop. `{UNDEFENDED}` is no estimate, but how well "
        "models are ordered by whether they were trained against attacks at all."
    )
    shares = ", ".join(f"{_of_the_label(rows, level):.0%} at noise {level:g}" for level in NOISE)
    legend += f" Over all models the label's part of the drop in noisy logits is {shares}."
    found = [f"{name} {reliability(rows, name):.2f}" for name in YARDSTICKS]
    legend += (
        " Ranks by a yardstick are noisy too; the correlation of two rankings of these models by it, each on as many "
        f"images as here, would be about: {', '.join(found)} (split halves, after Spearman and Brown)."
    )
    return f"{markdown_table(head, lines)}\n\n{legend}"


def _within(rows: Rows) -> str:
    """Correlations among models of the same network, and among defended ones."""
    lines = []
    for estimate, models in _table(rows).items():
        defended = {name: read for name, read in models.items() if not read["undefended"]}
        for what in EXPECTED:
            found = [_rho(models, what, within=True), _rho(defended, what)]
            for network in NETWORKS:
                same = {name: read for name, read in models.items() if read["network"] == network}
                found.append(_rho(same, what) if len(same) > 3 else None)
            if estimate != UNDEFENDED and any(found):
                lines.append([estimate, what, *(str(rho or "") for rho in found)])
    legend = (
        "Against AutoAttack: over all models ranked among those of their own network, over the models that were "
        "trained against attacks, and over those of one network, with how many there are, from four."
    )
    return f"{markdown_table(['estimate', 'claim', 'within networks', 'defended', *NETWORKS], lines)}\n\n{legend}"


HEADLINE = ("models", "estimate", *(f"rho of {what}" for what in EXPECTED))


def headline(rows: Rows) -> Iterator[list[str]]:
    """Rank correlations over all models, by the estimate named beforehand and by the default; none of few models."""
    if len(rows) < FEWEST:
        return
    table = _table(rows)
    for estimate in (EQUAL.format("logits"), DEFAULT):
        found = [_rho(table[estimate], what) for what in EXPECTED]
        yield [
            str(len(rows)),
            f"{estimate} ({CHOSEN[estimate][0]})",
            *("" if rho is None else str(rho) for rho in found),
        ]


def figures(rows: Rows) -> dict[str, Figure]:
    """Both figures, by the estimates chosen beforehand and by the estimator's default."""
    table, drawn = _table(rows), {}
    shown = {"equal": EQUAL.format("logits"), "decisions": CODES, "default": DEFAULT}
    for name, estimate in shown.items():
        drawn[f"gap-against-vulnerability-{name}"] = _scatter(table[estimate], estimate, "vulnerability against gap")
        what = "worst case against robust accuracy"
        drawn[f"robustness-against-information-{name}"] = _scatter(table[estimate], estimate, what)
    drawn["accuracy-under-ceilings"] = _under_ceilings(rows)
    return drawn


Models = dict[str, dict[str, Any]]  # what was read, by model
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


def _table(rows: Rows) -> dict[str, Models]:
    """Readings of every model by estimate."""
    found: dict[str, Models] = {}
    for row in rows:
        undefended = row["setting"]["method"] == "standard" and row["setting"]["encoder"] is None
        common: dict[str, Any] = {"network": _network(row), "method": _method(row), "undefended": undefended}
        for yardstick, clean in YARDSTICKS.items():
            robust = accuracy(row, yardstick)
            common |= {f"robust, {yardstick}": robust, f"gap, {yardstick}": accuracy(row, clean) - robust}
        for estimate, read in row["measure"].items():
            label_aware = read.get("ceilings", {}).get("label_aware")
            found.setdefault(estimate, {})[_name(row)] = {**common, **read, "label-aware": label_aware}
        by_name = {"vulnerability": undefended, "worst case": not undefended, "label-aware": not undefended}
        found.setdefault(UNDEFENDED, {})[_name(row)] = {**common, **by_name}
    return found


def _rho(models: Models, what: str, yardstick: str = "AutoAttack", *, within: bool = False) -> Correlation | None:
    """Spearman's rho of a pair of :data:`EXPECTED` over models, by rank among those of the same network if so asked."""
    x, y = EXPECTED[what]
    chosen = models.values()
    pairs = [(read[x], read[f"{y}, {yardstick}"]) for read in chosen if read.get(x) is not None]
    if len(pairs) < len(chosen) or not pairs:
        return None
    ours, theirs = zip(*pairs, strict=True)
    return correlation(ours, theirs, [read["network"] for read in chosen] if within else None)


def _of_the_label(rows: Rows, level: float) -> float:
    """Share of the drop, summed over models, that is of the label."""
    between, within = (
        sum(row["measure"][f"noisy, logits, {level:g}: {part}"]["vulnerability"] for row in rows)
        for part in ("of the label", "within labels")
    )
    return float(between / (between + within))


def relations(rows: Rows) -> Iterator[Relation]:
    """Whether the readings order the models, and whether an accuracy exceeds its ceiling."""
    table = _table(rows)
    for what in EXPECTED:
        after = {name: found for name, models in table.items() if (found := _rho(models, what))}
        best = max(after.keys() - {UNDEFENDED}, key=lambda name: after[name].rho, default=None)
        seen = f"; the highest of {len(after)} estimates, after the fact, is {after[best]} by {best}" if best else ""
        for estimate, (how, chosen_on) in CHOSEN.items():
            rho, weaker = _rho(table[estimate], what), _rho(table[estimate], what, "PGD-20")
            yield Relation(
                f"{what}: rho of at least {GOAL} over all models, by {estimate}, {how}",
                f"{rho} over {len(rows)} models, against PGD-20 {weaker}{seen}",
                None if rho is None else rho.at_least(GOAL),
                chosen_on,
            )
    for kind, bounds in (
        ("information through noise and of codes", True),
        ("the critics' estimates, no bounds", False),
    ):
        above = [
            f"{_name(row)} by {estimate}"
            for row in rows
            for estimate, read in row["measure"].items()
            if "CONTRADICTION" in read.get("flags", ()) and estimate.startswith("critic") != bounds
        ]
        reads = [
            read
            for row in rows
            for estimate, read in row["measure"].items()
            if "ceilings" in read and estimate.startswith("critic") != bounds
        ]
        less = sum(read["measured accuracy"] > read["ceilings"]["exact"] for read in reads)
        yield Relation(
            "no accuracy measured on the perturbations found, behind the same noise or codes, exceeds its ceiling by "
            f"more than three standard errors: {kind}",
            f"{'; '.join(above) or 'none does'}; by anything, {less} of {len(reads)} exceed the exact one",
            not above,
        )
    margins = {
        _name(row): contrast([(-1, [row])], "AutoAttack", constant=100 * row["measure"][CODES]["ceilings"]["exact"])
        for row in rows
    }
    least = min(margins, key=lambda name: margins[name].value)
    yield Relation(
        "no accuracy under AutoAttack, of the first test images, exceeds the ceiling of the model's decisions, read on "
        "the last ones, of digits on all",
        f"the least margin is {margins[least]} points (the error is of the accuracy alone), of {least}",
        margins[least].positive,
    )


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
    axes.set_xlabel(f"{unit[x]}\n{estimate}; rho {_rho(models, what)}")
    axes.set_ylabel("adversarial gap (points)" if y == "gap" else "accuracy under AutoAttack (%)")
    return whole(finish(axes, "y", ncols=2))


def _under_ceilings(rows: Rows) -> Figure:
    """Information of decisions and accuracy, on clean inputs (hollow) and under attack, below what either allows."""
    axes = new_axes(4.0)
    reads = [row["measure"][CODES] for row in rows]
    nats = np.linspace(0, max(read["normal"] for read in reads), 200)
    nb_classes = 10  # of every data set here
    for form, line in (("exact", "-"), ("published", "--")):
        ceiling = [100 * adversarial_accuracy_upper_bound(value, nb_classes, form) for value in nats]
        axes.plot(nats, ceiling, color="#808080", linestyle=line, linewidth=1, label=f"ceiling, {form}")
    marks = dict(zip(NETWORKS, MODELS, strict=False))
    labelled: set[str] = set()
    for row, read in zip(rows, reads, strict=True):
        (colour, marker), name = marks[_network(row)], _network(row)
        x, y = (read["normal"], read["worst case"]), (accuracy(row, "clean"), accuracy(row, "AutoAttack"))
        axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.4)
        axes.plot(x[0], y[0], color=colour, marker=marker, fillstyle="none", linestyle="none")
        label = None if name in labelled else name
        axes.plot(x[1], y[1], color=colour, marker=marker, linestyle="none", label=label)
        labelled.add(name)
    axes.set_xlabel(f"information (nats), clean (hollow) and worst case\n{CODES}")
    axes.set_ylabel("accuracy, clean (hollow) and under AutoAttack (%)")
    return whole(finish(axes, "y", ncols=2))


def _network(row: Row) -> str:
    setting = row["setting"]
    return str((setting["encoder"] or setting)["network"])


def _method(row: Row) -> str:
    setting = row["setting"]
    if setting["encoder"] is not None:
        return f"worst-case MI, {'robust' if setting['method'] == 'Madry' else 'standard'} head"
    return f"{setting['method']}{'' if setting['radius'] == 1 else ', half the radius'}"


def _name(row: Row) -> str:
    return f"{_network(row)}, {_method(row)}"
