"""Rank correlations over models, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

RESAMPLES = 2000


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

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rho:.2f} [{low:.2f}, {high:.2f}]"


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
