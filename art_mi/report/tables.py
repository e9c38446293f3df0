"""Models side by side: rows of the comparison, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from textwrap import wrap

from art_mi.report.blocks import Row
from art_mi.report.cells import Cell, accuracy_cell, estimate_cell, measured_cell, percent_cell
from art_mi.report.folders import check_records
from art_mi.results import Flag, MIEstimate, ModelRecord, RepresentationVulnerability

LABEL_WIDTH, CELL_WIDTH = 24, 34  # two models fit 100 columns
WORST = "worst in the ball"
UPPER = "errs high: no attack is exhaustive"
GAP = "clean minus worst case; errs low"


def comparison_rows(records: Sequence[ModelRecord]) -> list[Row]:
    """Rows of the comparison, one cell a model, with the direction of each bias where all models share it.

    :param records: Models.
    :raises TypeError: If `records` holds anything but records.
    :raises ValueError: If it is empty, or two have the same name.
    """
    check_records(records)
    names = [record.name for record in records]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"`records` must have different names, got {twice!r} twice.")
    return [*_accuracies(records), *_information(records), _flags(records)]


def _accuracies(records: Sequence[ModelRecord]) -> list[Row]:
    found = [record.robustness.accuracies() if record.robustness else {} for record in records]
    if not any(found):
        return []
    names = dict.fromkeys(name for of_model in found for name in of_model if name != WORST)
    rows = [
        Row(name, tuple(accuracy_cell(of_model.get(name)) for of_model in found), (UPPER,) * marked, marked)
        for name, marked in (*((name, False) for name in names), (WORST, True))
    ]
    attacked = [result if result and result.nb_attacks else None for result in (r.robustness for r in records)]
    gaps = [Cell() if result is None else percent_cell(result.gap, result.gap_interval) for result in attacked]
    return [*rows, Row("adversarial gap", tuple(gaps), (GAP,))]


def _information(records: Sequence[ModelRecord]) -> list[Row]:
    results = [record.representation for record in records]
    present = [result for result in results if result is not None]
    if not present:
        return []

    def cells(show: Callable[[RepresentationVulnerability], Cell]) -> tuple[Cell, ...]:
        return tuple(Cell() if result is None else show(result) for result in results)

    def estimates(label: str, pick: Callable[[RepresentationVulnerability], MIEstimate], marked: bool) -> Row:
        notes = _shared([pick(result).bias for result in present])
        return Row(label, cells(lambda result: estimate_cell(pick(result))), notes, marked)

    return [
        estimates("normal information", lambda result: result.normal, False),
        estimates("worst-case information", lambda result: result.worst_case, False),
        estimates("vulnerability", lambda result: result.vulnerability, True),
        Row(
            "accuracy ceiling",
            cells(lambda result: percent_cell(result.accuracy_ceiling)),
            _shared([result.ceiling_direction for result in present]),
        ),
        Row(
            "accuracy measured there",
            cells(lambda result: measured_cell(result.measured_accuracy, result.normal.nb_samples)),
        ),
    ]


def _shared(words: Sequence[str]) -> tuple[str, ...]:
    """What all say, or where to look.

    :param words: Biases or directions.
    """
    return tuple(dict.fromkeys(words)) if len(set(words)) == 1 else ("differs between models, see below",)


def _flags(records: Sequence[ModelRecord]) -> Row:
    raised = [
        {flag for result in (record.robustness, record.representation) if result for flag in result.flags}
        for record in records
    ]
    return Row("flags", [Cell(", ".join(str(flag) for flag in Flag if flag in flags) or "none") for flags in raised])


def text_table(records: Sequence[ModelRecord]) -> str:
    """A terminal table that compares models, with the 95 % interval and the unit of every number that has them.

    Two models fit 100 columns.

    :param records: Models.
    :raises ValueError: If `records` is empty, or two have the same name.
    """
    rows = [(row.label, [str(cell) for cell in row.cells]) for row in comparison_rows(records)]
    rule = "-" * (LABEL_WIDTH + len(records) * (CELL_WIDTH + 2))
    body = [line for label, cells in rows for line in _lines(label, cells)]
    note = "Brackets: 95 % intervals, over samples only."
    return "\n".join([*_lines("", [record.name for record in records]), rule, *body, rule, note])


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
