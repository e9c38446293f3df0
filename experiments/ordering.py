"""Whether readings of information order models as attacks do: over all, in parts, and beyond how they were trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments.correlation import Correlation, agreement, correlation, lead, reliability
from experiments.tables import Row, Rows, grouped, markdown_table, mean

YARDSTICKS = {"AutoAttack": "clean of those", "PGD-20": "clean"}  # with the clean accuracy on the same images
EXPECTED = {  # what should rise with what
    "vulnerability against gap": ("vulnerability", "gap"),
    "worst case against robust accuracy": ("worst case", "robust"),
    "label-aware ceiling against robust accuracy": ("label_aware", "robust"),
}
BESIDE = {"accuracy there against robust accuracy": ("measured accuracy", "robust")}
UNDEFENDED = "trained against attacks or not"
RADIUS = "training radius"
AVERAGED = ("normal", "worst case", "vulnerability", "measured accuracy", "exact", "published", "label_aware")
KNOWN = (UNDEFENDED, RADIUS)  # no estimates, but what anyone knows who trained the models

Reading = Mapping[str, Any]  # of one model, with its network, its training and its accuracies
Models = dict[str, Reading]


def network_of(row: Row) -> str:
    """The network of a model, of a head that of its encoder."""
    setting = row["setting"]
    return str((setting["encoder"] or setting)["network"])


def method_of(row: Row) -> str:
    """How a model was trained."""
    setting = row["setting"]
    if setting["encoder"] is not None:
        return f"worst-case MI, {'robust' if setting['method'] == 'Madry' else 'standard'} head"
    return f"{setting['method']}{'' if setting['radius'] == 1 else ', half the radius'}"


def name_of(row: Row) -> str:
    """A model in words."""
    return f"{network_of(row)}, {method_of(row)}"


def readings(rows: Rows) -> dict[str, Models]:
    """Readings of every model by estimate, the mean over its training runs, and what is known without.

    A layer's reading is the same for all heads on it, so of the heads on one encoder only the robust one counts there.
    What such heads were trained with is no radius.

    :param rows: Training runs of all models.
    """
    found: dict[str, Models] = {}
    for name, runs in grouped(rows, name_of).items():
        setting = runs[0]["setting"]
        radius = 0.0 if setting["method"] == "standard" else setting["radius"]
        whole, robust_head = setting["encoder"] is None, setting["method"] == "Madry"
        common = {"network": network_of(runs[0]), "method": method_of(runs[0]), "radius": radius if whole else None}
        for yardstick, clean in YARDSTICKS.items():
            robust = mean(runs, yardstick)
            common |= {f"robust, {yardstick}": robust, f"gap, {yardstick}": mean(runs, clean) - robust}
        read = {estimate: _over_runs([run["measure"][estimate] for run in runs]) for estimate in runs[0]["measure"]}
        if not (whole or robust_head):
            read = {key: values for key, values in read.items() if "features" not in key}
        read |= {UNDEFENDED: _as_known(not whole or radius > 0)} | ({RADIUS: _as_known(radius)} if whole else {})
        for estimate, values in read.items():
            found.setdefault(estimate, {})[name] = {**common, **values}
    return found


def _over_runs(reads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of what an estimate reads in every training run of a model, and all that it reads in each."""
    flat = [{**read, **read.get("ceilings", {})} for read in reads]
    known = [what for what in AVERAGED if all(read.get(what) is not None for read in flat)]
    return {what: fmean(read[what] for read in flat) for what in known} | {"runs": reads}


def _as_known(strength: float) -> dict[str, float]:
    """What would be read if information were as strong as the training."""
    return {"vulnerability": -strength, "worst case": strength, "label_aware": strength}


def rho(models: Models, what: str, yardstick: str = "AutoAttack", *, within: bool = False) -> Correlation | None:
    """Spearman's rho of a pair of :data:`EXPECTED` or :data:`BESIDE` over models.

    :param models: Readings by one estimate.
    :param what: The pair.
    :param yardstick: Attack of the accuracy.
    :param within: Rank models among those of their own network alone.
    :return: None where the estimate reads no such thing.
    """
    x, y = _values(models, what, yardstick)
    return correlation(x, y, [read["network"] for read in models.values()] if within else None) if x else None


