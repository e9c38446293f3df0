"""Training steps: our trainers against bare loops of the same methods, and against ART's own trainers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.methods import ART, BARE, OURS, TRAINERS, Task, variants
from benchmarks.nets import MNIST, RESNET18, SMALL, TINY
from benchmarks.timing import CLOCK, Row, Settings, interleaved

TO_BARE, TO_ART = 1.05, 0.75
LOST = (
    "what a step of 80 ms loses is spread: a copy of the images for each pass that ART's preprocessing stands for, the "
    "limits of the exact projection, the log odds in place of torch's fused cross-entropy, and what `fit` sets up"
)
NOTES = {"TRADES": "ART's attack climbs the cross-entropy", "Madry": "ART's attack in batches of that size too"}


def rows(settings: Settings) -> Iterator[Row]:
    """One epoch of each method; what `fit` sets up is included, in ART's as in ours."""
    for task in _tasks(settings):
        all_threads = replace(settings, threads=settings.threads[-1:])
        chosen = all_threads if task.net is RESNET18 else settings
        for method in TRAINERS:
            yield from _of(method, task, chosen)


def _of(method: str, task: Task, settings: Settings) -> Iterator[Row]:
    timed = variants(method, task)
    for times in interleaved(timed, settings):
        yield times.row(method, str(task), OURS, BARE, TO_BARE, cause=LOST if task.net is SMALL else CLOCK)
        if ART in timed:
            share = np.median(times.seconds[BARE]) / np.median(times.seconds[ART])
            cause = f"the bare loop itself takes {share:.2f} of ART's time on {_threads(times.threads)}"
            yield times.row(method, f"{task}; {NOTES[method]}", OURS, ART, TO_ART, cause=cause)


def _threads(number: int) -> str:
    return "one thread" if number == 1 else f"{number} threads"


def _tasks(settings: Settings) -> list[Task]:
    """ResNet-18 takes a smaller batch, all threads and one batch only, as it takes long on a CPU."""
    if settings.quick:
        return [Task(TINY, 1, 8, 2, settings.device)]
    device = settings.device
    return [Task(SMALL, 32, device=device), Task(MNIST, 1, device=device), Task(RESNET18, 1, 16, device=device)]
