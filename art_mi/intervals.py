"""Bootstrap intervals from per-sample influences.

Every statistic here is a smooth function of means over samples, so that to first order resampling it is resampling the
mean of its influence values. That costs one pass whatever the statistic, has no bias from repeated pairs, and pairs two
estimates over the same samples: the replicates of their difference are the difference of their replicates.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
PART = 16384  # samples that are resampled together: their influences stay in the cache


def bootstrap(
    value: float, influence: NDArray[np.float64], *, random_state: int, nb_bootstrap: int = 1000
) -> NDArray[np.float64]:
    """Replicates of an estimate under resampling of its samples.

    Of many samples each replicate first draws how many come from each of nearly equal parts, then those from the parts:
    the same distribution, from numbers that lie together in memory. The cost is linear in n.

    :param value: The estimate.
    :param influence: First-order influence of each sample, shape `(n,)`; its mean is taken out.
    :param random_state: Seed. Equal seeds and equal n give equal resamples.
    :param nb_bootstrap: Number of replicates.
    :return: Replicates of shape `(nb_bootstrap,)`.
    """
    n = len(influence)
    parts = np.array_split(influence - influence.mean(), math.ceil(n / PART))
    generator = np.random.default_rng(random_state)
    sizes = generator.multinomial(n, [len(part) / n for part in parts], size=nb_bootstrap)
    drawn = (
        [part[generator.integers(0, len(part), k)].sum() for part, k in zip(parts, row, strict=True)] for row in sizes
    )
    return np.array([value + sum(sums) / n for sums in drawn])


def percentile_interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """Central 95 % interval of bootstrap replicates.

    :param replicates: Replicates of shape `(nb_bootstrap,)`.
    :return: Lower and upper end.
    """
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
