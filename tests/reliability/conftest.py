"""Counts of what was tried: `make test-slow` keeps them in `counts.json`, from which `docs/reliability.md` is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.conftest import Toy

HERE = Path(__file__).parent
TRAINERS = HERE.with_name("trainers")
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


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def started() -> Callable[..., subprocess.Popen[str]]:
    """Starts a script beside the tests, or in `tests/trainers`, from where it may import."""

    def start(script: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join(map(str, (HERE.parents[1], TRAINERS)))
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    return start


@pytest.fixture(scope="session")
def printed(started: Callable[..., subprocess.Popen[str]]) -> Callable[..., list[str]]:
    """Lines that such a script prints, which must end well and in time."""

    def run(script: str, *arguments: object, seconds: float = 3600, **variables: str) -> list[str]:
        with started(script, *arguments, **variables) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            finally:
                process.kill()
        assert process.returncode == 0, err[-5000:]
        return out.splitlines()

    return run
