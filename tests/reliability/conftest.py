"""Counts of what was tried: `make test-slow` keeps them in `counts.json`, from which `docs/reliability.md` is drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Tally = Callable[[str, str, int, str], None]
KEEP = "ART_MI_COUNTS"  # the file to keep counts in
_counted: list[dict[str, Any]] = []


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Say of a test that passes what was tried, how often, and what came of it: `tally(area, what, count, outcome)`."""

    def say(area: str, what: str, count: int, outcome: str) -> None:
        record_property("tally", json.dumps({"area": area, "what": what, "count": count, "outcome": outcome}))

    return say


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Reports of all processes come to the first one."""
    if report.when == "call" and report.passed:
        _counted.extend(json.loads(str(value)) for name, value in report.user_properties if name == "tally")


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if KEEP in os.environ and not hasattr(session.config, "workerinput"):
        failed = session.testsfailed
        kept = {"tests": session.testscollected, "failed": failed, "counts": sorted(_counted, key=lambda c: str(c))}
        Path(os.environ[KEEP]).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
