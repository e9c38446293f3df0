"""DALE's trade-off over its margin against TRADES' over its weight; its noise and its losses.

| Paper link: https://arxiv.org/abs/2110.15767
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from art_mi.report.plots.canvas import MODELS, STROKES, finish, new_axes
from experiments.curves import curves, least_lead, trade_off, whole
from experiments.recipe import Recipe
from experiments.tables import (
    Relation,
    Row,
    Rows,
    accuracy_table,
    agreed,
    contrast,
    grouped,
    markdown_table,
    named,
)

TITLE = "DALE's trade-off against TRADES'"
ABOUT = """[Robey et al. 2021](https://arxiv.org/abs/2110.15767): DALE minimises the loss on perturbations sampled by
Langevin dynamics, subject to a clean loss of at most rho; a multiplier grows while that is exceeded. Its curve over rho
is held against that of TRADES over its weight beta. T is the temperature of the noise. In the paper DALE loses less
clean accuracy at equal robustness than the baselines do."""
BETAS = (6.0, 3.0, 1.0, 10.0, 0.3)
SLACK = 0.01  # a multiplier that is as good as none
NEAR = 0.1  # of the margin
BROKEN, FALLING = "broken", "below, multiplier on its way down"


@dataclass(frozen=True)
class Constraint:
    """Margins of the clean loss on a data set, and how the dual variable moves there.

    It moves once a batch, as in the published code, but only after some epochs: what the margin is exceeded by before
    drives it to where so short a run does not bring it back from.

    :param kl: Margins with the KL loss, about the clean losses that TRADES ends with at `BETAS`.
    :param cross_entropy: With cross-entropy, also under MIMAE's loss; some below what Madry's training ends with.
    :param dual: Step size of the dual variable, and epochs before it moves.
    """

    kl: Sequence[float]
    cross_entropy: Sequence[float]
    dual: Mapping[str, Any]

    @property
    def dale(self) -> dict[str, Any]:
        """What DALE's trainer takes."""
        return {"dual_step": "batch", **self.dual}


FASHION = (0.4, 0.45, 0.35, 0.5, 0.3)
ELSEWHERE = Constraint(FASHION, FASHION, {"dual_lr": 0.03, "dual_warmup": 2})
CONSTRAINTS = {  # an epoch of digits has 9 steps, one of the others 157 and more
    "digits": Constraint(
        (0.3, 0.5, 0.2, 0.7, 0.12), (0.12, 0.2, 0.3, 0.14, 0.1, 0.08, 0.06), {"dual_lr": 0.1, "dual_warmup": 8}
    )
}


def constraint(data: str) -> Constraint:
    """Margins for a data set; where clean losses were not looked at yet, those of Fashion-MNIST as a beginning.

    :param data: Its name.
    """
    return CONSTRAINTS.get(data, ELSEWHERE)


KL: dict[str, Any] = {"robust_loss": "kl", "dual_start": 0.2}
STILL = {"temperature": 0.0}
NOISES: dict[str, dict[str, Any]] = {  # of standard deviation sqrt(2 eps_step T), eps_step being eps / 4
    "Gaussian, T 5e-4": {"temperature": 5e-4},
    "Gaussian, T 5e-2": {"temperature": 5e-2},
    "Laplace, T 5e-4": {"noise": "laplace", "temperature": 5e-4},
}

measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Both curves, and the noise at one margin."""
    margins = constraint(data)
    yield Recipe("Madry", seed=seed)
    for beta in BETAS:
        yield Recipe("TRADES", seed=seed, options={"beta": beta})
    for rho in margins.kl:
        yield Recipe(
            "DALE", seed=seed, options={"rho": rho, **KL, **margins.dale}, sampling={"potential": "kl", **STILL}
        )
    for rho in margins.cross_entropy:
        yield Recipe("DALE", seed=seed, options={"rho": rho, **margins.dale}, sampling=STILL)
    for sampling in NOISES.values():
        yield Recipe("DALE", seed=seed, options={"rho": margins.cross_entropy[0], **margins.dale}, sampling=sampling)


def section(rows: Rows) -> str:
    """Accuracies, and where the constraint ended."""
    options = next((row["setting"]["options"] for row in rows if row["setting"]["method"] == "DALE"), None)
    moved = options and (
        f"The multiplier moves once a batch by {options['dual_lr']:g} times the excess, after {options['dual_warmup']} "
        f"epochs without; from {KL['dual_start']:g} with KL, from 0 with cross-entropy."
    )
    return "\n\n".join(part for part in (accuracy_table(grouped(rows, _name)), moved, ends(rows, _name)) if part)


def figures(rows: Rows) -> dict[str, Figure]:
    """Both curves, and the multiplier's path."""
    return {"dale-trade-off": trade_off(_curves(rows)), "dale-multiplier": _paths(rows)}


def _curves(rows: Rows) -> dict[str, list[tuple[str, Rows]]]:
    """Settings over the margin or weight, without those whose attack is noisy."""
    return curves([row for row in rows if row["setting"]["sampling"] not in NOISES.values()], _name, _place)


def _place(row: Row) -> tuple[str, str]:
    method, options = row["setting"]["method"], row["setting"]["options"]
    if method != "DALE":
        return method, f"{options['beta']:g}" if options else ""
    return f"DALE, {'KL' if 'robust_loss' in options else 'cross-entropy'}", f"{options['rho']:g}"


def _paths(rows: Rows) -> Figure:
    """The multiplier after each epoch, of the first run of each setting: a colour a margin, a stroke a loss."""
    axes = new_axes(4.2)
    kinds = [(kind, curve) for kind, curve in _curves(rows).items() if kind.startswith("DALE")]
    for (kind, curve), (line, marker) in zip(kinds, STROKES, strict=False):
        for (rho, same), (colour, _) in zip(curve, MODELS, strict=False):
            values = [record["nu"] for record in same[0]["history"]]
            label = f"{kind.removeprefix('DALE, ')}, rho {rho}"
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, color=colour, linestyle=line, marker=marker, markersize=3, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("multiplier at the end of the epoch")
    return whole(finish(axes, "y", ncols=2))


def relations(rows: Rows) -> Iterator[Relation]:
    """The curves against each other, the constraint, and what noise buys."""
    compared = _curves(rows)
    for kind in ("DALE, KL", "DALE, cross-entropy"):
        if kind in compared and "TRADES" in compared:
            lead = least_lead(compared[kind], compared["TRADES"])
            yield Relation(
                f"{kind}: under AutoAttack at least as good as TRADES at every clean accuracy that both curves have",
                "they share none" if lead is None else str(lead),
                None if lead is None else lead.holds,
            )
    yield from held(rows)
    noises = {name: [row for row in rows if row["setting"]["sampling"] == noise] for name, noise in NOISES.items()}
    for name, noisy in noises.items():
        still = [row for row in rows if noisy and row["setting"] == {**noisy[0]["setting"], "sampling": STILL}]
        if still:
            gain, clean = (contrast([(1, noisy), (-1, still)], quantity) for quantity in ("AutoAttack", "clean"))
            yield Relation(
                f"noise buys robustness at equal steps, and costs no clean accuracy: {name}",
                f"{gain} points under AutoAttack, clean {clean}",
                agreed(gain.positive, clean.not_worse),
            )


def ends(rows: Rows, name: Callable[[Row], str]) -> str:
    """Where the constraint of each run ended, as a table.

    :param rows: Those without a margin are left out.
    :param name: What a setting is called.
    """
    lines = [
        [name(row), str(row["seed"]), f"{last['clean']:.3f}", f"{last['nu']:.2f}", _state(row)]
        for row in rows
        if "rho" in row["setting"]["options"]
        for last in [row["history"][-1]]
    ]
    return markdown_table(["model", "seed", "clean training loss of the last epoch", "multiplier", "constraint"], lines)


def held(rows: Rows) -> Iterator[Relation]:
    """Whether the constraint of every run is satisfied in the end, and its multiplier where it belongs."""
    states = Counter(_state(row) for row in rows if "rho" in row["setting"]["options"])
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    for says, wrong in (
        (f"the clean training loss of the last epoch is at most {NEAR:.0%} above the margin", {BROKEN}),
        ("and where it is below by more, the multiplier is down to none", {BROKEN, FALLING}),
    ):
        yield Relation(says, counts, states.keys().isdisjoint(wrong) if states else None)


def _state(row: Row) -> str:
    last, rho = row["history"][-1], row["setting"]["options"]["rho"]
    if abs(last["clean"] - rho) <= NEAR * rho:
        return "tight"
    if last["clean"] > rho:
        return BROKEN
    return "slack" if last["nu"] <= SLACK else FALLING


def _name(row: Row) -> str:
    if row["setting"]["method"] != "DALE":
        return named(row["setting"])
    kind, rho = _place(row)
    noise = next((f", {name}" for name, sampling in NOISES.items() if sampling == row["setting"]["sampling"]), "")
    return f"{kind}, rho {rho}{noise}"
