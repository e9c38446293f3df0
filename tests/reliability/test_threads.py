"""Threads that measure at once take turns: the numbers of one after the other, and everything as before."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from art.estimators.classification import PyTorchClassifier

from art_mi.bridge import evaluating
from art_mi.interrupts import undivided
from art_mi.randomness import isolated_randomness, random_states
from tests.reliability.test_environment import CPU, MEASURES, assert_same, drawing, labels, samples

THREADS = 3
Job = Callable[[], Any]


def at_once(jobs: list[Job]) -> list[Any]:
    """What several threads give, which start together."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Job) -> Any:
        barrier.wait(60)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(300) for future in [pool.submit(run, job) for job in jobs]]


def modes(art: PyTorchClassifier) -> list[bool]:
    return [module.training for module in art.model.modules()] + [p.requires_grad for p in art.model.parameters()]


@pytest.fixture(autouse=True)
def hasty() -> Any:
    """Threads that change places often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("measure", "shared"),
    [(measure, shared) for measure in MEASURES for shared in (True, False) if not shared or measure != "training"],
)
def test_threads_give_the_numbers_of_one_after_the_other(measure: str, shared: bool, times: int, tally: Any) -> None:
    expected = MEASURES[measure](samples(), labels(), drawing)
    for _ in range(times):
        one = drawing()
        arts = [one if shared else drawing() for _ in range(THREADS)]
        arts[0].model[1].eval()
        arts[0].model[4].weight.requires_grad_(measure == "training")
        before, generators = [modes(art) for art in arts], str(random_states(CPU))
        found = at_once([partial(MEASURES[measure], samples(), labels(), lambda art=art: art) for art in arts])
        assert [modes(art) for art in arts] == before
        assert str(random_states(CPU)) == generators
        for numbers in found:
            assert_same(numbers, expected)
    of = "one classifier" if shared else "a classifier each"
    tally(
        "The environment",
        f"threads on {of}, for metrics, attacks and training",
        THREADS * times,
        "the same numbers, all as before",
    )


def test_a_thread_that_is_inside_enters_again_and_others_wait() -> None:
    model, entered, order = torch.nn.Linear(1, 1), threading.Event(), list[str]()

    def second() -> None:
        entered.wait(60)
        with isolated_randomness(1, CPU):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with evaluating(model), isolated_randomness(0, CPU), undivided():
        entered.set()
        thread.join(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_an_error_inside_lets_the_next_one_in() -> None:
    def fail() -> None:
        with undivided():
            raise OSError("on purpose")

    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="on purpose"):
        pool.submit(fail).result(60)
    with undivided():
        pass


@contextmanager
def another_thread_inside() -> Iterator[None]:
    """Another thread has its turn for as long as the context lasts."""
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with undivided():
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        inside.wait(60)
        yield
    finally:
        done.set()
        thread.join(60)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to threads")
def test_an_interrupt_ends_a_wait_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art_mi.interrupts.MOST", 10)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    try:
        with another_thread_inside():
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                undivided().__enter__()
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    with undivided():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_forked_while_another_thread_is_inside_has_a_turn_of_its_own() -> None:
    with another_thread_inside():
        child = multiprocessing.get_context("fork").Process(target=evaluating(torch.nn.Linear(1, 1)).__enter__)
        child.start()
        try:
            child.join(60)
            assert child.exitcode == 0
        finally:
            child.kill()
