"""`art-mi selftest`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from tqdm.auto import tqdm

from art_mi.distributions import Problem, VulnerabilityProblem, problems, vulnerability_problems
from art_mi.estimation import MIN_REPORT, estimate_mutual_information
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.results import MIEstimate
from art_mi.rules import SEED, TEXT, check, integer, or_none

MOST_MOVED = 2000  # samples of a problem whose worst case is sought
ROUNDING = 1e-9  # nats: where a reading is exact, its interval is a point
Row = tuple[str, float, MIEstimate]  # name, truth, reading


def selftest(
    nb_samples: int = 10_000, random_state: int = 0, nb_seeds: int = 1, only: str | None = None, quiet: bool = False
) -> None:
    """Estimate information and vulnerability where the truth is known and print truth, estimate and error.

    Args:
        nb_samples: Pairs of each problem; where a worst case is sought, at most 2,000 inputs.
        random_state: Seed.
        nb_seeds: Number of seeds, from that one on.
        only: Keep the problems whose name contains this text.
        quiet: No progress bar.
    """
    check("nb_samples", nb_samples, integer(4 * MIN_REPORT))
    check("random_state", random_state, SEED)
    check("nb_seeds", nb_seeds, integer(1))
    check("only", only, or_none(TEXT))
    known = [problem for problem in problems() if only is None or only in problem.name]
    movable = [problem for problem in vulnerability_problems() if only is None or only in problem.name]
    if not known and not movable:
        raise ValueError(f"`only` must be part of a problem's name, got {only!r}.")
    seeds = range(random_state, random_state + nb_seeds)
    if known:
        rows = _table("problem", _estimated, known, seeds, nb_samples, quiet)
        print(_summary(rows, "problems", "lower bounds: expect errors below 0, and some intervals too"))
    if movable:
        rows = _table("normal and worst case", _measured, movable, seeds, min(nb_samples, MOST_MOVED), quiet)
        print(_summary(rows, "readings", "worst cases are high where the attack is weak"))


def _table(
    head: str,
    rows: Callable[[Any, int, int], list[Row]],
    chosen: Sequence[Problem | VulnerabilityProblem],
    seeds: range,
    nb_samples: int,
    quiet: bool,
) -> list[Row]:
    """Print and return the rows of all problems and seeds."""
    print(f"{head:<44}{'truth':>9}{'estimate':>10}{'95 % interval':>20}{'error':>9}{'seconds':>9}")
    table = []
    for problem, seed in tqdm(list(itertools.product(chosen, seeds)), leave=False, disable=quiet):
        started = time.monotonic()
        found = rows(problem, nb_samples, seed)
        seconds = (time.monotonic() - started) / len(found)
        table += found
        for name, truth, estimate in found:
            low, high = estimate.confidence_interval
            interval, error = f"[{low:.3f}, {high:.3f}]", estimate.value - truth
            tqdm.write(f"{name:<44}{truth:>9.4f}{estimate.value:>10.4f}{interval:>20}{error:>+9.4f}{seconds:>9.1f}")
    return table


def _estimated(problem: Problem, nb_samples: int, seed: int) -> list[Row]:
    x, z = problem.sample(nb_samples, seed)
    return [(problem.name, problem.mi, estimate_mutual_information(x, z, random_state=seed))]


def _measured(problem: VulnerabilityProblem, nb_samples: int, seed: int) -> list[Row]:
    dim_z, dim_x = problem.weight.shape
    linear = torch.nn.Linear(dim_x, dim_z)
    linear.weight.data = torch.tensor(problem.weight, dtype=torch.float32)
    linear.bias.data.fill_(problem.bias)
    classifier = PyTorchClassifier(linear, torch.nn.CrossEntropyLoss(), (dim_x,), max(2, dim_z), device_type="cpu")
    estimator = WorstCaseMIEstimator(**problem.settings, random_state=seed, verbose=False)
    found = estimator.evaluate(classifier, problem.sample(nb_samples, seed))
    return [
        (f"{problem.name}, normal", problem.normal, found.normal),
        (f"{problem.name}, worst case", problem.worst_case, found.worst_case),
    ]


def _summary(rows: list[Row], what: str, hint: str) -> str:
    errors = [estimate.value - truth for _, truth, estimate in rows]
    intervals = [(estimate.confidence_interval, truth) for _, truth, estimate in rows]
    held = sum(low - ROUNDING <= truth <= high + ROUNDING for (low, high), truth in intervals)
    return (
        f"{len(rows)} {what}: mean absolute error {np.abs(errors).mean():.4f} nats, "
        f"highest {max(errors):+.4f}, lowest {min(errors):+.4f}; "
        f"{held} of {len(rows)} intervals hold the truth ({hint})"
    )
