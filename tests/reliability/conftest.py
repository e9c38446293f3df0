"""Counts of what was tried: `make test-slow` keeps them in `counts.json`, from which `docs/reliability.md` is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


def _of_trainers(name: str) -> ModuleType:
    """A module of `tests/trainers`, which holds what is small enough to train in milliseconds."""
    spec = spec_from_file_location(f"trainers_{name}", TRAINERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> Any:
    return _of_trainers("conftest").Toy()


@pytest.fixture(scope="session")
def runs() -> Any:
    """Cases of runs, and `fit` that trains one, with `everything` that it leaves behind."""
    return _of_trainers("test_resume")


@pytest.fixture(scope="session")
def trainers() -> Any:
    """All kinds of trainers."""
    return _of_trainers("test_base")


@pytest.fixture(scope="session")
def script() -> Callable[..., str]:
    """Run a script beside the tests, or in `tests/trainers`, in a process of its own, and give what it prints."""

    def run(path: str, *arguments: object, timeout: float = 3600) -> str:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TRAINERS.parents[1], TRAINERS)))}
        command = [sys.executable, str(HERE / path), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout)
        assert done.returncode == 0, done.stderr[-5000:]
        return done.stdout

    return run
