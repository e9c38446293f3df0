"""Estimating mutual information: split, fit a critic, read a bound on pairs that had no part in fitting it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from art_mi.bounds import BOUNDS
from art_mi.copula import copula_critic
from art_mi.critics import Critic, SumCritic, mean_critic
from art_mi.fitting import TRAINING, fit_critic, progress_bar
from art_mi.randomness import shifted
from art_mi.reading import BoundReading, block_scores, pooled_bound, read_bound, scores_by_block
from art_mi.results import UNITS, Flag, MIEstimate
from art_mi.rules import BOOLEAN, SEED, Rule, check, check_type, integer, one_of
from art_mi.splits import FRACTIONS, Split, cross_splits, split_samples

__all__ = [
    "BoundReading",
    "Split",
    "block_scores",
    "cross_splits",
    "default_critic",
    "estimate_mutual_information",
    "fit_critic",
    "read_bound",
    "split_samples",
]

MIN_REPORT = 100
FULL_REPORT = 1000
RULES: dict[str, Rule] = {
    "bound": one_of(BOUNDS),
    "unit": one_of(UNITS),
    "nb_folds": integer(1, 4),
    "nb_seeds": integer(1),
    "nb_bootstrap": integer(1),
    "random_state": SEED,
    "verbose": BOOLEAN,
    **TRAINING,
}
CROSS_FRACTIONS = (0.68, 0.07, 0.25)
BIAS = (
    "low by what the critic misses, which the interval does not cover, and 0 where no dependence was significant on "
    "the select splits; Donsker-Varadhan is read slightly high on few pairs; of a deterministic continuous "
    "representation the true information is infinite and this is what the critic class resolves"
)


def default_critic(
    x: ArrayLike | Tensor, z: ArrayLike | Tensor, index: Tensor, *, seed: int = 0, residual: str | None = None
) -> Critic:
    """The critic that estimates use by default: Gaussian-copula start plus a network residual.

    :param x: All samples, shape `(n, ...)`.
    :param z: All representations, shape `(n, d)` or `(n,)`.
    :param index: Samples its preprocessing and start are fitted on.
    :param seed: Seed of its initial weights.
    :param residual: `"separable"`, `"joint"` or `"both"`; by default joint for vectors of up to
        64 columns, separable otherwise.
    :return: The critic, unfitted, on the device of `x`.
    :raises ValueError: If `index` is empty or `residual` unknown.
    """
    check("seed", seed, SEED)
    check_type("index", index, Tensor, "a tensor")
    if len(index) == 0:
        raise ValueError("`index` must hold samples, got none.")
    x_tensor, z_tensor = _tensor(x), _tensor(z)
    x_fit, z_fit = (side[index.to(side.device)].cpu().double().numpy() for side in (x_tensor, z_tensor))
    z_fit = z_fit.reshape(len(z_fit), -1)
    if residual is None:
        narrow = max(x_fit[0].size, z_fit[0].size) <= 64
        residual = "joint" if narrow else "separable"
    return copula_critic(x_fit, z_fit, residual=residual, seed=seed).to(x_tensor.device)


def _tensor(values: ArrayLike | Tensor) -> Tensor:
    tensor = values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    tensor = tensor.to(torch.float32)
    return tensor[:, None] if tensor.ndim == 1 else tensor


@torch.inference_mode(False)
def estimate_mutual_information(
    x: ArrayLike | Tensor,
    z: ArrayLike | Tensor,
    *,
    critic: nn.Module | None = None,
    bound: str = "donsker_varadhan",
    split: Split | None = None,
    nb_folds: int = 4,
    nb_seeds: int = 1,
    max_steps: int = 200,
    batch_size: int = 512,
    lr: float = 1e-2,
    patience: int = 8,
    nb_bootstrap: int = 1000,
    unit: str = "nats",
    random_state: int = 0,
    device: str | torch.device | None = None,
    verbose: bool = False,
) -> MIEstimate:
    """Estimate I(X; Z) from samples by a lower bound read on held-out pairs.

    A critic is fitted on one part of the samples, stopped on a second, read on a third, in turns such that every
    sample is in one report part. Each reading is a lower bound in expectation, up to Donsker-Varadhan's bias on few
    pairs, and their mean has the sampling error of all samples. The interval is that error, of the bound and not of the
    information: it lies below I(X; Z) where the critics miss much.
    If Z is a deterministic continuous function of X the true information is infinite, and the value says how much the
    critic class resolves.

    | Paper link: https://arxiv.org/abs/1801.04062

    >>> import numpy as np
    >>> from art_mi import estimate_mutual_information
    >>> pair = np.random.default_rng(0).multivariate_normal([0, 0], [[1.0, 0.9], [0.9, 1.0]], 1000)
    >>> estimate = estimate_mutual_information(pair[:, 0], pair[:, 1], max_steps=20)
    >>> abs(estimate.value - 0.8304) < 0.1  # the truth is 0.8304 nats
    True

    :param x: Samples of shape `(n, ...)`, numbers of any type.
    :param z: Representations of shape `(n, d)` or `(n,)`.
    :param critic: Module `(x, z) -> scores (n, n)` to train in place on one split; by default one of
        :func:`.default_critic` per fold and seed.
    :param bound: Bound to read: `"donsker_varadhan"`, `"nwj"` or `"info_nce"`.
    :param split: Split to use, once; by default `nb_folds` splits of 68, 7 and 25 percent.
    :param nb_folds: Number of splits, with 4 of which every sample is reported once.
    :param nb_seeds: Critics per split, whose scores are averaged before the bound.
    :param max_steps: Largest number of training steps of each critic.
    :param batch_size: Pairs in a batch.
    :param lr: Largest learning rate.
    :param patience: Validations without improvement before stopping.
    :param nb_bootstrap: Bootstrap replicates.
    :param unit: `"nats"` or `"bits"`.
    :param random_state: Seed of everything; global state is neither used nor changed.
    :param device: Device to compute on; by default that of `x`.
    :param verbose: Show progress bars.
    :return: The estimate with its 95 % interval, other bounds on the same pairs, and flags.
    :raises ValueError: If shapes, values, names or sizes do not allow an estimate.
    :raises TypeError: If `x` or `z` are not numeric.
    """
    x_all, z_all = _checked(x, "x"), _checked(z, "z")
    _check(x_all, z_all)
    training: dict[str, Any] = {"max_steps": max_steps, "batch_size": batch_size, "lr": lr, "patience": patience}
    given = {"bound": bound, "unit": unit, "nb_folds": nb_folds, "nb_seeds": nb_seeds, "nb_bootstrap": nb_bootstrap}
    for name, value in {**given, **training, "random_state": random_state, "verbose": verbose}.items():
        check(name, value, RULES[name])
    if not isinstance(critic, nn.Module | None):
        raise TypeError(f"`critic` must be a torch module, got {type(critic).__name__}.")
    if not isinstance(split, Split | None):
        raise TypeError(f"`split` must be a Split, got {type(split).__name__}.")
    if device is not None:
        try:
            device = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"`device` must be a device of torch, got {device!r}.") from error
        x_all = x_all.to(device)
    z_all = z_all.to(x_all.device)
    if split is not None or critic is not None:
        nb_folds = 1
    fractions = FRACTIONS if critic is not None else CROSS_FRACTIONS
    splits = (
        cross_splits(x_all, random_state=random_state, fractions=fractions, nb_folds=nb_folds)
        if split is None
        else [split]
    )
    smallest = min(len(s.report) for s in splits)
    if smallest < MIN_REPORT:
        raise ValueError(f"`x` must leave at least {MIN_REPORT} report pairs, got {smallest}.")
    critics = [
        _fitted(critic, x_all, z_all, part, nb_seeds, shifted(random_state, 1000 * fold), training, verbose)
        for fold, part in enumerate(splits)
    ]
    if max_steps > 0:
        _silence_noise(critics, x_all, z_all, splits)
    readings, fit_values = [], []
    for fold, (fitted, part) in enumerate(zip(critics, splits, strict=True)):
        select = part.select.to(x_all.device)
        log_partition = pooled_bound(fitted, x_all[select], z_all[select])[1]
        readings.append(
            read_bound(
                fitted,
                x_all,
                z_all,
                part.report,
                nb_bootstrap=nb_bootstrap,
                random_state=shifted(random_state, fold),
                log_partition=log_partition,
            )
        )
        sample = part.fit[: len(part.report)].to(x_all.device)
        fit_values.append(pooled_bound(fitted, x_all[sample], z_all[sample])[0])
    settings = {**training, "nb_folds": len(splits), "nb_seeds": nb_seeds, "bound": bound}
    return _estimate(splits, readings, fit_values, bound, random_state, settings).in_unit(unit)


def _fitted(
    critic: nn.Module | None,
    x: Tensor,
    z: Tensor,
    split: Split,
    nb_seeds: int,
    seed: int,
    training: dict[str, Any],
    verbose: bool,
) -> nn.Module:
    def fit(one: nn.Module, seed: int) -> nn.Module:
        with progress_bar("fit a critic", training["max_steps"], verbose) as progress:
            return fit_critic(one, x, z, split, random_state=seed, progress=progress, **training)

    if critic is not None:
        return fit(critic.to(x.device), seed)
    seeds = [shifted(seed, k) for k in range(nb_seeds)]
    critics = [default_critic(x, z, split.fit, seed=s) for s in seeds]
    for one, s in zip(critics, seeds, strict=True):
        fit(one, s)
    return mean_critic(critics)


def _silence_noise(critics: list[nn.Module], x: Tensor, z: Tensor, splits: list[Split]) -> None:
    """Make the critics constant if what they read on the select splits, taken together, is noise.

    On independent variables any critic but a constant one is read below zero. By itself a fold has few select pairs and
    would miss weak dependence. Those of one fold are report pairs of another, so that each reading has a part in this
    one decision; the most it can add to the expectation is its value where chance alone passes for dependence.
    """
    value, variance = 0.0, 0.0
    for critic, split in zip(critics, splits, strict=True):
        select = split.select.to(x.device)
        joint = torch.cat([scores.diagonal() for scores in scores_by_block(critic, x[select], z[select])]).double()
        value += pooled_bound(critic, x[select], z[select])[0]
        variance += float(joint.var()) / len(joint)
    if not value > 1.64 * math.sqrt(variance):
        for critic in critics:
            if isinstance(critic, SumCritic):
                critic.factor.zero_()


def _checked(values: ArrayLike | Tensor, name: str) -> Tensor:
    if not isinstance(values, Tensor):
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"`{name}` must be numeric, got dtype {array.dtype}.")
        kind = np.dtype(np.float32) if array.dtype.kind in "ub" else array.dtype.newbyteorder("=")
        values = torch.from_numpy(array.astype(kind))  # a copy: torch warns of arrays that cannot be written to
    if values.ndim == 0 or values.is_complex():
        raise ValueError(f"`{name}` must be real of shape (n, ...), got shape {tuple(values.shape)} of {values.dtype}.")
    tensor = _tensor(values)
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"`{name}` must be finite in float32, got NaN or infinity.")
    return tensor if tensor.ndim in (2, 4) and (tensor.ndim == 2 or min(tensor.shape[2:]) >= 4) else tensor.flatten(1)


def _check(x: Tensor, z: Tensor) -> None:
    if z.ndim != 2:
        raise ValueError(f"`z` must have shape (n, d) or (n,), got {tuple(z.shape)}.")
    if len(x) != len(z):
        raise ValueError(f"`x` and `z` must have equal length, got {len(x)} and {len(z)}.")
    for name, values in (("x", x), ("z", z)):
        if len(values) == 0 or bool((values == values[:1]).all()):
            raise ValueError(f"`{name}` must not be constant, got {len(values)} equal rows.")


def _estimate(
    splits: list[Split],
    readings: list[BoundReading],
    fit_values: list[float],
    bound: str,
    random_state: int,
    settings: dict[str, Any],
) -> MIEstimate:
    sizes = np.array([len(s.report) for s in splits], dtype=float)
    share = sizes / sizes.sum()
    values = {name: float(share @ [r.values[name] for r in readings]) for name in readings[0].values}
    most, nb_report = math.log(sizes.min()), int(sizes.sum())
    excess = float(share @ fit_values) - values["donsker_varadhan"]
    # No n samples can show more than O(log n) with confidence (https://arxiv.org/abs/1811.04251); log n is the cut-off
    # here, and a lower bound that is cut off stays one. InfoNCE ends at the logarithm of its block.
    values = {name: min(other, most) for name, other in values.items()}
    replicates = np.minimum(share @ np.stack([r.replicates[bound] for r in readings]), most)
    ceiling = min(most, math.log(max(r.nb_negatives for r in readings) + 1)) if bound == "info_nce" else most
    value, fit_value = values[bound], float(share @ fit_values)
    low, high = np.quantile(replicates, [0.025, 0.975])
    high = math.inf if value >= ceiling else high
    flags = {
        Flag.SATURATED: value > 0.8 * ceiling,
        # More than a tenth of a nat or a quarter of the fitted value, and more than sampling explains
        Flag.CRITIC_OVERFIT: excess > max(0.1, 0.25 * fit_value, 4.0 * float(replicates.std())),
        Flag.NEGATIVE: value < -1e-9,
        Flag.UNDERSAMPLED: nb_report < FULL_REPORT,
    }
    return MIEstimate(
        value=value,
        confidence_interval=(float(low), float(high)),
        estimator=bound,
        bias=BIAS,
        nb_samples=nb_report,
        random_state=random_state,
        ceiling=ceiling,
        bounds={name: other for name, other in values.items() if name != bound},
        flags=tuple(flag for flag, raised in flags.items() if raised),
        settings={**settings, "fit_value_nats": fit_value},
        replicates=replicates,
    )
