"""Rank correlations over models, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from experiments.tables import Rows, correct

RESAMPLES = 2000
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
        """Whether it reaches a goal; None where its interval has values on both sides."""
        low, high = self.interval
        return True if low >= goal else False if high < goal else None

    def __str__(self) -> str:
        low, high = self.interval
        of_few = self.nb_models < FEWEST
        return f"{self.rho:.2f} ({self.nb_models})" if of_few else f"{self.rho:.2f} [{low:.2f}, {high:.2f}]"


def correlation(x: Sequence[float], y: Sequence[float], *, random_state: int = 0) -> Correlation | None:
    """Spearman's rho of two quantities of the same models; None of fewer than three, or where one does not vary.

    :param x: One value a model.
    :param y: The same.
    :param random_state: Seed of the resampling.
    """
    one, other = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    index = np.random.default_rng(random_state).integers(len(one), size=(RESAMPLES, len(one)))
    with np.errstate(invalid="ignore"):
        drawn = _spearman(one[index], other[index])
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    rho = float(_spearman(one[None], other[None])[0])
    return Correlation(rho, (float(low), float(high)), len(one))


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation of the ranks along the last axis; NaN where one does not vary."""
    ranks = [rankdata(values, axis=-1) for values in (x, y)]
    centred = [part - part.mean(-1, keepdims=True) for part in ranks]
    product = (centred[0] * centred[1]).sum(-1)
    found: NDArray[np.float64] = product / np.sqrt((centred[0] ** 2).sum(-1) * (centred[1] ** 2).sum(-1))
    return found


def reliability(rows: Rows, quantity: str, *, random_state: int = 0) -> float:
    """Correlation to be expected of two rankings of models, each by accuracy on as many images as there are.

    From rankings on both halves of the images, on average over splits, by the formula of Spearman and Brown.

    :param rows: One a model, measured on the same images.
    :param quantity: The accuracy.
    :param random_state: Seed of the splits.
    """
    answers = np.array([correct(row, quantity) for row in rows])
    rng, found = np.random.default_rng(random_state), []
    for _ in range(SPLITS):
        one, other = np.array_split(rng.permutation(answers.shape[1]), 2)
        found.append(_spearman(answers[None, :, one].mean(-1), answers[None, :, other].mean(-1))[0])
    half = float(np.mean(found))
    return 2 * half / (1 + half)
