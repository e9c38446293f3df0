"""Fitting a critic: one loop for clean pairs and for pairs that an attack moves against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_mi.bounds import donsker_varadhan, split_pairs
from art_mi.critics import SumCritic
from art_mi.reading import block_scores, pooled, scores_by_block
from art_mi.rules import POSITIVE, SEED, check, integer
from art_mi.splits import Split

Perturb = Callable[[Tensor, nn.Module], tuple[Tensor, Tensor]]
Bound = Callable[[Tensor], Tensor]
Progress = Callable[[int, float], None]

WEIGHT_DECAY = 0.5
TRAINING = {"max_steps": integer(0), "batch_size": integer(2), "lr": POSITIVE, "patience": integer(1)}


@torch.enable_grad()
def fit_critic(
    critic: nn.Module,
    x: Tensor,
    z: Tensor,
    split: Split,
    *,
    bound: Bound = donsker_varadhan,
    max_steps: int = 200,
    batch_size: int = 512,
    lr: float = 1e-2,
    patience: int = 8,
    random_state: int = 0,
    perturb: Perturb | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Maximise a bound over a critic on the fit split, stop on the select split, and restore the best state.

    Adam with a short warm-up and cosine decay; what is validated and kept is the moving average of the weights.
    Worst-case alternation is the same loop with `perturb`. Scores of a :class:`~art_mi.critics.SumCritic` are bent
    where they claim more than the pairs of the select split show, and in the end scaled by the factor in [0, 1] that
    is best on that split. Whether it then reads more than noise is left to the caller.

    | Paper link: https://arxiv.org/abs/2002.11798 (section 4)

    :param critic: The critic; it is trained in place, on the device it is on.
    :param x: All samples, shape `(n, ...)`.
    :param z: All representations, shape `(n, d)`.
    :param split: Which samples to fit and to select on.
    :param bound: Function of scores to maximise, such as those of :mod:`art_mi.bounds`.
    :param max_steps: Largest number of steps; 0 leaves the critic as it is.
    :param batch_size: Pairs in a batch.
    :param lr: Largest learning rate.
    :param patience: Validations without improvement before stopping.
    :param random_state: Seed of the batches.
    :param perturb: `perturb(index, critic) -> (x, z)` gives the pairs to use for samples `index`; the default takes
        them from `x` and `z`.
    :param progress: Called with the step and the select value after each validation.
    :return: The same critic, in evaluation mode.
    :raises TypeError: If `critic` is no module or `split` no split.
    :raises ValueError: If a number breaks its rule.
    """
    if not isinstance(critic, nn.Module):
        raise TypeError(f"`critic` must be a torch module, got {type(critic).__name__}.")
    if not isinstance(split, Split):
        raise TypeError(f"`split` must be a Split, got {type(split).__name__}.")
    given = {"max_steps": max_steps, "batch_size": batch_size, "lr": lr, "patience": patience}
    for name, value in given.items():
        check(name, value, TRAINING[name])
    check("random_state", random_state, SEED)
    fit, select = split.fit.to(x.device), split.select.to(x.device)
    whole = critic
    if isinstance(critic, SumCritic) and max_steps > 0:
        critic.release()
    if perturb is None and isinstance(critic, SumCritic) and not _learns_features(critic):
        with torch.no_grad():
            critic, x, z = critic.on_features(), critic.x_features(x), critic.z_features(z)

    def pairs(index: Tensor) -> tuple[Tensor, Tensor]:
        return (x[index], z[index]) if perturb is None else perturb(index, critic)

    def validate() -> float:
        blocks = scores_by_block(critic, *pairs(select))
        return pooled(_bent(blocks, *supported(blocks)) if isinstance(critic, SumCritic) else blocks)[0]

    whole.eval()
    parameters = [p for p in critic.parameters() if p.requires_grad]
    if max_steps == 0 or not parameters:
        return whole
    average = [p.detach().clone() for p in parameters]
    best, best_value, waited = [p.clone() for p in average], validate(), 0
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, max_steps))
    every = max(1, min(25, max_steps // 4))
    batches = _batches(fit, batch_size, random_state)
    for step in range(1, max_steps + 1):
        x_batch, z_batch = pairs(next(batches))
        loss = -bound(block_scores(critic, x_batch, z_batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        scheduler.step()
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1.0 - min(0.98, step / (step + 10)))
        if step % every and step != max_steps:
            continue
        current = [p.detach().clone() for p in parameters]
        _load(parameters, average)
        value = validate()
        _load(parameters, current)
        if progress is not None:
            progress(step, value)
        if value > best_value:
            best, best_value, waited = [p.clone() for p in average], value, 0
        else:
            waited += 1
        if waited >= patience:
            break
    _load(parameters, best)
    optimizer.zero_grad()
    if isinstance(whole, SumCritic):
        blocks = scores_by_block(critic, *pairs(select))
        limits = supported(blocks)
        whole.limit(*limits, _best_factor(_bent(blocks, *limits)))
    return whole


@contextmanager
def progress_bar(description: str, max_steps: int, verbose: bool) -> Iterator[Progress]:
    """A bar for :func:`fit_critic` that shows the select value.

    :param description: What is fitted.
    :param max_steps: Largest number of steps.
    :param verbose: Whether to show it.
    """
    with tqdm(total=max_steps, desc=description, leave=False, disable=not verbose) as bar:

        def progress(step: int, value: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix_str(f"{value:.3f} nats")

        yield progress


def _learns_features(critic: SumCritic) -> bool:
    return any(True for side in (critic.x_features, critic.z_features) for _ in side.parameters())


def supported(blocks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores that claim ratios of densities of at most half the number of pairs, and at least its inverse.

    More is not seen on so many pairs: a ratio is to the partition, of which no two samples then hold more than half, as
    scores above are cut off in it too. Critics of a nearly injective map, or that start at a nearly singular Gaussian,
    claim ratios of e^100, and a single pair would decide what is read.

    :param blocks: Square score matrices of joint and independent pairs.
    :return: Lowest and highest such score.
    """
    either = torch.cat([_either_order(scores.double()) for scores in blocks])
    log_half, log_nb = math.log(max(len(either) / 2, 1.0)), math.log(len(either))
    low, high = either.amin(), either.amax()
    for _ in range(50):
        middle = (low + high) / 2
        above = middle > either.clamp(max=middle + log_half).logsumexp(0) - log_nb
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low - log_half, low + log_half


def _bent(blocks: Sequence[Tensor], low: Tensor, high: Tensor) -> list[Tensor]:
    return [SumCritic.bend(scores, low, high) for scores in blocks]


def _either_order(scores: Tensor) -> Tensor:
    """The larger score of x with the other's z, for every two samples: of similar ones both are large."""
    above = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return torch.maximum(scores, scores.mT)[above]


def _best_factor(blocks: Sequence[Tensor]) -> float:
    """The factor in [0, 1] with which scores are best: an over-fitted critic is too steep."""
    pairs = [split_pairs(scores.double()) for scores in blocks]
    joint = torch.cat([positives for positives, _ in pairs])
    independent = torch.cat([negatives.flatten() for _, negatives in pairs])
    factors = torch.linspace(0.0, 1.0, 21, dtype=torch.float64, device=joint.device)
    values = torch.stack([f * joint.mean() - (f * independent).logsumexp(0) for f in factors])
    return float(factors[int(values.argmax())])


def _schedule(step: int, max_steps: int) -> float:
    warm = min(1.0, (step + 1) / (0.1 * max_steps + 1))
    return warm * 0.5 * (1.0 + math.cos(math.pi * step / max_steps))


def _load(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _batches(index: Tensor, size: int, random_state: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(random_state)
    size = min(size, len(index))
    while True:
        order = index[torch.randperm(len(index), generator=generator).to(index.device)]
        yield from (batch for batch in order.split(size) if len(batch) == size)