def _values(models: Models, what: str, yardstick: str = "AutoAttack") -> tuple[list[float], list[float]]:
    """Both quantities of a pair, empty where the estimate does not read one of every model."""
    x, y = {**EXPECTED, **BESIDE}[what]
    if any(read.get(x) is None for read in models.values()):
        return [], []
    return [read[x] for read in models.values()], [read[f"{y}, {yardstick}"] for read in models.values()]


def over_all(rows: Rows, table: Mapping[str, Models]) -> str:
    """How each estimate orders all models, against both attacks, and how far it can be read.

    :param rows: Training runs of all models.
    :param table: From :func:`readings`.
    """
    pairs = [(what, yardstick) for yardstick in YARDSTICKS for what in (*EXPECTED, *BESIDE)]
    lines = [[estimate, *_state(of), *(str(rho(of, *pair) or "") for pair in pairs)] for estimate, of in table.items()]
    head = ["undersampled", "saturated", "no drop", "interval, spread"]
    legend = (
        "Spearman's rho over all models, with the central 95 % under resampling of models, which are no independent "
        "sample; where a model has several training runs, its readings and accuracies are means over them. Counted are "
        "runs whose estimate had too few images (`undersampled`) or is near its ceiling (`saturated`), and those for "
        "which no drop was found; the interval of a run's vulnerability, median, is held against the standard "
        "deviation between all runs. "
        f"`{UNDEFENDED}` and `{RADIUS}` are no estimates: they rank models by what anyone knows who trained them, the "
        "radius those that were trained as a whole. By estimates of features two heads on one encoder are one model. "
        "Accuracy there is that on the perturbations which the estimate found, behind its noise or codes."
    )
    table_of_all = markdown_table(["estimate", *head, *(f"{what}, {by}" for what, by in pairs)], lines)
    return f"{table_of_all}\n\n{legend} {_noise(rows)}"


def _noise(rows: Rows) -> str:
    """How far rankings by the yardsticks are those of other images, and of other training runs."""
    models = list(grouped(rows, name_of).values())
    full = [runs for runs in models if _at_full_radius(runs[0])]
    yardsticks = [
        (what, quantity, less)
        for yardstick, clean in YARDSTICKS.items()
        for what, quantity, less in ((yardstick, yardstick, None), (f"its gap by {yardstick}", clean, yardstick))
    ]

    def said(of: Callable[[Sequence[Rows], str, str | None], float]) -> str:
        return "; ".join(
            f"{what} {of(models, quantity, less):.2f}, at the full radius {of(full, quantity, less):.2f}"
            for what, quantity, less in yardsticks
        )

    text = (
        "Ranks by a yardstick are noisy too. The correlation of two rankings of the same training runs by it, each on "
        f"as many images as here, would be about: {said(reliability)} (split halves, after Spearman and Brown)."
    )
    if all(len(runs) == 1 for runs in models):
        return text
    several = [sum(len(runs) > 1 for runs in of) for of in (models, full)]
    return (
        f"{text} Of two training runs of each model that has several, {several[0]} of them, {several[1]} at the full "
        f"radius, on the same images, it is: {said(agreement)}."
    )


def _state(models: Models) -> list[str]:
    runs = [run for read in models.values() for run in read.get("runs", ()) if "flags" in run]
    if not runs:
        return [""] * 4
    flags = [sum(flag in run["flags"] for run in runs) for flag in ("UNDERSAMPLED", "SATURATED")]
    no_drop = sum(run["vulnerability"] == 0 for run in runs)
    ends = [run["vulnerability, interval"] for run in runs]
    widths = [math.inf if None in (low, high) else high - low for low, high in ends]
    spread = stdev(run["vulnerability"] for run in runs) if len(runs) > 1 else 0.0
    return [*(f"{count} / {len(runs)}" for count in (*flags, no_drop)), f"{median(widths):.2f}, {spread:.2f}"]


