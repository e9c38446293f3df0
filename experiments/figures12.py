"""Figures 1 and 2 of Zhu, Zhang, Evans 2020: does vulnerability tell robust models from others?

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.1)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from art.estimators.classification import PyTorchClassifier
from matplotlib.figure import Figure

from art_mi import WorstCaseMIEstimator
from art_mi.evaluation import evaluate_robustness
from art_mi.report.plots.canvas import MODELS, finish, new_axes
from art_mi.results import RepresentationVulnerability
from experiments.correlation import Correlation, correlation
from experiments.curves import whole
from experiments.dale import DUAL, MARGINS, STILL
from experiments.decisions import decision_information, divided_vulnerability
from experiments.mimae import WEIGHTS
from experiments.recipe import Recipe
from experiments.record import plain
from experiments.table1 import ENCODERS
from experiments.tables import Relation, Row, Rows, accuracy, accuracy_table, grouped, markdown_table
from experiments.workshop import Workshop

TITLE = "Vulnerability against robustness"
NETWORKS = ("small CNN", "Baseline-H", "VGG-like", "ResNet-18", "DenseNet")
LAYERS = {"logits": None, "features": "features"}
NOISE = (0.1, 0.3, 1.0)  # times the representation's standard deviation
SETTINGS = {"noise": NOISE, "layers": LAYERS, "version": 1}
EQUAL = "noisy, {}, half a label"  # noise through which clean inputs say half the log of the number of classes
DECISIONS = "decisions behind noise"
FGSM = "FGSM's gap in place of information"
CODES = "quantised, decisions"
DEFAULT = "noisy, logits, 1"
CHOSEN = {  # everything else is looked at after the fact
    "the estimator's default": DEFAULT,
    "chosen before any model was measured": EQUAL.format("logits"),
    "chosen on the first models of digits, before any of another data set was measured": CODES,
}


def recipes(seed: int) -> Iterator[Recipe]:
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
    for name in NETWORKS:
        yield Recipe("TRADES", name, options=WEIGHTS["TRADES"][0])
        yield Recipe("DALE", name, options={"rho": MARGINS[0], **DUAL}, sampling=STILL)


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
EXPECTED = {  # what should rise with what
    "vulnerability against gap": ("vulnerability", "gap"),
    "worst case against robust accuracy": ("worst case", "robust"),
    "label-aware ceiling against robust accuracy": ("label-aware", "robust"),
}


def section(rows: Rows) -> str:
    """Accuracies, and correlations by method, layer and noise."""
    table = _table(rows)
    lines = [
        [estimate, str(_saturated(rows, estimate)), *(_said(models, *pair) for pair in EXPECTED.values())]
        for estimate, models in table.items()
    ]
    legend = (
        "Spearman's rho over all models, with the central 95 % under resampling of models, which are no independent "
        "sample: it describes them, no more; then its range when one network is left out, and rho within each network. "
        f"`{EQUAL.format('logits')}` is through noise behind which the logits of clean images say half the log of the "
        f"number of classes, `{CODES}` the entropy of the predicted classes. A drop in the information of noisy logits "
        "is that of the label plus that within labels. Models with an estimate near its ceiling count as saturated."
    )
    shares = ", ".join(f"{_of_the_label(rows, level):.0%} at noise {level:g}" for level in NOISE)
    legend += f" Over all models the label's part of the drop in noisy logits is {shares}."
    correlations = markdown_table(["estimate", "saturated", *EXPECTED], lines)
    return "\n\n".join([accuracy_table(grouped(rows, _name)), correlations, legend])


HEADLINE = ("models", "estimate", *(f"rho of {what}" for what in EXPECTED))


def headline(rows: Rows) -> Iterator[list[str]]:
    """Rank correlations over all models, by the estimates named beforehand."""
    table = _table(rows)
    for how, estimate in CHOSEN.items():
        found = [_rho(table[estimate], *pair) for pair in EXPECTED.values()]
        yield [str(len(rows)), f"{estimate} ({how})", *("" if rho is None else str(rho) for rho in found)]


def figures(rows: Rows) -> dict[str, Figure]:
    """Both figures, by the estimates chosen beforehand and by the estimator's default."""
    table, drawn = _table(rows), {}
    shown = {"equal": EQUAL.format("logits"), "decisions": CODES, "default": DEFAULT}
    for name, estimate in shown.items():
        drawn[f"gap-against-vulnerability-{name}"] = _scatter(table[estimate], estimate, "vulnerability", "gap")
        drawn[f"robustness-against-information-{name}"] = _scatter(table[estimate], estimate, "worst case", "robust")
    return drawn


Models = dict[str, dict[str, Any]]  # what was read, by model


