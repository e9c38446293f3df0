"""Variants of the same work timed against each other: interleaved rounds, medians, ratios with intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Variant = Callable[[], object]
CLOCK = "by the clock of all cores, rounds of one and the same variant differ by more than the goal leaves room for"


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    :param rounds: Timed rounds of each variant, after one that does not count.
    :param threads: Numbers of threads of torch to run with.
    :param quick: The smallest sizes at which everything still runs: a smoke test, whose numbers mean nothing.
    :param device: Device of models and data.
    """

    rounds: int = 11
    threads: tuple[int, ...] = (1,)
    quick: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Row:
    """One measured ratio.

    :param work: What was done.
    :param setting: Sizes, and whatever else the number depends on.
    :param ours: Name of the variant that is judged.
    :param base: Name of the variant it is divided by.
    :param goal: The ratio to stay below, or above where `at_least`; None where there is none.
    :param ratio: Ratio of the medians.
    :param interval: Central 95 % of the ratio under a bootstrap of the rounds.
    :param medians: Seconds by variant, medians over the rounds.
    :param rounds: Number of rounds.
    :param threads: Threads of torch.
    :param clock: `"cpu"` for the process's own time, `"wall"` for that of the clock.
    :param at_least: Whether the goal is a least ratio.
    :param more: Other numbers that belong to the row.
    :param cause: What limits the number, shown where a goal was missed.
    """

    work: str
    setting: str
    ours: str
    base: str
    goal: float | None
    ratio: float
    interval: tuple[float, float]
    medians: Mapping[str, float]
    rounds: int
    threads: int
    clock: str
    at_least: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached, None where there is none."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal


@dataclass(frozen=True)
class Times:
    """Seconds of each round by variant.

    :param seconds: By variant, one entry a round.
    :param threads: Threads of torch.
    :param clock: `"cpu"` or `"wall"`.
    """

    seconds: Mapping[str, Sequence[float]]
    threads: int
    clock: str

    def row(self, work: str, setting: str, ours: str, base: str, goal: float | None, **rest: Any) -> Row:
        """The ratio of two variants; see :class:`Row`."""
        one, other = (np.asarray(self.seconds[name]) for name in (ours, base))
        drawn = np.random.default_rng(0).integers(0, len(one), (1000, len(one)))  # rounds are pairs
        ratios = np.median(one[drawn], 1) / np.median(other[drawn], 1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        return Row(
            work=work,
            setting=setting,
            ours=ours,
            base=base,
            goal=goal,
            ratio=float(np.median(one) / np.median(other)),
            interval=(float(low), float(high)),
            medians={name: float(np.median(values)) for name, values in self.seconds.items()},
            rounds=len(one),
            threads=self.threads,
            clock=self.clock,
            **rest,
        )


def interleaved(variants: Mapping[str, Variant], settings: Settings) -> Iterator[Times]:
    """Time variants round by round, once for each number of threads.

    Each round runs every variant once, beginning with another one each time. On one thread the process's own time
    counts, which other processes change little; on several, and off the CPU, that of the clock.

    :param variants: What to run, by name; what they prepare once is not theirs to time.
    :param settings: Rounds, threads and device.
    """
    names = list(variants)
    for threads in settings.threads:
        clock = "cpu" if threads == 1 and settings.device == "cpu" else "wall"
        seconds: dict[str, list[float]] = {name: [] for name in names}
        with torch_threads(threads):
            for name in names:
                variants[name]()
            for number in range(settings.rounds):
                start = number % len(names)
                for name in names[start:] + names[:start]:
                    seconds[name].append(elapsed(variants[name], clock, settings.device))
        yield Times(seconds, threads, clock)


def elapsed(variant: Variant, clock: str, device: str) -> float:
    """Seconds that a variant takes.

    :param variant: What to run.
    :param clock: `"cpu"` or `"wall"`.
    :param device: Waited for before and after, where it is not the CPU.
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    _synchronise(device)
    start = now()
    variant()
    _synchronise(device)
    return now() - start


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """That many threads of torch while the context lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
