"""Splits of the samples: fit a critic on one part, select on a second, report on a third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from art_mi.rules import POSITIVE, SEED, Rule, check, integer

FRACTIONS = (0.6, 0.15, 0.25)
DISCRETE_SHARE = 0.05
SHARES: Rule = (
    "three positive numbers with sum 1",
    lambda v: isinstance(v, Sequence) and len(v) == 3 and all(map(POSITIVE[1], v)) and abs(sum(v) - 1) <= 1e-9,
)


@dataclass(frozen=True)
class Split:
    """Three disjoint sets of sample numbers, each in random order: neighbours are scored against each other.

    :param fit: Samples the critic is fitted on.
    :param select: Samples that choose when to stop and between critics.
    :param report: Samples the value is read on, and nothing else.
    """

    fit: Tensor
    select: Tensor
    report: Tensor


def split_samples(
    x: ArrayLike | Tensor, *, random_state: int, fractions: tuple[float, float, float] = FRACTIONS
) -> Split:
    """Split samples at random such that equal rows of `x` fall into the same part.

    Where fewer than a twentieth of the rows are distinct, `x` is a discrete variable, whose repetitions are samples of
    their own and not copies; they are then split freely.

    :param x: Samples of shape `(n, ...)`.
    :param random_state: Seed; global state is neither used nor changed.
    :param fractions: Shares of fit, select and report, positive with sum 1.
    :return: Disjoint index tensors that cover all samples.
    :raises ValueError: If an argument breaks its rule.
    """
    return cross_splits(x, random_state=random_state, fractions=fractions, nb_folds=1)[0]


def cross_splits(
    x: ArrayLike | Tensor,
    *,
    random_state: int,
    fractions: tuple[float, float, float] = FRACTIONS,
    nb_folds: int = 1,
) -> list[Split]:
    """Rotations of one random order of the samples, so that report splits are disjoint while `fractions` allow it.

    :param x: Samples of shape `(n, ...)`.
    :param random_state: Seed.
    :param fractions: Shares of fit, select and report of each fold, positive with sum 1.
    :param nb_folds: Number of folds.
    :return: One split per fold.
    :raises ValueError: If an argument breaks its rule.
    """
    check("fractions", fractions, SHARES)
    check("random_state", random_state, SEED)
    check("nb_folds", nb_folds, integer(1))
    rows = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if rows.ndim == 0 or rows.size == 0:
        raise ValueError(f"`x` must hold samples, got shape {rows.shape}.")
    rows = np.ascontiguousarray(rows.reshape(len(rows), -1))
    _, group, sizes = np.unique(
        rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(),
        return_inverse=True,
        return_counts=True,
    )
    if len(sizes) < DISCRETE_SHARE * len(rows):
        group, sizes = np.arange(len(rows)), np.ones(len(rows), dtype=int)
    order = np.random.default_rng(random_state).permutation(len(sizes))
    start = np.empty(len(sizes))
    start[order] = (np.cumsum(sizes[order]) - sizes[order]) / len(rows)
    position = start[group]
    splits = []
    for fold in range(nb_folds):
        turned = (position - fold * fractions[2]) % 1.0
        report, select = turned < fractions[2], turned >= 1.0 - fractions[1]
        parts = (~(report | select), select, report)
        # Shuffled: consecutive samples of a part are scored against each other, and data may come sorted by class.
        shuffle = np.random.default_rng((random_state, fold, 1))
        splits.append(Split(*(torch.from_numpy(shuffle.permutation(np.flatnonzero(part))) for part in parts)))
    return splits
