"""Table 1 of Zhu, Zhang, Evans 2020: heads on encoders that were trained without labels.

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.2)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from experiments.recipe import Recipe
from experiments.tables import QUANTITIES, Relation, Row, Rows, accuracy_table, cell, contrast, markdown_table, mean

TITLE = "Heads on unsupervised encoders"
ABOUT = """Table 1 of [Zhu, Zhang, Evans 2020](https://arxiv.org/abs/2002.11798): an encoder learns without labels to
keep as much information as it can, of clean inputs (`normal`, beta 0) or of the worst ones within the radius (`worst
case`, beta 1; attacked through the representation only, as in the published code). Then it is frozen, and heads learn
with labels. In the paper heads on the worst-case encoder are by far the more robust ones, standard heads too."""
SIZES = " Critics of encoders have {critic_width} channels and a learning rate of {critic_lr:g}."
ENCODER = "Baseline-H"
# beta 0 maximises the normal information, 1 the worst-case one; the published code attacks through g(x') only
ENCODERS: dict[str, dict[str, Any]] = {
    "normal": {"beta": 0.0, "detach_input": True},
    "worst case": {"beta": 1.0, "detach_input": True},
}
NONE = "none: all of it supervised"
SUPERVISED = {ENCODER: "MLP", f"{ENCODER}, linear head": "linear"}  # networks and their heads

HEADS = {"standard": ("standard", "last"), "early stopped": ("standard", "best"), "robust": ("Madry", "last")}
HEADLINE = ("encoder under a robust MLP head", *QUANTITIES)
measure = None


def recipes(seed: int, data: str) -> Iterator[Recipe]:
    """Four heads on each encoder (the early-stopped ones are best checkpoints of the standard ones), and no encoder."""
    encoders = [Recipe("worst-case MI", ENCODER, seed, options) for options in ENCODERS.values()]
    yield from encoders
    for encoder in reversed(encoders):
        for head in ("MLP", "linear"):
            for method in ("standard", "Madry"):
                yield Recipe(method, head, seed, encoder=encoder)
    for network in SUPERVISED:
        yield from (Recipe(method, network, seed) for method in ("standard", "Madry"))


def section(rows: Rows) -> str:
    """The table as the paper prints it."""
    found = _found(rows)
    lines = []
    for encoder in (*ENCODERS, NONE):
        for kind in HEADS:
            of_heads = [found.get((encoder, kind, head)) for head in ("MLP", "linear")]
            if any(of_heads):
                values = [
                    cell(of_head, quantity, HEADS[kind][1]) if of_head else ""
                    for of_head in of_heads
                    for quantity in QUANTITIES
                ]
                lines.append([encoder, kind, *values])
    head = ["encoder", "head", *(f"{name}: {quantity}" for name in ("MLP", "linear") for quantity in QUANTITIES)]
    legend = (
        "Early stopped is the best checkpoint of the standard head by accuracy under attack on held-out images. Last "
        "and best checkpoints of every head:"
    )
    every = {
        f"{encoder}, {kind} {head}": same for (encoder, kind, head), same in found.items() if HEADS[kind][1] == "last"
    }
    return "\n\n".join([markdown_table(head, lines), legend, accuracy_table(every)])


def headline(rows: Rows) -> Iterator[list[str]]:
    """Robust MLP heads."""
    found = _found(rows)
    for encoder in (*ENCODERS, NONE):
        if same := found.get((encoder, "robust", "MLP")):
            yield [encoder, *(cell(same, quantity) for quantity in QUANTITIES)]


def figures(rows: Rows) -> dict[str, Figure]:
    """None: it is a table."""
    return {}


def _found(rows: Rows) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by encoder, kind of head and its form."""
    names = {options["beta"]: name for name, options in ENCODERS.items()}
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        setting = row["setting"]
        if setting["method"] == "worst-case MI":
            continue
        below = setting["encoder"]
        encoder = NONE if below is None else names[below["options"]["beta"]]
        for kind, (method, _) in HEADS.items():
            if method == setting["method"]:
                head = SUPERVISED[setting["network"]] if below is None else setting["network"]
                found.setdefault((encoder, kind, head), []).append(row)
    return found


def relations(rows: Rows) -> Iterator[Relation]:
    """What the paper reads from its table."""
    found = _found(rows)
    for quantity in QUANTITIES[1:]:
        for head in ("MLP", "linear"):
            worst, normal = (found.get((encoder, "robust", head)) for encoder in ("worst case", "normal"))
            if worst and normal:
                beyond = contrast([(1, worst), (-2, normal)], quantity)
                yield Relation(
                    f"robust {head} head: {quantity} on the worst-case encoder at least twice that on the normal one",
                    f"{mean(worst, quantity):.1f} against {mean(normal, quantity):.1f}, beyond twice {beyond}",
                    beyond.positive,
                )
        for head in ("MLP", "linear"):
            worst, supervised = found.get(("worst case", "robust", head)), found.get((NONE, "robust", head))
            if worst and supervised:
                within = contrast([(1, worst), (-1, supervised)], quantity, constant=10.0)
                yield Relation(
                    f"robust {head} head on the worst-case encoder within ten points of full supervision in {quantity}",
                    f"{mean(worst, quantity):.1f} against {mean(supervised, quantity):.1f}, beyond that {within}",
                    within.positive,
                )
        standard, normal = (found.get((encoder, "standard", "MLP")) for encoder in ("worst case", "normal"))
        if standard and normal:
            yield Relation(
                f"standard MLP head on the worst-case encoder far above zero in {quantity}: at least ten points",
                f"{mean(standard, quantity):.1f}, on the normal one {mean(normal, quantity):.1f}",
                contrast([(1, standard)], quantity, constant=-10.0).positive,
            )
