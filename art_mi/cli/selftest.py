"""`art-mi selftest`."""

from __future__ import annotations

import time

import numpy as np
from tqdm.auto import tqdm

from art_mi.distributions import problems
from art_mi.estimation import MIN_REPORT, estimate_mutual_information
from art_mi.rules import check, integer


def selftest(nb_samples: int = 10_000, random_state: int = 0, only: str | None = None, quiet: bool = False) -> None:
    """Estimate information where the truth is known and print truth, estimate and error.

    Args:
        nb_samples: Pairs of each problem.
        random_state: Seed.
        only: Keep the problems whose name contains this text.
        quiet: No progress bar.
    """
    check("nb_samples", nb_samples, integer(4 * MIN_REPORT))
    check("random_state", random_state, integer(0))
    chosen = [problem for problem in problems() if only is None or only in problem.name]
    if not chosen:
        raise ValueError(f"`only` must be part of a problem's name, got {only!r}.")
    print(f"{'problem':<28}{'truth':>9}{'estimate':>10}{'95 % interval':>20}{'error':>9}{'seconds':>9}")
    errors = []
    for problem in tqdm(chosen, leave=False, disable=quiet):
        x, z = problem.sample(nb_samples, random_state)
        started = time.monotonic()
        found = estimate_mutual_information(x, z, random_state=random_state)
        seconds = time.monotonic() - started
        low, high = found.confidence_interval
        errors.append(found.value - problem.mi)
        interval = f"[{low:.3f}, {high:.3f}]"
        tqdm.write(
            f"{problem.name:<28}{problem.mi:>9.4f}{found.value:>10.4f}{interval:>20}{errors[-1]:>+9.4f}{seconds:>9.1f}"
        )
    print(
        f"{len(errors)} problems: mean absolute error {np.abs(errors).mean():.4f} nats, "
        f"highest {max(errors):+.4f}, lowest {min(errors):+.4f} (lower bounds: expect errors below 0)"
    )
