"""Information of discrete codes: their entropy, and the least that an attacker who chooses among codes leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def entropy(counts: NDArray[np.integer]) -> float:
    """Plug-in entropy in nats of the distribution with these counts; zeros are allowed.

    Exact for the sample itself; as an estimate of the distribution's entropy biased down by about (K - 1) / 2n.

    :param counts: Non-negative counts of any shape with a positive sum.
    """
    p = np.asarray(counts, dtype=np.float64)
    p = p[p > 0] / p.sum()
    return float(-(p * np.log(p)).sum()) + 0.0


def miller_madow(counts: NDArray[np.integer]) -> float:
    """Entropy with Miller and Madow's first-order correction, (observed codes - 1) / 2n more than the plug-in, in nats.

    :param counts: Non-negative counts with a positive sum.
    """
    counts = np.asarray(counts)
    return entropy(counts) + (np.count_nonzero(counts) - 1) / (2 * int(counts.sum()))


@dataclass(frozen=True)
class Cover:
    """An assignment of samples to codes they can reach, of low entropy.

    :param assignment: Code of each sample, shape `(n,)`.
    :param entropy: Its entropy in nats: achieved, so the least possible is not above it.
    :param lower: What no assignment falls below, in nats.
    """

    assignment: NDArray[np.intp]
    entropy: float
    lower: float


def minimum_entropy_cover(reachable: NDArray[np.bool_], *, exact_up_to: int = 12) -> Cover:
    """Send every sample to a reachable code so that the entropy of the codes is least.

    An optimal assignment takes the codes in some order and gives each all samples still free that reach it, because
    moving mass from a lighter to a heavier code lowers the entropy. Over up to `exact_up_to` codes dynamic programming
    over the sets of codes already taken finds the best order. Beyond, the greedy order (largest first) is within 1 nat
    of it (Cardinal, Fiorini, Joret 2008, "Tight results on minimum entropy set cover"). Codes all of whose samples
    reach a common other one are not counted: joining two codes lowers the entropy.

    :param reachable: Which codes each sample can reach, shape `(n, K)`; every row holds at least one True.
    :param exact_up_to: Most codes for the exact search, whose cost is 2^K K.
    :raises ValueError: If a sample reaches no code.
    """
    reachable = np.asarray(reachable, dtype=bool)
    if not reachable.any(axis=1).all():
        raise ValueError("`reachable` must hold a code for every sample, got a row without any.")
    needed = _needed(reachable)
    n, k = len(reachable), len(needed)
    best_order = _best_order if k <= exact_up_to else _greedy_order
    order = needed[best_order(reachable[:, needed])]
    assignment = order[reachable[:, order].argmax(axis=1)]
    achieved = entropy(np.bincount(assignment))
    if k <= exact_up_to:
        return Cover(assignment, achieved, achieved)
    # No code holds more samples than reach it, so a sample's -log p is at least that of its most reached code.
    most = (reachable * reachable.sum(axis=0)).max(axis=1)
    floor = float(-np.log(most / n).mean())
    return Cover(assignment, achieved, min(achieved, max(0.0, achieved - 1.0, floor)))


def _needed(reachable: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Numbers of the codes whose samples do not all reach another one; of codes with equal samples the first."""
    sizes = reachable.sum(axis=0)
    needed = np.ones(len(sizes), dtype=bool)
    for code in np.lexsort((-np.arange(len(sizes)), sizes)):
        needed[code] = reachable[np.ix_(reachable[:, code], needed)].all(axis=0).sum() == 1  # itself
    return np.flatnonzero(needed)


def _greedy_order(reachable: NDArray[np.bool_]) -> list[int]:
    free = np.ones(len(reachable), dtype=bool)
    order: list[int] = []
    while free.any():
        order.append(int(reachable[free].sum(axis=0).argmax()))
        free &= ~reachable[:, order[-1]]
    return order


def _best_order(reachable: NDArray[np.bool_]) -> list[int]:
    n, k = reachable.shape
    masks, weights = np.unique(reachable @ (1 << np.arange(k)), return_counts=True)
    sets = np.arange(1 << k)
    left = np.zeros(1 << k)  # samples that reach nothing in the set
    for mask, weight in zip(masks, weights, strict=True):
        left[(sets & mask) == 0] += weight
    cost = np.full(1 << k, np.inf)
    cost[0] = 0.0
    last = np.zeros(1 << k, dtype=int)
    for taken in range(1, 1 << k):
        for code in range(k):
            before = taken & ~(1 << code)
            if before != taken:
                p = (left[before] - left[taken]) / n
                candidate = cost[before] - (p * math.log(p) if p > 0 else 0.0)
                if candidate < cost[taken]:
                    cost[taken], last[taken] = candidate, code
    order, taken = [], (1 << k) - 1
    while taken:
        order.append(int(last[taken]))
        taken &= ~(1 << int(last[taken]))
    return order[::-1]
