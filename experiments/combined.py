"""MIMAE's objective under DALE's constraint, against both parents."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from experiments.curves import trade_off
from experiments.dale import STILL, constraint, ends, held
from experiments.mimae import WEIGHTS
from experiments.recipe import Recipe
from experiments.tables import Relation, Row, Rows, accuracy_table, contrast, grouped, named, validated

TITLE = "MIMAE under DALE's constraint"

measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Parents and child at as many settings each."""
    margins = constraint(data)
    for number, weights in enumerate(WEIGHTS["MIMAE"]):
        yield Recipe("MIMAE", seed=seed, options=weights)
        options = {"rho": margins.cross_entropy[number], **margins.dale}
        yield Recipe("DALE", seed=seed, options=options, sampling=STILL)
        yield Recipe("MIMAE under DALE", seed=seed, options={"rho": margins.mimae[number], **margins.dual})


def section(rows: Rows) -> str:
    """Accuracies, and where the constraints ended."""
    return "\n\n".join([accuracy_table(grouped(rows, _name)), ends(rows, _name)])


def figures(rows: Rows) -> dict[str, Figure]:
    """Clean against attacked accuracy."""
    return {"combined-trade-off": trade_off(_curves(rows))}


def _curves(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    found: dict[str, list[tuple[str, Rows]]] = {}
    for same in grouped(rows, _name).values():
        setting = same[0]["setting"]
        label = f"{next(setting['options'][name] for name in ('rho', 'beta') if name in setting['options']):g}"
        found.setdefault(setting["method"], []).append((label, same))
    return found


def relations(rows: Rows) -> Iterator[Relation]:
    """The child against each parent, every one at the setting chosen on held-out images."""
    chosen = {name: max(curve, key=lambda setting: validated(setting[1])) for name, curve in _curves(rows).items()}
    label, ours = chosen.pop("MIMAE under DALE", ("", []))
    for parent, (of_parent, theirs) in chosen.items():
        if ours:
            leads = {q: contrast([(1, ours), (-1, theirs)], q) for q in ("clean", "AutoAttack")}
            answers = {lead.positive for lead in leads.values()}
            yield Relation(
                f"the combination is at least as good as {parent} in both accuracies",
                f"{', '.join(f'{name} {lead}' for name, lead in leads.items())} (rho {label} against {of_parent})",
                False if False in answers else True if answers == {True} else None,
            )
    yield from held(rows)


def _name(row: Row) -> str:
    return named({**row["setting"], "sampling": None})
