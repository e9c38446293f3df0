"""What is undone together is not divided: by an interrupt, as by Ctrl-C, or by another thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

WHOLE = frozenset(("__enter__", "enter_context", "__exit__", "__del__"))
DELAY, MOST = 0.001, 1000  # seconds, and how often
_turn = threading.RLock()


@contextmanager
def undivided() -> Iterator[None]:
    """Orderly interrupts, and one thread at a time: others that come here wait until this one has left.

    Modes and generators are of the whole process: two threads that change them would put back what the other one has
    changed. A thread that is inside may enter again; one that waits inside for a thread that wants to enter waits
    forever.
    """
    with orderly_interrupts(), _turn:
        yield


def _renew() -> None:
    """In a forked process the thread whose turn it was may not exist."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def orderly_interrupts() -> Iterator[None]:
    """While the context lasts, an interrupt waits, for a second at most, until nothing is being entered or left.

    Python raises `KeyboardInterrupt` between any two instructions of the main thread. Within a `with` that puts modes,
    hooks, gradients or generators back, torch's own included, some of them would stay as they were in the middle.
    Windows does without.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or not is_main or not callable(before) or isinstance(before, _Orderly):
        yield
        return
    signal.signal(signal.SIGINT, _Orderly(before))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Orderly:
    """Handler of a signal that comes again a little later where it must wait."""

    def __init__(self, before: Callable[[int, FrameType | None], Any]) -> None:
        self.before, self.waited = before, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.waited < MOST and _is_within(frame):
            self.waited += 1
            main = threading.main_thread().ident
            threading.Timer(DELAY, signal.pthread_kill, (main, number)).start()  # wakes it where it sleeps
        else:
            self.waited = 0
            self.before(number, frame)


def _is_within(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in WHOLE:
            return True
        frame = frame.f_back
    return False
