"""The page of counts says what the last run of all of it counted."""

from __future__ import annotations

import json

from tests.reliability.page import COUNTS, PAGE, drawn, table

AREAS = {
    *("Left as found", "The environment", "The input", "The number", "The perturbation", "The run", "The security"),
}


def test_the_page_is_drawn_from_the_counts() -> None:
    record = json.loads(COUNTS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert drawn(text, record) == text
    assert record["failed"] == 0
    assert {count["area"] for count in record["counts"]} == AREAS


def test_equal_outcomes_are_added_and_of_others_the_largest_is_shown() -> None:
    def count(what: str, times: int, outcome: str) -> dict[str, object]:
        return {"area": "The run", "what": what, "count": times, "outcome": outcome}

    counts = [count("kills", 2, "fine"), count("intervals", 20, "90%"), count("kills", 3000, "fine")]
    record = {"tests": 1234, "failed": 0, "counts": [*counts, count("intervals", 200, "95%")]}
    lines = table(record).splitlines()
    assert lines[0] == "1,234 tests, 0 failed."
    assert lines[-2:] == ["| intervals | 200 | 95% |", "| kills | 3,002 | fine |"]
