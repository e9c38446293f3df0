"""Run by `test_resume.py`: trains in child processes that are killed at random moments, until one gets to the end."""

from __future__ import annotations

import math
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


def version(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced."""
    found = path.stat() if path.exists() else None
    return (0, 0) if found is None else (found.st_ino, found.st_mtime_ns)


def life(case: Any, out: Path, result: Path, seconds: float) -> bool:
    """Train in a child until so many seconds after its first step; whether it got to the end."""
    last, changes, end = version(out / CHECKPOINT), 0, math.inf
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # its loader's workers are killed with it: an orphan would hold our output open
        train(case, out, result)
        os._exit(0)
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise RuntimeError(f"training failed with status {status}")
            return True
        if (now := version(out / CHECKPOINT)) != last:
            last, changes = now, changes + 1
            if changes == 2:  # the first is written before any step
                end = time.monotonic() + seconds
        time.sleep(0.001)
    os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not status


def main(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    for case in CASES:
        name = case.__name__
        whole, parts = folder / f"whole {name}.txt", folder / f"parts {name}.txt"
        begun = time.monotonic()
        life(case, folder / f"whole {name}", whole, math.inf)
        longest, lives = (time.monotonic() - begun) / 2, 0
        while lives < 3:  # of a run that was too quick for the pauses there is another, with shorter ones
            longest, lives, out = longest / 2, 1, folder / f"parts {name} {longest}"
            while not life(case, out, parts, draw.uniform(0, longest)):
                lives += 1
        print(name, lives, whole.read_bytes() == parts.read_bytes())


main(Path(sys.argv[1]), int(sys.argv[2]))