def _table(rows: Rows) -> dict[str, Models]:
    """Readings of every model by estimate."""
    found: dict[str, Models] = {}
    for row in rows:
        robust = accuracy(row, "AutoAttack")
        gap = accuracy(row, "clean of those") - robust
        common = {"network": _network(row), "method": _method(row), "robust": robust, "gap": gap}
        for estimate, read in row["measure"].items():
            label_aware = read.get("ceilings", {}).get("label_aware")
            found.setdefault(estimate, {})[_name(row)] = {**common, **read, "label-aware": label_aware}
    return found


def _rho(models: Models, x: str, y: str, *, only: str = "", without: str = "") -> Correlation | None:
    """Spearman's rho over models, of one network only, or of all but one."""
    chosen = [read for read in models.values() if only in ("", read["network"]) and without != read["network"]]
    pairs = [(read[x], read[y]) for read in chosen if read.get(x) is not None and read.get(y) is not None]
    return correlation(*zip(*pairs, strict=True)) if len(pairs) == len(chosen) > 2 else None


def _said(models: Models, x: str, y: str) -> str:
    pooled = _rho(models, x, y)
    if pooled is None:
        return ""
    others = [rho.rho for name in NETWORKS if (rho := _rho(models, x, y, without=name))]
    inside = [f"{name} {rho}" for name in NETWORKS if (rho := _rho(models, x, y, only=name))]
    left_out = f"; {min(others):.2f} to {max(others):.2f}" if others else ""
    return f"{pooled}{left_out}; {', '.join(inside)}"


def _of_the_label(rows: Rows, level: float) -> float:
    """Share of the drop, summed over models, that is of the label."""
    between, within = (
        sum(row["measure"][f"noisy, logits, {level:g}: {part}"]["vulnerability"] for row in rows)
        for part in ("of the label", "within labels")
    )
    return float(between / (between + within))


def _saturated(rows: Rows, estimate: str) -> int:
    return sum("SATURATED" in row["measure"][estimate].get("flags", ()) for row in rows)


def relations(rows: Rows) -> Iterator[Relation]:
    """Whether the readings order the models, and whether an accuracy exceeds its ceiling."""
    table = _table(rows)
    for what, pair in EXPECTED.items():
        after = {name: found for name, models in table.items() if (found := _rho(models, *pair))}
        best = max(after, key=lambda name: after[name].rho, default=None)
        seen = f"; the highest of {len(after)} estimates, after the fact, is {after[best]} by {best}" if best else ""
        for how, estimate in CHOSEN.items():
            rho = _rho(table[estimate], *pair)
            yield Relation(
                f"{what}: rho of at least {GOAL} over all models, by {estimate}, {how}",
                f"{rho} over {len(rows)} models{seen}",
                None if rho is None else rho.rho >= GOAL,
            )
    above = [
        f"{_name(row)} by {estimate}"
        for row in rows
        for estimate, read in row["measure"].items()
        if "CONTRADICTION" in read.get("flags", ())
    ]
    yield Relation(
        "no accuracy measured on the perturbations found, behind the same noise or codes, exceeds its ceiling by more "
        "than three standard errors",
        "none does" if not above else "; ".join(above),
        not above,
    )
    margins = {
        _name(row): 100 * row["measure"][CODES]["ceilings"]["exact"] - accuracy(row, "AutoAttack") for row in rows
    }
    least = min(margins, key=lambda name: margins[name])
    yield Relation(
        "no accuracy under AutoAttack exceeds the ceiling of the model's decisions",
        f"the least margin is {margins[least]:.1f} points, of {least}",
        margins[least] >= 0,
    )


def _scatter(models: Models, estimate: str, x: str, y: str) -> Figure:
    axes = new_axes(4.0)
    marks = dict(zip(NETWORKS, MODELS, strict=True))
    for name in NETWORKS:
        shown = [read for read in models.values() if read["network"] == name]
        colour, marker = marks[name]
        if shown:
            values = [(read[x], read[y]) for read in shown]
            axes.plot(*zip(*values, strict=True), color=colour, marker=marker, linestyle="none", label=name)
        for read in shown:
            text = read["method"]
            axes.annotate(text, (read[x], read[y]), textcoords="offset points", xytext=(4, 2), fontsize=5, alpha=0.8)
    unit = {"vulnerability": "representation vulnerability (nats)", "worst case": "worst-case information (nats)"}
    axes.set_xlabel(f"{unit[x]}\n{estimate}; rho {_rho(models, x, y)}")
    axes.set_ylabel("adversarial gap (points)" if y == "gap" else "accuracy under AutoAttack (%)")
    return whole(finish(axes, "y", ncols=3))


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