def _at_full_radius(row: Row) -> bool:
    setting = row["setting"]
    return setting["encoder"] is None and setting["method"] != "standard" and setting["radius"] == 1


def in_parts(table: Mapping[str, Models], networks: Sequence[str]) -> str:
    """How each estimate orders models of equal network or training, and what it adds to knowing the training.

    :param table: From :func:`readings`.
    :param networks: Names.
    """
    lines = []
    for estimate, models in table.items():
        parts: list[Models] = [
            _part(models, lambda read: read["radius"] != 0),
            _part(models, lambda read: read["radius"] == 1),
            *(_of(models, one) for one in networks),
        ]
        for what in (*EXPECTED, *BESIDE):
            of_parts = [rho(part, what) if len(part) > 3 else None for part in parts]
            found = [rho(models, what, within=True), *of_parts]
            if any(found):
                lines.append([estimate, what, _beyond(models, table[RADIUS], what), *(str(one or "") for one in found)])
    legend = (
        "Against AutoAttack. What rho over all models that were trained as a whole gains over ranking them by their "
        "training radius (0, one half or one), with the central 95 % under resampling; over all models ranked among "
        "those of their own network; over those trained against attacks, over those of them trained as a whole at the "
        "full radius, and over those of one network, with how many there are in place of an interval, from four."
    )
    head = ["estimate", "claim", f"beyond the {RADIUS}", "within networks", "defended", "at the full radius", *networks]
    return f"{markdown_table(head, lines)}\n\n{legend}"


def _part(models: Models, belongs: Callable[[Reading], bool]) -> Models:
    return {model: read for model, read in models.items() if belongs(read)}


def _of(models: Models, one: str) -> Models:
    return _part(models, lambda read: read["network"] == one)


def _beyond(models: Models, known: Models, what: str) -> str:
    both = [model for model in models if model in known]
    if models is known or what not in EXPECTED:
        return ""
    (x, y), (rival, _) = (_values({model: of[model] for model in both}, what) for of in (models, known))
    gained = lead(x, rival, y) if x else None
    return "" if gained is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gained)


def between_networks(table: Mapping[str, Models], networks: Sequence[str]) -> str:
    """What ranks by the drop lose, over all models, to differences between networks.

    :param table: From :func:`readings`.
    :param networks: Names.
    """
    what = "vulnerability against gap"
    lines = []
    for estimate, models in table.items():
        of = np.array([read["network"] for read in models.values()])
        drop, gap = (rankdata(values) for values in _values(models, what))
        if estimate in KNOWN or not len(drop):
            continue
        offsets = {one: float((drop - gap)[of == one].mean()) for one in networks if one in of}
        shift = np.array([offsets[one] for one in of])
        share = (shift**2).sum() / max(((drop - gap) ** 2).sum(), 1e-12)
        rhos = rho(models, what), rho(models, what, within=True), correlation(list(drop - shift), list(gap))
        cells = []
        for one in networks:
            normal = [read["normal"] for read in _of(models, one).values() if "normal" in read]
            cells.append(f"{offsets.get(one, math.nan):+.1f}{f' ({median(normal):.2f})' if normal else ''}")
        lines.append([estimate, *map(str, rhos), f"{share:.0%}", *cells])
    legend = (
        f"Why a rho of {what} over all models is not that within networks: by how many ranks the models of a network "
        "are placed too high by the drop, on average, in brackets the median of their normal information in nats; "
        "which share of the squared differences of ranks these averages make up, and rho over all models when they are "
        "taken off: in hindsight, as the averages are of ranks by the gap itself. Ranks within networks are of few "
        "models each: the same noise lowers their rho by more."
    )
    head = ["estimate", "over all", "within networks", "over all, averages off", "share of networks", *networks]
    return f"{markdown_table(head, lines)}\n\n{legend}"
