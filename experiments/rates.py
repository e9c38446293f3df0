"""Does one learning rate do for all? Each method at lower and higher ones, judged on held-out images."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from experiments.curves import chosen, curves
from experiments.dale import STILL, constraint
from experiments.mimae import WEIGHTS, judged
from experiments.recipe import Recipe
from experiments.tables import QUANTITIES, Relation, Row, Rows, cell, contrast, markdown_table, mean, validated

TITLE = "Learning rates"
ABOUT = """A comparison at one learning rate may favour whom it suits. Each method at its published weight, DALE at the
first margin of its section, at multiples of the rate that all other sections use."""
RATES = (1.0, 0.3, 3.0, 10.0)  # times the plan's
PLANS = "1"

measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Each method at its published weight, DALE at its first margin."""
    margins = constraint(data)
    for rate in RATES:
        yield Recipe("Madry", seed=seed, rate=rate)
        for method, weights in WEIGHTS.items():
            yield Recipe(method, seed=seed, options=weights[0], rate=rate)
        options = {"rho": margins.cross_entropy[0], **margins.dale}
        yield Recipe("DALE", seed=seed, options=options, sampling=STILL, rate=rate)


def section(rows: Rows) -> str:
    """Held-out and test accuracies of last checkpoints."""
    lines = [
        [
            method,
            label,
            str(len(same)),
            f"{100 * validated(same):.1f}",
            *(cell(same, quantity) for quantity in QUANTITIES),
        ]
        for method, curve in _by_method(rows).items()
        for label, same in curve
    ]
    return markdown_table(["training", "rate", "runs", "PGD-20 on held-out images", *QUANTITIES], lines)


def figures(rows: Rows) -> dict[str, Figure]:
    """None."""
    return {}


def relations(rows: Rows) -> Iterator[Relation]:
    """What each method loses by the plan's rate, and who is first where none does."""
    by_method = _by_method(rows)
    for method, curve in by_method.items():
        usual, others = dict(curve).get(PLANS), [setting for setting in curve if setting[0] != PLANS]
        if usual and others:
            label, best = chosen(others)
            leads = {q: contrast([(1, usual), (-1, best)], q) for q in QUANTITIES}
            yield Relation(
                f"{method}: the plan's learning rate does as well under PGD-20 as the best other on held-out images",
                f"that is {label} times the plan's; {', '.join(f'{name} {lead}' for name, lead in leads.items())}",
                leads["PGD-20"].not_worse,
            )
    own = {method: chosen(curve)[1] for method, curve in by_method.items() if method != "DALE"}
    if "MIMAE" in own and len(own) > 3:
        ours = own.pop("MIMAE")
        shown = {"MIMAE": ours, **own}
        yield Relation(
            "MIMAE first in AutoAttack or clean accuracy without being last in the other, each at the learning rate "
            "chosen on held-out images",
            "; ".join(
                f"{name} {', '.join(f'{mean(same, q):.1f}' for q in QUANTITIES)}" for name, same in shown.items()
            ),
            judged(ours, list(own.values())),
        )


def _by_method(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    """Settings over the rate."""
    return curves(rows, _name, lambda row: (row["setting"]["method"], _rate(row)))


def _rate(row: Row) -> str:
    return f"{row['setting'].get('rate', 1.0):g}"


def _name(row: Row) -> str:
    return f"{row['setting']['method']}, rate {_rate(row)}"
