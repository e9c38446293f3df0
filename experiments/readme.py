"""The README's tables of results, drawn from the files."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.page import counted, current, missing
from experiments.record import Record
from experiments.tables import markdown_table

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- python -m experiments page: begin -->", "<!-- python -m experiments page: end -->"
SHOWN = ("mimae", "table1", "figures12")


def readme(text: str, records: Iterable[Record]) -> str:
    """The README with the results there are.

    :param text: The README.
    :param records: One an experiment and data set.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    every = list(records)
    return "\n\n".join([before + BEGIN, *_tables(every), END + after])


def _tables(records: list[Record]) -> Iterator[str]:
    for name in SHOWN:
        module = importlib.import_module(f"experiments.{name}")
        lines = [
            [f"{record.data}, so far" if missing(record) else record.data, *line]
            for record in records
            if record.experiment == name and current(record)
            for line in module.headline(counted(record))
        ]
        if lines:
            yield f"{module.TITLE}:\n\n{markdown_table(['data', *module.HEADLINE], lines)}"
