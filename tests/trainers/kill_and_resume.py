"""Run by `test_resume.py`: trains in child processes that are killed at random moments, until one gets to the end."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import test_resume
from conftest import Toy

CASES = (test_resume.loader_of_a_worker, test_resume.worst_case_below_tau)
CHECKPOINT = test_resume.CHECKPOINT


def train(case: Any, out: Path, result: Path) -> None:
    """One life: go on where there is a checkpoint, and leave all that was trained if the end is reached."""
    resume_from = out if (out / CHECKPOINT).exists() else None
    trainer = test_resume.fit(Toy(), case, out=out, resume_from=resume_from, checkpoint_every=1)
    result.write_text(repr(test_resume.everything(trainer)), encoding="utf-8")


def life(case: Any, out: Path, result: Path, seconds: float | None) -> bool:
    """Train in a child, for so many seconds at most; whether it got to the end."""
    child = os.fork()
    if child == 0:
        train(case, out, result)
        os._exit(0)
    begun = time.monotonic()
    while seconds is None or time.monotonic() < begun + seconds:
        pid, status = os.waitpid(child, os.WNOHANG if seconds is not None else 0)
        if pid:
            if status:
                raise RuntimeError(f"training failed with status {status}")
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not status


def main(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    for case in CASES:
        name = case.__name__
        whole, parts = folder / f"whole {name}.txt", folder / f"parts {name}.txt"
        begun = time.monotonic()
        life(case, folder / f"whole {name}", whole, None)
        seconds, lives = time.monotonic() - begun, 1
        while not life(case, folder / f"parts {name}", parts, draw.uniform(0, 0.6) * seconds):
            lives += 1
        print(name, lives, whole.read_bytes() == parts.read_bytes())


main(Path(sys.argv[1]), int(sys.argv[2]))
