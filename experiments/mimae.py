"""MIMAE against Madry's training, TRADES and MART, its ablation, and its two weights.

| Paper link: https://proceedings.mlr.press/v157/atsague21a.html (tables 2, 4, 5 and 10)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.curves import chosen, curves, trade_off
from experiments.recipe import Recipe
from experiments.tables import (
    QUANTITIES,
    Contrast,
    Relation,
    Row,
    Rows,
    accuracy_table,
    agreed,
    cell,
    contrast,
    grouped,
    mean,
    named,
)

TITLE = "MIMAE against Madry, TRADES and MART"
ABOUT = """Tables 2, 4, 5 and 10 of [Atsague, Fakorede, Tian 2021](https://proceedings.mlr.press/v157/atsague21a.html):
MIMAE trains on attacked inputs with binary cross-entropy, less lambda times the mutual information (MI) of clean and
attacked predictions, plus beta times their mean absolute error (MAE). In the paper it is ahead of Madry's training,
TRADES and MART under attack, and each of its parts contributes."""
# as many settings for each method that has a weight, the published ones first
WEIGHTS = {
    "TRADES": [{"beta": beta} for beta in (6.0, 3.0, 1.0)],
    "MART": [{"beta": beta} for beta in (5.0, 2.5, 1.0)],
    "MIMAE": [{"beta": beta} for beta in (1.0, 0.3, 3.0)],
}
LAMBDAS = (0.1, 0.7, 1.0)
ABLATION: dict[str, dict[str, Any]] = {
    "no MAE": {"beta": 0.0},
    "no MI": {"lamb": 0.0},
    "MSE for MAE": {"distance": "mse"},
    "CE for BCE": {"adversarial_loss": "cross_entropy"},
}

HEADLINE = ("training", "runs", *QUANTITIES)
measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Every method at each of its weights, the ablation, and the sweep over lambda."""
    yield Recipe("standard", seed=seed)
    yield Recipe("Madry", seed=seed)
    for number in range(3):
        yield from (Recipe(method, seed=seed, options=weights[number]) for method, weights in WEIGHTS.items())
    yield from (Recipe("MIMAE", seed=seed, options=options) for options in ABLATION.values())
    yield from (Recipe("MIMAE", seed=seed, options={"lamb": lamb}) for lamb in LAMBDAS)


def section(rows: Rows) -> str:
    """Accuracies, and the ablation."""
    plain = [row for row in rows if not _ablated(row)]
    parts = [accuracy_table(grouped(plain, _name)), "Ablation, at lambda 0.4 and beta 1 but for what is said:"]
    parts += [accuracy_table(grouped([row for row in rows if _ablated(row) or _default(row)], _name))]
    return "\n\n".join(parts)


def headline(rows: Rows) -> Iterator[list[str]]:
    """Last checkpoints of every method at its published weight."""
    for settings in _by_method(rows).values():
        if published := _published(settings):
            _, same = published
            yield [_name(same[0]), str(len(same)), *(cell(same, quantity) for quantity in QUANTITIES)]


def figures(rows: Rows) -> dict[str, Figure]:
    """Clean against attacked accuracy over the weights, and over lambda."""
    compared = {name: settings for name, settings in _by_method(rows).items() if name in ("Madry", *WEIGHTS)}
    drawn = {"mimae-weights": trade_off(compared)}
    lambdas = [(f"{same[0]['setting']['options'].get('lamb', 0.4):g}", same) for same in _swept(rows)]
    return {**drawn, "mimae-lambda": trade_off({"MIMAE over lambda": lambdas})} if len(lambdas) > 1 else drawn


def _swept(rows: Rows) -> list[Rows]:
    lambdas = [row for row in rows if _default(row) or ("lamb" in row["setting"]["options"] and not _ablated(row))]
    return list(grouped(lambdas, _name).values())


def _by_method(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    """Settings over the weight of each method, without lambdas and ablations."""
    weighted = [row for row in rows if not _ablated(row) and "lamb" not in row["setting"]["options"]]
    return curves(weighted, _name, lambda row: (row["setting"]["method"], _weight(row)))


def relations(rows: Rows) -> Iterator[Relation]:
    """MIMAE against the others, each at the weight of highest validation accuracy under attack, and as published."""
    by_method = _by_method(rows)
    for how, choose in {"its published weight": _published, "the weight chosen on held-out images": chosen}.items():
        settled = {
            name: one
            for name, settings in by_method.items()
            if name in ("Madry", *WEIGHTS) and (one := choose(settings)) is not None
        }
        ours, others = settled.get("MIMAE"), {name: same for name, same in settled.items() if name != "MIMAE"}
        if ours is None or len(others) < 3:
            continue
        shown = [
            f"{name} ({label or 'no weight'}) {', '.join(f'{mean(same, q):.1f}' for q in QUANTITIES)}"
            for name, (label, same) in settled.items()
        ]
        ahead = [
            f"{name} by {', '.join(str(contrast([(1, ours[1]), (-1, same)], q)) for q in QUANTITIES)}"
            for name, (_, same) in others.items()
        ]
        yield Relation(
            f"MIMAE first in AutoAttack or clean accuracy without being last in the other, each at {how}",
            f"{', '.join(QUANTITIES)}: {'; '.join(shown)}; ahead of {'; '.join(ahead)}",
            judged(ours[1], [same for _, same in others.values()]),
        )

    full = [row for row in rows if _default(row)]
    for name, options in ABLATION.items():
        less = [row for row in rows if _ablated(row) and row["setting"]["options"] == options]
        if full and less:
            leads = {q: contrast([(1, full), (-1, less)], q) for q in ("clean", "AutoAttack")}
            yield Relation(
                f"MIMAE is better in one accuracy and not worse in the other than with {name}",
                ", ".join(f"{quantity} {lead}" for quantity, lead in leads.items()),
                _better_somewhere(leads["clean"], leads["AutoAttack"]),
            )


def _weight(row: Row) -> str:
    """What its objective is weighted by, nothing where it has no weight."""
    options = row["setting"]["options"]
    return f"{options['beta']:g}" if options else ""


def _published(settings: Sequence[tuple[str, Rows]]) -> tuple[str, Rows] | None:
    """The setting of a method's published weight, or the only one of a method without; None where it is missing."""
    method = settings[0][1][0]["setting"]["method"]
    label = f"{WEIGHTS[method][0]['beta']:g}" if method in WEIGHTS else ""
    return next((setting for setting in settings if setting[0] == label), None)


def judged(ours: Rows, others: Sequence[Rows]) -> bool | None:
    """Whether ours is first in one accuracy and not last in the other; None where the errors of leads change that.

    :param ours: Runs of one setting.
    :param others: Of others.
    """
    leads = {q: [contrast([(1, ours), (-1, same)], q) for same in others] for q in ("clean", "AutoAttack")}
    answers = {_placed({q: [c.value + end * c.reach * c.error for c in leads[q]] for q in leads}) for end in (-1, 0, 1)}
    return answers.pop() if len(answers) == 1 else None


def _better_somewhere(one: Contrast, other: Contrast) -> bool | None:
    """Whether one lead is positive while the other accuracy is not worse."""
    answers = agreed(one.positive, other.not_worse), agreed(other.positive, one.not_worse)
    return True if True in answers else None if None in answers else False


def _placed(leads: Mapping[str, Sequence[float]]) -> bool:
    one, other = leads.values()
    return any(min(first) >= 0 and max(second) >= 0 for first, second in ((one, other), (other, one)))


def _name(row: Row) -> str:
    setting = row["setting"]
    for name, options in ABLATION.items():
        if setting["method"] == "MIMAE" and setting["options"] == options:
            return f"MIMAE, {name}"
    return named(setting)


def _ablated(row: Row) -> bool:
    return bool(row["setting"]["method"] == "MIMAE" and row["setting"]["options"] in ABLATION.values())


def _default(row: Row) -> bool:
    return bool(row["setting"]["method"] == "MIMAE" and row["setting"]["options"] == WEIGHTS["MIMAE"][0])
