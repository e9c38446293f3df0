"""Bootstrap intervals from per-sample influences.

Every statistic here is a smooth function of means over samples, so that to first order resampling it is resampling the
mean of its influence values. That costs one pass whatever the statistic, has no bias from repeated pairs, and pairs two
estimates over the same samples: the replicates of their difference are the difference of their replicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


def bootstrap(
    value: float, influence: NDArray[np.float64], *, random_state: int, nb_bootstrap: int = 1000
) -> NDArray[np.float64]:
    """Replicates of an estimate under resampling of its samples.

    :param value: The estimate.
    :param influence: First-order influence of each sample, shape `(n,)`; its mean is taken out.
    :param random_state: Seed. Equal seeds and equal n give equal resamples.
    :param nb_bootstrap: Number of replicates.
    :return: Replicates of shape `(nb_bootstrap,)`.
    """
    n = len(influence)
    centred = influence - influence.mean()
    generator = np.random.default_rng(random_state)
    return np.array([value + centred[generator.integers(0, n, n)].mean() for _ in range(nb_bootstrap)])


def percentile_interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """Central 95 % interval of bootstrap replicates.

    :param replicates: Replicates of shape `(nb_bootstrap,)`.
    :return: Lower and upper end.
    """
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
