"""The comparison of models in words: a table for the terminal, its rows, and a one-sentence verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from textwrap import wrap
from typing import Protocol

from art_mi.results import Flag, MIEstimate, RepresentationVulnerability

MISSING = "-"
LABEL_WIDTH, CELL_WIDTH = 24, 34  # two models fit 100 columns
COMPARABLE = ("norm", "eps", "noise", "noise_std", "codes")
OVERLAP = "The 95 % intervals overlap, so no order of vulnerability can be claimed"
UNDERSTATING = {Flag.ZERO_GRADIENT, Flag.CONTRADICTION}


class Accuracy(Protocol):
    """Any object with an accuracy in [0, 1] and its 95 % interval."""

    @property
    def value(self) -> float:
        """Accuracy in [0, 1]."""

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """95 % interval, in [0, 1]."""


@dataclass(frozen=True)
class Cell:
    """One number as it is shown.

    :param text: The number, or words.
    :param interval: Its 95 % interval, empty where it has none.
    :param unit: `"nats"`, `"bits"`, `"%"` or empty.
    """

    text: str = MISSING
    interval: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.text, self.interval, self.unit) if part)


def number(value: float, decimals: int = 3) -> str:
    """A number with fixed decimals, without a negative zero.

    :param value: Any float; infinities are shown as such.
    :param decimals: Digits after the point.
    """
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def estimate_cell(estimate: MIEstimate) -> Cell:
    """An estimate of information with its interval.

    :param estimate: In any unit.
    """
    low, high = estimate.confidence_interval
    return Cell(number(estimate.value), f"[{number(low)}, {number(high)}]", estimate.unit)


def accuracy_cell(value: float | None, interval: tuple[float, float] | None = None) -> Cell:
    """An accuracy in per cent.

    :param value: Accuracy in [0, 1], or None where it was not measured.
    :param interval: 95 % interval in [0, 1] where there is one.
    """
    if value is None:
        return Cell()
    ends = "" if interval is None else f"[{number(100 * interval[0], 1)}, {number(100 * interval[1], 1)}]"
    return Cell(number(100 * value, 1), ends, "%")


def comparison_rows(
    results: Mapping[str, RepresentationVulnerability],
    accuracies: Mapping[str, Mapping[str, Accuracy]] | None = None,
) -> list[tuple[str, list[Cell]]]:
    """Rows of the comparison, one cell a model, in the order of `results`.

    :param results: Results by model.
    :param accuracies: Accuracies by model and by name, for instance `"clean accuracy"`.
    :raises ValueError: If `results` is empty, or `accuracies` names a model that `results` lacks.
    """
    if not results:
        raise ValueError("`results` must hold at least one model, got none.")
    given = accuracies or {}
    if unknown := [model for model in given if model not in results]:
        raise ValueError(f"`accuracies` must name models of `results` ({', '.join(results)}), got {unknown!r}.")
    rows = []
    for kind in dict.fromkeys(chain.from_iterable(given.values())):
        found = [given.get(model, {}).get(kind) for model in results]
        rows.append((kind, [Cell() if a is None else accuracy_cell(a.value, a.confidence_interval) for a in found]))
    every = list(results.values())
    return [
        *rows,
        ("normal information", [estimate_cell(result.normal) for result in every]),
        ("worst-case information", [estimate_cell(result.worst_case) for result in every]),
        ("vulnerability", [estimate_cell(result.vulnerability) for result in every]),
        ("accuracy ceiling", [accuracy_cell(result.accuracy_ceiling) for result in every]),
        ("accuracy measured there", [accuracy_cell(result.measured_accuracy) for result in every]),
        ("flags", [Cell(", ".join(map(str, result.flags)) or "none") for result in every]),
    ]


def text_table(
    results: Mapping[str, RepresentationVulnerability],
    accuracies: Mapping[str, Mapping[str, Accuracy]] | None = None,
) -> str:
    """A terminal table that compares models, with the 95 % interval and the unit of every number that has them.

    Two models fit 100 columns.

    :param results: Results by model.
    :param accuracies: Accuracies by model and by name, for instance `"clean accuracy"`.
    :raises ValueError: If `results` is empty, or `accuracies` names a model that `results` lacks.
    """
    rows = [(label, [str(cell) for cell in cells]) for label, cells in comparison_rows(results, accuracies)]
    rule = "-" * (LABEL_WIDTH + len(results) * (CELL_WIDTH + 2))
    body = [line for label, cells in rows for line in _lines(label, cells)]
    note = "Brackets: 95 % intervals, over samples only."
    return "\n".join([*_lines("", list(results)), rule, *body, rule, note])


def _lines(label: str, cells: list[str]) -> list[str]:
    """One row of the table as lines of fixed-width columns; what does not fit its column is wrapped."""
    widths = [LABEL_WIDTH, *[CELL_WIDTH] * len(cells)]
    columns = [wrap(_printable(text), width) for text, width in zip([label, *cells], widths, strict=True)]
    return [
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    ]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def verdict(results: Mapping[str, RepresentationVulnerability]) -> str:
    """One sentence that compares the models, and orders two of them only where their intervals do not overlap.

    A model whose attack is known to have failed (no gradient, or an accuracy above the ceiling) is never called the
    less vulnerable one, and models measured in different ways are not compared.

    :param results: Results by model.
    :raises ValueError: If `results` is empty.
    """
    if not results:
        raise ValueError("`results` must hold at least one model, got none.")
    unit = next(iter(results.values())).unit
    drops = {name: result.in_unit(unit).vulnerability for name, result in results.items()}
    doubtful = [name for name, result in results.items() if UNDERSTATING.intersection(result.flags)]
    doubt = f"; the flags of {_listed(doubtful)} say that more may be lost than was found" if doubtful else ""
    if len(drops) == 1:
        (name,) = drops
        lost = f"{_stated(drops[name])} of information (95 % interval in brackets)"
        return f"Under the worst perturbation found, the representation of {name} loses {lost}{doubt}."
    if differing := _differences(results):
        return f"The models were measured differently ({', '.join(differing)}), so they are not compared{doubt}."
    return f"{_order(drops, doubtful)}{doubt}."


def _order(drops: Mapping[str, MIEstimate], doubtful: list[str]) -> str:
    """What the intervals say about the order, without a model in doubt ever being the lesser one."""
    ordered = sorted(drops, key=lambda name: drops[name].value)
    ends = {name: drop.confidence_interval for name, drop in drops.items()}
    above = {name: [other for other in ordered if ends[name][1] < ends[other][0]] for name in ordered}
    claims = {name: others for name, others in above.items() if others and name not in doubtful}
    if not claims:
        reason = "No order of vulnerability is claimed" if any(above.values()) else OVERLAP
        return (
            f"{reason}: {', '.join(f'{name} loses {_stated(drop)}' for name, drop in drops.items())} (95 % intervals)"
        )
    said = "; ".join(
        f"the representation of {name} loses less information than that of {_listed(o)}" for name, o in claims.items()
    )
    numbers = (
        f": {' against '.join(_stated(drops[name]) for name in ordered)} (95 % intervals)" if len(drops) == 2 else ""
    )
    every = sum(map(len, claims.values())) == math.comb(len(drops), 2)
    return f"Under the worst perturbations found, {said}{numbers}{'' if every else '; no other order is claimed'}"


def _differences(results: Mapping[str, RepresentationVulnerability]) -> list[str]:
    """Names of the settings in which the measurements differ, as far as they make them incomparable."""
    ways = [{"method": result.method, **result.settings} for result in results.values()]
    return [name for name in ("method", *COMPARABLE) if len({str(way.get(name)) for way in ways}) > 1]


def _stated(drop: MIEstimate) -> str:
    cell = estimate_cell(drop)
    return f"{cell.text} {cell.unit} {cell.interval}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
