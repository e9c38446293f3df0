"""Draw the table of `docs/reliability.md` from `counts.json`: `python tests/reliability/page.py`."""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

COUNTS = Path(__file__).with_name("counts.json")
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"


def table(record: dict[str, Any]) -> str:
    """What was tried, by area.

    :param record: As `conftest.py` keeps it.
    """
    lines = [f"{record['tests']:,} tests, {record['failed']} failed."]
    for area, counts in groupby(sorted(record["counts"], key=itemgetter("area", "what")), key=itemgetter("area")):
        rows = [_row(what, list(same)) for what, same in groupby(counts, key=itemgetter("what"))]
        lines += [f"\n## {area}\n", "| tried | times | what came of it |", "|---|---|---|", *rows]
    return "\n".join(lines)


def _row(what: str, counts: list[dict[str, Any]]) -> str:
    """All of one kind together, or where they came out differently the most that were tried at once."""
    largest = max(counts, key=itemgetter("count"))
    alike = len({count["outcome"] for count in counts}) == 1
    times = sum(count["count"] for count in counts) if alike else largest["count"]
    return f"| {what} | {times:,} | {largest['outcome']} |"


def drawn(text: str, record: dict[str, Any]) -> str:
    """The page with its table anew.

    :param text: The page.
    :param record: As `conftest.py` keeps it.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(record)}\n\n{END}{after}"


if __name__ == "__main__":
    found = json.loads(COUNTS.read_text(encoding="utf-8"))
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
