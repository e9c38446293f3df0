"""DALE's trade-off over its margin against TRADES' over its weight; its noise and its losses.

| Paper link: https://arxiv.org/abs/2110.15767
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from art_mi.report.plots.canvas import MODELS, STROKES, finish, new_axes
from experiments.curves import least_lead, trade_off, whole
from experiments.recipe import Recipe
from experiments.tables import (
    Relation,
    Row,
    Rows,
    accuracy_table,
    contrast,
    grouped,
    markdown_table,
    named,
)

TITLE = "DALE's trade-off against TRADES'"
BETAS = (6.0, 3.0, 1.0, 10.0, 0.3)
MARGINS = (0.4, 0.45, 0.35, 0.5, 0.3)  # about the clean losses that TRADES ends with at these weights
# Once a batch, as in the published code, but after two epochs: what the margin is exceeded by before drives the
# multiplier to where so short a run does not bring it back from
DUAL: dict[str, Any] = {"dual_step": "batch", "dual_lr": 0.03, "dual_warmup": 2}
KL: dict[str, Any] = {"robust_loss": "kl", "dual_start": 0.2, **DUAL}
STILL = {"temperature": 0.0}
NOISES: dict[str, dict[str, Any]] = {  # of standard deviation sqrt(2 eps_step T), eps_step being eps / 4
    "Gaussian, T 5e-4": {"temperature": 5e-4},
    "Gaussian, T 5e-2": {"temperature": 5e-2},
    "Laplace, T 5e-4": {"noise": "laplace", "temperature": 5e-4},
}

measure = None


def recipes(seed: int) -> Iterator[Recipe]:
    """Both curves, and the noise at one margin."""
    yield Recipe("Madry", seed=seed)
    for beta in BETAS:
        yield Recipe("TRADES", seed=seed, options={"beta": beta})
    for rho in MARGINS:
        yield Recipe("DALE", seed=seed, options={"rho": rho, **KL}, sampling={"potential": "kl", **STILL})
        yield Recipe("DALE", seed=seed, options={"rho": rho, **DUAL}, sampling=STILL)
    for sampling in NOISES.values():
        yield Recipe("DALE", seed=seed, options={"rho": MARGINS[0], **DUAL}, sampling=sampling)


def section(rows: Rows) -> str:
    """Accuracies, and where the constraint ended."""
    ends = [
        [_name(row), str(row["seed"]), f"{row['history'][-1]['clean']:.3f}", f"{row['history'][-1]['nu']:.2f}"]
        for row in rows
        if row["setting"]["method"] == "DALE"
    ]
    held = markdown_table(["model", "seed", "clean loss of the last epoch", "multiplier"], ends)
    return "\n\n".join([accuracy_table(grouped(rows, _name)), held])


def figures(rows: Rows) -> dict[str, Figure]:
    """Both curves, and the multiplier's path."""
    return {"dale-trade-off": trade_off(_curves(rows)), "dale-multiplier": _paths(rows)}


def _curves(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    """Settings over the margin or weight."""
    found: dict[str, list[tuple[str, Rows]]] = {}
    for same in grouped(rows, _name).values():
        setting = same[0]["setting"]
        options = setting["options"]
        if setting["method"] == "DALE" and setting["sampling"].get("temperature") == 0:
            kind = "DALE, KL" if "robust_loss" in options else "DALE, cross-entropy"
            found.setdefault(kind, []).append((f"{options['rho']:g}", same))
        elif setting["method"] != "DALE":
            found.setdefault(setting["method"], []).append((f"{options['beta']:g}" if options else "", same))
    return found


def _paths(rows: Rows) -> Figure:
    """The multiplier after each epoch, of the first run of each setting: a colour a margin, a stroke a loss."""
    axes = new_axes(4.2)
    colours = {f"{rho:g}": colour for rho, (colour, _) in zip(MARGINS, MODELS, strict=True)}
    kinds = [(kind, curve) for kind, curve in _curves(rows).items() if kind.startswith("DALE")]
    for (kind, curve), (line, marker) in zip(kinds, STROKES, strict=False):
        for rho, same in curve:
            values = [record["nu"] for record in same[0]["history"]]
            label = f"{kind.removeprefix('DALE, ')}, rho {rho}"
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, color=colours[rho], linestyle=line, marker=marker, markersize=3, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("multiplier at the end of the epoch")
    return whole(finish(axes, "y", ncols=2))


def relations(rows: Rows) -> Iterator[Relation]:
    """The curves against each other, the constraint, and what noise buys."""
    curves = _curves(rows)
    for kind in ("DALE, KL", "DALE, cross-entropy"):
        if kind in curves and "TRADES" in curves:
            lead = least_lead(curves[kind], curves["TRADES"])
            yield Relation(
                f"{kind}: under AutoAttack at least as good as TRADES at every clean accuracy that both curves have",
                "they share none" if lead is None else str(lead),
                None if lead is None else lead.holds,
            )
    every = [row for row in rows if row["setting"]["method"] == "DALE"]
    missed = [row for row in every if not _held(row)]
    yield Relation(
        "the constraint is held in the last epoch: a clean loss of at most 0.05 above the margin",
        f"{len(every) - len(missed)} of {len(every)} training runs",
        not missed if every else None,
    )
    still = [row for row in rows if _at_noise(row, STILL)]
    for name, sampling in NOISES.items():
        noisy = [row for row in rows if _at_noise(row, sampling)]
        if still and noisy:
            gain, clean = (contrast([(1, noisy), (-1, still)], quantity) for quantity in ("AutoAttack", "clean"))
            yield Relation(
                f"noise buys robustness at equal steps: {name}",
                f"{gain} points under AutoAttack, clean {clean}",
                gain.positive,
            )


def _held(row: Row) -> bool:
    return bool(row["history"][-1]["clean"] <= row["setting"]["options"]["rho"] + 0.05)


def _at_noise(row: Row, sampling: Mapping[str, Any]) -> bool:
    setting = row["setting"]
    same = setting["options"] == {"rho": MARGINS[0], **DUAL}
    return bool(setting["method"] == "DALE" and same and setting["sampling"] == sampling)


def _name(row: Row) -> str:
    setting = row["setting"]
    if setting["method"] != "DALE":
        return named(setting)
    noise = next((name for name, sampling in NOISES.items() if sampling == setting["sampling"]), "no noise")
    kind = "KL" if "robust_loss" in setting["options"] else "cross-entropy"
    return f"DALE, {kind}, rho {setting['options']['rho']:g}" + ("" if noise == "no noise" else f", {noise}")
