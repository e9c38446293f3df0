"""MIMAE's objective under DALE's constraint, against both parents."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from experiments.curves import chosen, curves, trade_off
from experiments.dale import STILL, constraint, ends, held
from experiments.mimae import WEIGHTS
from experiments.recipe import Recipe
from experiments.tables import Relation, Row, Rows, accuracy_table, agreed, contrast, grouped

TITLE = "MIMAE under DALE's constraint"
ABOUT = """MIMAE's loss, with its published weights, under DALE's constraint: the clean cross-entropy may be rho at
most. The multiplier moves as in the section on DALE, from 0. Against MIMAE, and against DALE at the same margins."""

measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Parents and child at as many settings each, DALE and the child at the same margins."""
    margins = constraint(data)
    for weights, rho in zip(WEIGHTS["MIMAE"], margins.cross_entropy, strict=False):
        yield Recipe("MIMAE", seed=seed, options=weights)
        yield Recipe("DALE", seed=seed, options={"rho": rho, **margins.dale}, sampling=STILL)
        yield Recipe("MIMAE under DALE", seed=seed, options={"rho": rho, **margins.dual})


def section(rows: Rows) -> str:
    """Accuracies, and where the constraints ended."""
    return "\n\n".join([accuracy_table(grouped(rows, _name)), ends(rows, _name)])


def figures(rows: Rows) -> dict[str, Figure]:
    """Clean against attacked accuracy."""
    return {"combined-trade-off": trade_off(_curves(rows))}


def _curves(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    return curves(rows, _name, lambda row: (row["setting"]["method"], f"{_weight(row)[1]:g}"))


def relations(rows: Rows) -> Iterator[Relation]:
    """The child against DALE at the same margins, and against MIMAE, both at the setting chosen on held-out images."""
    by_method = _curves(rows)
    children, parents = by_method.get("MIMAE under DALE", []), by_method.get("MIMAE", [])
    margins = dict(by_method.get("DALE", []))
    against = {"DALE at each margin": [(label, same, margins[label]) for label, same in children if label in margins]}
    if children and parents:
        (label, ours), (weight, theirs) = chosen(children), chosen(parents)
        against["MIMAE, each as chosen on held-out images"] = [(f"{label}, beta {weight}", ours, theirs)]
    for parent, pairs in against.items():
        leads = {
            label: {q: contrast([(1, ours), (-1, theirs)], q) for q in ("clean", "AutoAttack")}
            for label, ours, theirs in pairs
        }
        if leads:
            yield Relation(
                f"the combination is not worse in either accuracy than {parent}",
                "; ".join(
                    f"rho {label}: {', '.join(f'{q} {one}' for q, one in of.items())}" for label, of in leads.items()
                ),
                agreed(*(lead.not_worse for of in leads.values() for lead in of.values())),
            )
    yield from held(rows)


def _name(row: Row) -> str:
    name, value = _weight(row)
    return f"{row['setting']['method']}, {name} {value:g}"


def _weight(row: Row) -> tuple[str, float]:
    options = row["setting"]["options"]
    return next((name, options[name]) for name in ("rho", "beta") if name in options)
