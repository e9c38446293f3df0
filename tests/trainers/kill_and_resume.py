"""Run by `tests/reliability/test_run.py`: trains in child processes that are killed, until one gets to the end."""

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

CASES = (
    *(test_resume.standard, test_resume.loader_of_a_worker, test_resume.trades, test_resume.mart),
    *(test_resume.best_of_averages_and_plateau, test_resume.dale_by_batch),  # MIMAE, DALE
    *(test_resume.worst_case, test_resume.worst_case_below_tau),
)
CHECKPOINT, HISTORY = test_resume.CHECKPOINT, "history.csv"


def train(case: Any, out: Path, result: Path) -> None:
    """One life: go on where there is a checkpoint, and leave all that was trained if the end is reached."""
    resume_from = out if (out / CHECKPOINT).exists() else None
    trainer = test_resume.fit(Toy(), case, out=out, resume_from=resume_from, checkpoint_every=1)
    result.write_text(repr(test_resume.everything(trainer)), encoding="utf-8")


def life(case: Any, out: Path, result: Path, seconds: float) -> bool:
    """Train in a child for so many seconds; whether it got to the end."""
    end = time.monotonic() + seconds
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # its loader's workers are killed with it: an orphan would hold our output open
        train(case, out, result)
        os._exit(0)
    os.setpgid(child, child)  # in both, as either may be first
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise RuntimeError(f"training failed with status {status}")
            return True
        time.sleep(0.001)
    os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return not status


def progress(out: Path) -> bytes:
    """What tells whether a life has got further than the one before."""
    return (out / CHECKPOINT).read_bytes() if (out / CHECKPOINT).exists() else b""


def main(folder: Path, seed: int, nb_kills: int) -> None:
    draw = random.Random(seed)
    for case in CASES:
        name = case.__name__
        out, whole = folder / f"whole {name}", folder / f"whole {name}.txt"
        begun = time.monotonic()
        life(case, out, whole, math.inf)
        longest, kills, runs, resumed, alike = time.monotonic() - begun, 0, 0, 0, True
        while kills < nb_kills or not resumed:
            parts, result, runs, most = folder / f"{name} {runs}", folder / f"{name} {runs}.txt", runs + 1, longest
            before = progress(parts)
            while not life(case, parts, result, draw.uniform(0, most)):
                kills, resumed, after = kills + 1, resumed + (parts / CHECKPOINT).exists(), progress(parts)
                most = most if after != before else 1.5 * most  # the machine may have become slow
                before = after
            alike &= whole.read_bytes() == result.read_bytes()
            alike &= sorted(path.name for path in parts.iterdir()) == [CHECKPOINT, HISTORY]
            alike &= (out / HISTORY).read_bytes() == (parts / HISTORY).read_bytes()
        print(name, kills, resumed, runs, alike)


main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
