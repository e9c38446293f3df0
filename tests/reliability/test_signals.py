"""Ctrl-C at any moment of a training, a metric or an attack leaves the classifier as it is documented, and usable."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from art_mi.bridge import evaluating
from art_mi.interrupts import orderly_interrupts

LINE = re.compile(r"(.+): (\d+) interrupts, wrong afterwards: (.*)")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """As in a terminal: what a shell runs behind it ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("each", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_an_interrupt_anywhere_leaves_everything_as_before(printed: Any, tally: Any, each: int) -> None:
    lines = [LINE.fullmatch(line) for line in printed("interrupts.py", each, 1)]
    found = {line[1]: (int(line[2]), line[3]) for line in lines if line is not None}
    assert len(found) == len(lines) == 18
    assert set(found.values()) == {(each, "nothing")}, found
    outcome = "modes, switches, hooks, generators, weights as documented; the same result afterwards"
    tally("The run", "Ctrl-C at random moments of trainings, metrics and attacks", 18 * each, outcome)


class Interrupted:
    """A context that is interrupted while it is left, in the middle."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.steps.append("first")
        signal.raise_signal(signal.SIGINT)
        self.steps.append("second")


def leave(context: Interrupted) -> None:
    with context:
        pass
    threading.Event().wait(60)  # ends by the interrupt


def test_what_is_being_left_is_left_before_an_interrupt_comes() -> None:
    before, context = signal.getsignal(signal.SIGINT), Interrupted()
    with pytest.raises(KeyboardInterrupt), orderly_interrupts():
        leave(context)
    assert context.steps == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        leave(context)
    assert context.steps == ["first", "second", "first"]  # as Python does it


def test_an_interrupt_elsewhere_comes_at_once_and_one_that_waits_comes_in_the_end() -> None:
    class Endless(Interrupted):
        def __exit__(self, *_: object) -> None:
            signal.raise_signal(signal.SIGINT)
            threading.Event().wait(60)

    with orderly_interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), Endless():
            pass


def test_handlers_of_others_are_asked_and_those_of_no_python_are_left() -> None:
    before, seen = signal.getsignal(signal.SIGINT), list[int]()
    try:
        signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
        with orderly_interrupts(), evaluating(torch.nn.Linear(1, 1)):
            signal.raise_signal(signal.SIGINT)
        assert seen == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with orderly_interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_handlers_alone() -> None:
    before, found = signal.getsignal(signal.SIGINT), list[Any]()

    def look() -> None:
        with orderly_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


WHILE_IMPORTING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, path=None, target=None, where=sys.argv[1]):
        if name == where:
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException:  # as packages do that try to import others
                pass
sys.meta_path.insert(0, Interrupting())
sys.argv[2:] = ["selftest", "--only", "erasure"]
"""


MODULE = "import runpy; sys.argv[1:2] = []; runpy.run_module('art_mi.cli', run_name='__main__')"
SCRIPT = "from art_mi.cli import main; sys.exit(main(sys.argv[2:]))"


@pytest.mark.parametrize("entry", [MODULE, SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize("package", ["jsonargparse", "torch", "art", "art_mi.cli.selftest"])
def test_an_interrupt_while_a_command_is_imported_is_one_line(package: str, entry: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", WHILE_IMPORTING + entry, package]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, "art-mi: interrupted\n", "")
