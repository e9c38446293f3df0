"""Reading bounds off a fitted critic: in squares of pairs, with bootstrap replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi.bounds import BOUNDS, split_pairs
from art_mi.critics import Critic
from art_mi.rules import SEED, check, check_type, integer, one_of


def block_scores(
    critic: nn.Module, x: Tensor, z: Tensor, size: int | None = None, *, x_side: Tensor | None = None
) -> Tensor:
    """Scores of consecutive squares of pairs, a stack every bound accepts, at a cost linear in the number of samples.

    :param critic: A critic.
    :param x: Shape `(n, ...)`.
    :param z: Shape `(n, d)`.
    :param size: Side of the squares, at most n; by default the critic's `train_block`. Where it does not divide n, the
        last square reaches back into the one before it.
    :param x_side: The critic's x side where it was computed before; `x` then gives no more than the number of samples.
    :return: Scores of shape `(ceil(n / size), size, size)`.
    """
    n = len(x)
    size = min(n, size or getattr(critic, "train_block", 512))
    rows = torch.arange(size, device=x.device)
    starts = torch.arange(0, n, size, device=x.device).clamp(max=n - size)
    index = starts[:, None] + rows
    if isinstance(critic, Critic):
        kept = critic.x_side(x) if x_side is None else x_side
        return critic.scores(kept[index], critic.z_side(z)[index])
    return torch.stack([critic(x[i], z[i]) for i in index])


@dataclass(frozen=True)
class BoundReading:
    """Bounds read on report pairs.

    :param values: Value in nats by the name of the bound.
    :param replicates: Bootstrap replicates by the name of the bound, each of shape `(nb_bootstrap,)`.
    :param nb_negatives: Negatives of each joint pair, in the largest block.
    """

    values: dict[str, float]
    replicates: dict[str, NDArray[np.float64]]
    nb_negatives: int


def scores_by_block(critic: nn.Module, x: Tensor, z: Tensor) -> list[Tensor]:
    """Scores of nearly equal squares of pairs that cover the samples once, without gradients.

    :param critic: A critic.
    :param x: Shape `(n, ...)`.
    :param z: Shape `(n, d)`.
    :return: Square score matrices of at most the critic's `block_size`.
    """
    size = getattr(critic, "block_size", 512)
    index = torch.arange(len(x), device=x.device).tensor_split(math.ceil(len(x) / size))
    with torch.no_grad():
        if isinstance(critic, Critic):
            x_side, z_side = critic.x_side(x), critic.z_side(z)
            return [critic.scores(x_side[i], z_side[i]) for i in index]
        return [critic(x[i], z[i]) for i in index]


def pooled_bound(critic: nn.Module, x: Tensor, z: Tensor) -> tuple[float, float]:
    """Value and log partition of the Donsker-Varadhan bound, negatives pooled over blocks.

    :param critic: A critic.
    :param x: Shape `(n, ...)`.
    :param z: Shape `(n, d)`.
    """
    return pooled(scores_by_block(critic, x, z))


def pooled(blocks: Sequence[Tensor]) -> tuple[float, float]:
    """See :func:`pooled_bound`, of squares of scores.

    :param blocks: As :func:`scores_by_block` gives them.
    """
    positives, partitions, total = [], [], 0
    for scores in blocks:
        joint, independent = split_pairs(scores.double())
        positives.append(joint)
        partitions.append(independent.flatten().logsumexp(0))
        total += independent.numel()
    log_partition = float(torch.stack(partitions).logsumexp(0)) - math.log(total)
    return float(torch.cat(positives).mean()) - log_partition, log_partition


def read_bound(
    critic: nn.Module,
    x: Tensor,
    z: Tensor,
    index: Tensor,
    *,
    bounds: Sequence[str] = ("donsker_varadhan", "nwj", "info_nce"),
    nb_bootstrap: int = 1000,
    random_state: int = 0,
    log_partition: float = 0.0,
) -> BoundReading:
    """Read bounds on report pairs, with a bootstrap over pairs.

    Pairs are scored in squares of the critic's `block_size`, all off-diagonal entries being negatives, so that time is
    linear and memory flat in the number of pairs. A resample draws counts w; its partition is w' E w without a sample
    against itself, while `info_nce` resamples its terms and keeps their negatives. Equal seeds and equal numbers of
    pairs give equal counts: the difference of the replicates of two readings is a paired bootstrap of their difference.

    :param critic: The fitted critic.
    :param x: All samples, shape `(n, ...)`.
    :param z: All representations, shape `(n, d)`.
    :param index: Report samples.
    :param bounds: Names of the bounds to read.
    :param nb_bootstrap: Number of replicates.
    :param random_state: Seed of the counts.
    :param log_partition: Constant taken off the scores for `nwj`, from samples other than those reported.
    :return: Values and replicates in nats.
    :raises ValueError: If a bound is unknown.
    """
    check_type("bounds", bounds, list | tuple, "a sequence of names")
    for name in bounds:
        check("bounds", name, one_of(BOUNDS))
    check("nb_bootstrap", nb_bootstrap, integer(1))
    check("random_state", random_state, SEED)
    n = len(index)
    if n < 2:
        raise ValueError(f"`index` must hold at least 2 samples, got {n}.")
    counts = np.random.default_rng(random_state).multinomial(n, np.full(n, 1 / n), size=nb_bootstrap).T
    # The first column is the sample itself, so that values and replicates come out of the same arithmetic
    weights = torch.from_numpy(np.hstack([np.ones((n, 1)), counts])).to(device=x.device, dtype=torch.float64)
    index = index.to(x.device)
    sums = _Sums(weights.shape[1], x.device)
    start = 0
    blocks = scores_by_block(critic, x[index], z[index])
    for scores in blocks:
        sums.add(scores, weights[start : start + len(scores)])
        start += len(scores)
    read = sums.read(log_partition)
    return BoundReading(
        {name: float(read[name][0]) for name in bounds},
        {name: read[name][1:].cpu().numpy().astype(np.float64) for name in bounds},
        max(map(len, blocks)) - 1,
    )


class _Sums:
    """Weighted sums over blocks of scores, from which every bound is read."""

    def __init__(self, nb: int, device: torch.device) -> None:
        self.positives, self.nce, self.pairs, self.samples = (
            torch.zeros(nb, dtype=torch.float64, device=device) for _ in range(4)
        )
        self.log_partition = torch.full((nb,), -math.inf, dtype=torch.float64, device=device)

    def add(self, scores: Tensor, weights: Tensor) -> None:
        shift = scores.amax()
        exponential = (scores - shift).exp()
        joint = scores.diagonal().double()
        exponential.fill_diagonal_(0.0)
        rows = (exponential @ weights.to(scores.dtype)).double()
        self.positives += joint @ weights
        self.samples += weights.sum(0)
        self.pairs += weights.sum(0).square() - weights.square().sum(0)
        partition = (weights * rows).sum(0).clamp(min=1e-300).log() + shift.double()
        self.log_partition = torch.logaddexp(self.log_partition, partition)
        log_mean = scores.double().logsumexp(1) - math.log(len(scores))
        self.nce += (joint - log_mean) @ weights

    def read(self, offset: float) -> dict[str, Tensor]:
        positives, log_partition = self.positives / self.samples, self.log_partition - self.pairs.log()
        return {
            "donsker_varadhan": positives - log_partition,
            "nwj": positives - offset - (log_partition - offset).exp() + 1.0,
            "info_nce": self.nce / self.samples,
        }
