"""Rank correlations over models, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from experiments.tables import Row, Rows, correct

RESAMPLES = 2000
GRAIN = 0.01  # by which another seed of the resampling moves an end of an interval
FEWEST = 10  # models, below which resampling says nothing
SPLITS = 200


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho over models.

    :param rho: Its value.
    :param interval: Central 95 % under resampling of the models.
    :param nb_models: How many.
    """

    rho: float
    interval: tuple[float, float]
    nb_models: int

    def at_least(self, goal: float) -> bool | None:
        """Whether it reaches a goal; None where its interval is not clearly on one side, or is of too few models."""
        low, high = self.interval
        return None if self.of_few else True if low >= goal + GRAIN else False if high < goal - GRAIN else None

    @property
    def of_few(self) -> bool:
        """Whether the models are so few that the interval says nothing."""
        return self.nb_models < FEWEST

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rho:.2f} ({self.nb_models})" if self.of_few else f"{self.rho:.2f} [{low:.2f}, {high:.2f}]"


def correlation(
    x: Sequence[float], y: Sequence[float], groups: Sequence[str] | None = None, *, random_state: int = 0
) -> Correlation | None:
    """Spearman's rho of two quantities of the same models; None of fewer than three, or where one does not vary.

    :param x: One value a model.
    :param y: The same.
    :param groups: Where given, models are ranked among those of their group alone, and drawn again from it.
    :param random_state: Seed of the resampling.
    """
    one, other = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    names = np.asarray(["all"] * len(one) if groups is None else groups)
    parts = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
    if len(one) < 3:
        return None
    rng = np.random.default_rng(random_state)
    with np.errstate(invalid="ignore"):
        rho = float(_spearman([(one[part], other[part]) for part in parts]))
        if math.isnan(rho):
            return None
        drawn = [rng.choice(part, (RESAMPLES, len(part))) for part in parts]
        low, high = np.nanquantile(_spearman([(one[part], other[part]) for part in drawn]), (0.025, 0.975))
    return Correlation(rho, (float(low), float(high)), len(one))


def _spearman(parts: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Pearson's correlation of the ranks in each part along the last axis; NaN where one does not vary."""
    sums = np.zeros(())
    for x, y in parts:
        one, other = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1)))
        sums = sums + np.stack([(one * other).sum(-1), (one**2).sum(-1), (other**2).sum(-1)])
    both, of_one, of_other = sums
    found: NDArray[np.float64] = both / np.sqrt(of_one * of_other)
    return found


def lead(
    x: Sequence[float], rival: Sequence[float], y: Sequence[float], *, random_state: int = 0
) -> tuple[float, float, float] | None:
    """By how much x orders y better than a rival does: the difference of rhos, and its central 95 %.

    :param x: One value a model.
    :param rival: The same.
    :param y: The same.
    :param random_state: Seed of the resampling of models.
    :return: None of fewer than ten models, or where one does not vary.
    """
    values = np.array([x, rival, y], dtype=float)
    nb_models = values.shape[1]
    drawn = np.random.default_rng(random_state).integers(nb_models, size=(RESAMPLES, nb_models))
    with np.errstate(invalid="ignore"):
        ours, theirs = (
            np.append(_spearman([(one, values[2])]), _spearman([(one[drawn], values[2][drawn])])) for one in values[:2]
        )
        difference = ours - theirs
    if nb_models < FEWEST or np.isnan(difference[0]):
        return None
    low, high = np.nanquantile(difference[1:], (0.025, 0.975))
    return float(difference[0]), float(low), float(high)


def reliability(models: Sequence[Rows], quantity: str, less: str | None = None, *, random_state: int = 0) -> float:
    """Correlation to be expected of two rankings of models, each by accuracy on as many images as there are.

    From rankings on both halves of the images, on average over splits, by the formula of Spearman and Brown.

    :param models: Training runs of each, measured on the same images.
    :param quantity: The accuracy.
    :param less: One that is taken from it, on the same images.
    :param random_state: Seed of the splits.
    :return: NaN of fewer than three models.
    """
    if len(models) < 3:
        return math.nan
    answers = np.array([np.mean([_answers(run, quantity, less) for run in runs], 0) for runs in models])
    rng, found = np.random.default_rng(random_state), []
    for _ in range(SPLITS):
        one, other = np.array_split(rng.permutation(answers.shape[1]), 2)
        found.append(float(_spearman([(answers[:, one].mean(-1), answers[:, other].mean(-1))])))
    half = float(np.mean(found))
    return 2 * half / (1 + half)


def agreement(models: Sequence[Rows], quantity: str, less: str | None = None) -> float:
    """Rank correlation of models by an accuracy between two training runs of each, on average over pairs of seeds.

    :param models: Training runs of each, measured on the same images.
    :param quantity: The accuracy.
    :param less: One that is taken from it, on the same images.
    :return: NaN where there are fewer than three models of two seeds.
    """
    of_models = [{run["seed"]: float(_answers(run, quantity, less).mean()) for run in runs} for runs in models]
    seeds = sorted({seed for runs in of_models for seed in runs})
    found = []
    for pair in combinations(seeds, 2):
        both = np.array([[runs[seed] for seed in pair] for runs in of_models if runs.keys() >= set(pair)])
        if len(both) > 2:
            found.append(float(_spearman([(both[:, 0], both[:, 1])])))
    return float(np.mean(found)) if found else math.nan


def _answers(run: Row, quantity: str, less: str | None) -> NDArray[np.float64]:
    return correct(run, quantity) - (0 if less is None else correct(run, less))
