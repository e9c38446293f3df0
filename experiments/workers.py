"""Rows of an experiment, made one after the other or by several processes.

A module of its own: processes that are spawned import what they run by name, and a package's `__main__` has none.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from art_mi.datasets import load
from experiments.plan import Plan, Samples
from experiments.recipe import Recipe
from experiments.workshop import Measure, Workshop


def quiet() -> None:
    """Silence what ART and torch say of every model."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def workshop(plan: Plan, data: str, data_dir: Path, download: bool, folder: Path, device: str) -> Workshop:
    """Where models of a plan are made."""
    return Workshop(plan, Samples.of(load(data, data_dir, download=download), plan), folder, device)


def rows(
    opened: Callable[[], Workshop], measure: Measure | None, recipes: Sequence[Recipe], workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, in the order in which they are finished."""
    if workers == 1:
        made = opened()
        yield from ((number, made.row(recipe, measure)) for number, recipe in enumerate(recipes))
        return
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(threads, opened)) as pool:
        futures = {pool.submit(_row, recipe, measure): number for number, recipe in enumerate(recipes)}
        for future in as_completed(futures):
            yield futures[future], future.result()


_OF_WORKER: list[Workshop] = []


def _begin(threads: int, opened: Callable[[], Workshop]) -> None:
    """What a worker does once."""
    torch.set_num_threads(threads)
    quiet()
    _OF_WORKER.append(opened())


def _row(recipe: Recipe, measure: Measure | None) -> dict[str, Any]:
    return _OF_WORKER[0].row(recipe, measure)
