"""Command line: `art-mi demo | estimate | evaluate | train | report | selftest`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

INTERRUPTED = 130, "art-mi: interrupted\n"


def main(args: list[str] | None = None) -> int:
    """Entry point; an error is one line, and a traceback only where `--debug` asks for it.

    :param args: Command line without the program's name.
    :return: Exit status: 2 after an error the user can mend, 1 after any other, 130 after Ctrl-C.
    """
    try:
        with _interrupts_at_once():
            from art_mi.cli.commands import run  # takes seconds, in which Ctrl-C may come
        return run(sys.argv[1:] if args is None else args)
    except KeyboardInterrupt:
        status, said = INTERRUPTED
        sys.stderr.write(said)
        return status


@contextmanager
def _interrupts_at_once() -> Iterator[None]:
    """Ctrl-C ends the process: packages that are being imported may swallow a KeyboardInterrupt, or break by it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(*_: Any) -> NoReturn:
    status, said = INTERRUPTED
    os.write(2, said.encode())
    os._exit(status)
