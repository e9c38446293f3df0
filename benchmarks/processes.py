"""Two processes against one at the same total batch; run as a module it is what each of the two does.

Both processes are started once. Rounds of both together, of one alone, and of each on its own at the same time follow
one another; the last shows what the machine would give to two that need not talk to each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning_fabric import Fabric

import art_mi
from benchmarks import methods
from benchmarks.methods import Task
from benchmarks.nets import MNIST, TINY
from benchmarks.timing import Row, Settings, Times

LEAST = 1.7
TOGETHER, ALONE, APART = "two processes", "one process", "two processes apart"


def rows(settings: Settings) -> Iterator[Row]:
    """One row: images a second of two processes over those of one."""
    task, times = _task(settings.quick), _times(settings)
    setting = f"{task} in all, one thread a process"
    row = times.row("Madry, images a second", setting, ALONE, TOGETHER, LEAST, at_least=True)
    most = 2 * np.median(times.seconds[ALONE]) / np.median(times.seconds[APART])
    cause = f"two processes that do not talk to each other reach {most:.2f} on this machine"
    yield replace(row, ours=TOGETHER, base=ALONE, cause=cause, more={"ratio of two that do not talk": float(most)})


def _task(quick: bool) -> Task:
    return Task(TINY, 2, 8, 2) if quick else Task(MNIST, 8)


def _times(settings: Settings) -> Times:
    """Start the two processes and read what the first has measured."""
    paths = [str(Path(module.__file__ or "").parents[1]) for module in (art_mi, methods)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with TemporaryDirectory() as folder:
        found = Path(folder) / "seconds.json"
        launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        run = [*launch, "-m", "benchmarks.processes", str(settings.rounds), str(int(settings.quick)), str(found)]
        ran = subprocess.run(run, env=env, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"The two processes failed:\n{ran.stderr[-3000:]}")
        return Times(json.loads(found.read_text(encoding="utf-8")), threads=1, clock="wall")


def measure(rounds: int, quick: bool, out: Path) -> None:
    """What each of the two processes runs.

    :param rounds: Timed rounds.
    :param quick: The smallest sizes.
    :param out: Where the first writes seconds by variant.
    """
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    task, first = _task(quick), fabric.global_rank == 0
    together = methods.ours(methods.trainer("Madry", task, fabric=fabric), task)
    own = methods.ours(methods.trainer("Madry", task), task)
    variants: dict[str, Callable[[], object]] = {
        TOGETHER: together,
        ALONE: own if first else lambda: None,
        APART: own,
    }
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):  # the first does not count
        start = number % len(names)
        for name in names[start:] + names[:start]:
            taken = _between_barriers(fabric, variants[name])
            if number >= 0:
                seconds[name].append(taken)
    if first:
        out.write_text(json.dumps(seconds), encoding="utf-8")
    fabric.barrier()


def _between_barriers(fabric: Fabric, variant: Callable[[], object]) -> float:
    """Seconds until both processes are done."""
    fabric.barrier()
    start = time.perf_counter()
    variant()
    fabric.barrier()
    return time.perf_counter() - start


if __name__ == "__main__":
    measure(int(sys.argv[1]), sys.argv[2] == "1", Path(sys.argv[3]))
