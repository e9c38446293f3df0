"""Information without a critic: representations seen through noise of known density, Z = g(X) + sigma N.

A deterministic representation of a continuous input carries infinitely many nats, or log n on n samples, attacked or
not. Noise makes the question finite, and since its density is known the answer is bounded from both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from art_mi.rules import POSITIVE, Rule, check, check_type, integer, one_of

SAMPLES: Rule = "of shape (n, d) with n at least 1", lambda v: v.ndim == 2 and len(v) > 0
RATIO: Rule = "of shape (n, n), or of some samples (m, n), with n at least 2", lambda v: v.ndim == 2 and v.shape[1] > 1


def _check_shape(name: str, value: Tensor, rule: Rule) -> None:
    wording, holds = rule
    check_type(name, value, Tensor, "a tensor")
    if not holds(value):
        raise ValueError(f"`{name}` must be {wording}, got shape {tuple(value.shape)}.")


def gaussian_parts(z: Tensor, draws: Iterable[Tensor], nb_rows: int | None = None) -> tuple[Tensor, list[Tensor]]:
    """The log density ratios of a channel that adds standard normal noise, in a part for all draws and one for each.

    `log p(z_i + e_i | x_j) - log p(z_i + e_i | x_i) = -|z_i - z_j|^2 / 2 - (z_i - z_j) e_i`: still + tilt(e). Opposite
    draws have opposite tilts, and noise s times as strong divides still by s^2 and tilt by s.

    :param z: Representations in units of the noise's standard deviation, shape `(n, d)`.
    :param draws: Draws e of the noise, each of shape `(n, d)`.
    :param nb_rows: Only the first so many samples i, where draws have as many rows; all by default.
    :return: Still `(nb_rows, n)`, minus infinity on the diagonal, and the tilts `(nb_rows, n)`.
    """
    _check_shape("z", z, SAMPLES)
    z = z - z.mean(0)  # differences only: centring keeps the squares small, so that little cancels
    halves = -z.square().sum(1) / 2
    rows = z[:nb_rows]
    still = torch.addmm(halves[:nb_rows, None] + halves, rows, z.T)
    if not still.requires_grad:
        still.clamp_(max=0)  # of equal samples it is what rounding leaves, of either sign
    still.fill_diagonal_(-math.inf)
    return still, [torch.addmm(-(rows * draw).sum(1, keepdim=True), draw, z.T) for draw in draws]


def gaussian_ratios(z: Tensor, draws: Iterable[Tensor]) -> Iterator[Tensor]:
    """Log density ratios of a channel that adds standard normal noise, for each draw and its opposite.

    Opposite draws cancel the first-order effect of the noise on a mean, and on the gradient of an attack.

    :param z: Representations in units of the noise's standard deviation, shape `(n, d)`.
    :param draws: Draws e of the noise, each of shape `(n, d)`.
    :return: For e, then for -e: log p(z_i + e_i | x_j) - log p(z_i + e_i | x_i), shape `(n, n)`. The sample's own, 0,
        is left out: minus infinity on the diagonal.
    """
    still, tilts = gaussian_parts(z, draws)
    for tilt in tilts:
        yield still + tilt
        yield still - tilt


def uniform_ratios(z: Tensor, draws: Iterable[Tensor]) -> Iterator[Tensor]:
    """The ratios of a channel that adds independent uniform noise of standard deviation 1: zero or minus infinity.

    They have no gradient; an attack climbs the Gaussian ones.

    :param z: Representations in units of the noise's standard deviation, shape `(n, d)`.
    :param draws: Draws e of the noise, each of shape `(n, d)`.
    :return: For e, then for -e: ratios of shape `(n, n)`, minus infinity on the diagonal.
    """
    _check_shape("z", z, SAMPLES)
    for signed in (sign * draw for draw in draws for sign in (1, -1)):
        apart = torch.eye(len(z), dtype=torch.bool, device=z.device)
        for here, moved in zip(z.T, (z + signed).T, strict=True):
            apart |= (moved[:, None] - here).abs() > math.sqrt(3)
        yield torch.zeros(apart.shape, dtype=z.dtype, device=z.device).masked_fill_(apart, -math.inf)


RATIOS = {"gaussian": gaussian_ratios, "uniform": uniform_ratios}


def lower_bound(ratios: Tensor) -> Tensor:
    """Per-sample terms whose mean is the information of the channel fed by the n samples themselves.

    log n - log sum_j exp(ratio_ij), the sample included. In expectation a lower bound of the information of the channel
    under the samples' distribution, at most log n.

    | Paper link: https://arxiv.org/abs/1905.06922 (equation 12 with the known conditional as its critic)

    >>> import torch
    >>> from art_mi.channels import lower_bound
    >>> far_apart = torch.full((4, 4), -torch.inf)  # no sample can be taken for another
    >>> lower_bound(far_apart)  # log 4
    tensor([1.3863, 1.3863, 1.3863, 1.3863])

    :param ratios: Log density ratios to the others, shape `(n, n)`, or of some samples `(m, n)`; minus infinity on the
        diagonal.
    :return: Terms of shape `(n,)` or `(m,)` in nats.
    """
    _check_shape("ratios", ratios, RATIO)
    return math.log(ratios.shape[1]) - _with_own(ratios.logsumexp(1))


def upper_bound(ratios: Tensor) -> Tensor:
    """Per-sample terms whose mean is, in expectation, an upper bound of the information of the channel.

    log(n - 1) - log sum_{j != i} exp(ratio_ij): the marginal is estimated without the sample itself.

    | Paper link: https://arxiv.org/abs/1905.06922 (equation 13)

    >>> import torch
    >>> from art_mi.channels import upper_bound
    >>> alike = torch.zeros(4, 4).fill_diagonal_(-torch.inf)  # all samples are the same
    >>> abs(float(upper_bound(alike).mean())) < 1e-6
    True

    :param ratios: Log density ratios to the others, shape `(n, n)` with n at least 2, minus infinity on the diagonal.
    :return: Terms of shape `(n,)` in nats.
    """
    _check_shape("ratios", ratios, RATIO)
    return _upper(ratios.logsumexp(1))


def label_information(ratios: Tensor, y: Tensor) -> Tensor:
    """Per-sample terms whose mean is I(Y; Z) of the channel fed by the n samples themselves.

    log p(z_i | y_i) - log p(z_i), both as mixtures over the samples.

    >>> import torch
    >>> from art_mi.channels import label_information
    >>> far_apart = torch.full((4, 4), -torch.inf)
    >>> label_information(far_apart, torch.tensor([0, 0, 1, 1]))  # log 2
    tensor([0.6931, 0.6931, 0.6931, 0.6931])

    :param ratios: Log density ratios to the others, shape `(n, n)`, minus infinity on the diagonal.
    :param y: Index labels of shape `(n,)`.
    :return: Terms of shape `(n,)` in nats.
    """
    _check_shape("ratios", ratios, RATIO)
    check_type("y", y, Tensor, "a tensor")
    if y.shape != ratios.shape[:1]:
        raise ValueError(f"`y` must hold one label a row of `ratios`, got {tuple(y.shape)} for {len(ratios)} rows.")
    same = y[:, None] == y
    return _label(ratios.masked_fill(~same, -math.inf).logsumexp(1), ratios.logsumexp(1), same.sum(1))


def _lower(others: Tensor) -> Tensor:
    return math.log(len(others)) - _with_own(others)


def _upper(others: Tensor) -> Tensor:
    return math.log(len(others) - 1) - others


def _label(within: Tensor, others: Tensor, count: Tensor) -> Tensor:
    return _with_own(within) - count.to(within.dtype).log() + _lower(others)


def _with_own(others: Tensor) -> Tensor:
    """Log of a sum over the others and the sample itself, whose own ratio is 0."""
    return torch.logaddexp(others, torch.zeros_like(others))


def draw_noise(kind: str, shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Independent noise of mean 0 and standard deviation 1.

    :param kind: `"gaussian"` or `"uniform"`.
    :param shape: Shape of the draw.
    :param generator: Source of randomness on the device of `like`.
    :param like: Tensor that gives dtype and device.
    :raises ValueError: If `kind` is neither.
    """
    check("kind", kind, one_of(RATIOS))
    if kind == "uniform":
        draw = torch.rand(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)
        return math.sqrt(3) * (2 * draw - 1)
    return torch.randn(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Moments:
    """First two moments of representations; those of two sets of samples add up to those of both.

    | Paper link: https://doi.org/10.1080/00031305.1983.10483115

    :param n: Number of samples.
    :param mean: Mean of each coordinate, shape `(d,)`, float64.
    :param variance: Variance of each coordinate, the mean square of what it differs from its mean, shape `(d,)`.
    """

    n: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Moments:
        """Those of representations `(n, d)`.

        :param z: Representations of shape `(n, d)`.
        """
        _check_shape("z", z, SAMPLES)
        z = z.double()
        return cls(len(z), z.mean(0), z.var(0, correction=0))

    def __add__(self, other: Moments) -> Moments:
        n = self.n + other.n
        here, there = self.n / n, other.n / n
        apart = other.mean - self.mean
        variance = here * self.variance + there * other.variance + here * there * apart.square()
        return Moments(n, self.mean + there * apart, variance)

    @property
    def overall_std(self) -> float:
        """Root mean square over the coordinates of their standard deviations."""
        return float(self.variance.mean().sqrt())


def overall_std(z: Tensor) -> float:
    """Root mean square over the coordinates of their standard deviations.

    >>> import torch
    >>> from art_mi.channels import overall_std
    >>> round(overall_std(torch.tensor([[0.0, 0.0], [2.0, 0.0]])), 4)  # root of the mean of 1 and 0
    0.7071

    :param z: Representations of shape `(n, d)`.
    """
    return Moments.of(z).overall_std


@dataclass(frozen=True)
class ChannelReading:
    """What a noisy channel lets through: means over the samples and the first-order influence of each.

    :param lower: Lower bound in nats.
    :param upper: Upper bound in nats.
    :param lower_influence: Influence on `lower`, shape `(n,)`.
    :param upper_influence: Influence on `upper`, shape `(n,)`.
    :param ceiling: What `lower` cannot exceed: the mean over the samples of the log of their block's size.
    :param label: I(Y; Z) in nats within the blocks, where labels were given.
    :param label_entropy: H(Y) in nats within the blocks, as counted.
    """

    lower: float
    upper: float
    lower_influence: NDArray[np.float64]
    upper_influence: NDArray[np.float64]
    ceiling: float
    label: float | None = None
    label_entropy: float | None = None

    @classmethod
    def joined(cls, readings: Sequence[ChannelReading]) -> ChannelReading:
        """The reading of all samples, from those of parts of them.

        :param readings: At least one; either all or none have labels.
        """
        if len(readings) == 1:
            return readings[0]
        sizes = [len(reading.lower_influence) for reading in readings]
        means = {
            name: float(np.average([getattr(reading, name) for reading in readings], weights=sizes))
            for name in ("lower", "upper", "ceiling", "label", "label_entropy")
            if getattr(readings[0], name) is not None
        }
        return cls(
            lower_influence=np.concatenate([reading.lower_influence for reading in readings]),
            upper_influence=np.concatenate([reading.upper_influence for reading in readings]),
            **means,
        )


def read_channel(
    z: Tensor,
    noise_std: float,
    *,
    noise: str = "gaussian",
    y: Tensor | None = None,
    generator: torch.Generator,
    nb_noise: int = 2,
    block: int = 1024,
) -> ChannelReading:
    """Two-sided information of Z = z + `noise_std` N over the samples, without gradient.

    Samples are taken in random blocks whose mixtures stand for the marginal: time is linear in n and memory flat.

    >>> import torch
    >>> from art_mi.channels import read_channel
    >>> z = torch.cat([torch.zeros(500, 1), torch.ones(500, 1)])
    >>> reading = read_channel(z, noise_std=0.5, generator=torch.Generator().manual_seed(0))
    >>> round(reading.lower, 1), round(reading.upper, 1)  # two points a standard deviation each from their mean: 0.34
    (0.3, 0.3)

    :param z: Representations of shape `(n, d)`, n at least 2.
    :param noise_std: Standard deviation of the noise in the units of `z`, positive.
    :param noise: `"gaussian"` or `"uniform"`.
    :param y: Index labels of shape `(n,)`.
    :param generator: Source of randomness on the device of `z`.
    :param nb_noise: Antithetic pairs of noise draws a sample.
    :param block: Most samples in one mixture, at least 2.
    :raises ValueError: If an argument breaks its rule.
    """
    for name, value, rule in (
        ("noise_std", noise_std, POSITIVE),
        ("noise", noise, one_of(RATIOS)),
        ("nb_noise", nb_noise, integer(1)),
        ("block", block, integer(2)),
    ):
        check(name, value, rule)
    _check_shape("z", z, ("of shape (n, d) with n at least 2", lambda v: v.ndim == 2 and len(v) > 1))
    z = z.double() / noise_std
    n = len(z)
    blocks = torch.randperm(n, generator=generator, device=z.device).tensor_split(math.ceil(n / block))
    influences = torch.zeros((2, n), dtype=z.dtype, device=z.device)
    label, label_entropy = torch.zeros((2,), dtype=z.dtype, device=z.device)
    for index in blocks:
        part = z[index]
        same = None if y is None else (y[index, None] == y[index]).to(z.dtype)
        if same is not None:
            label_entropy -= (same.sum(1) / len(index)).log().sum()
        draws = [draw_noise(noise, part.shape, generator, part) for _ in range(nb_noise)]
        for ratios in RATIOS[noise](part, draws):
            shift, weights = _weights(ratios)
            total = weights.sum(1)
            influences[:, index] += _influences(shift, weights, total)
            if same is not None:
                within = shift + torch.linalg.vecdot(weights, same).log()
                label += _label(within, shift + total.log(), same.sum(1)).sum()
    influences /= 2 * nb_noise
    lower, upper = influences.mean(1).tolist()
    return ChannelReading(
        lower=lower,
        upper=upper,
        lower_influence=influences[0].cpu().numpy(),
        upper_influence=influences[1].cpu().numpy(),
        ceiling=sum(len(index) * math.log(len(index)) for index in blocks) / n,
        label=None if y is None else float(label / (2 * nb_noise * n)),
        label_entropy=None if y is None else float(label_entropy / n),
    )


def _weights(ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Largest log of each row `(n,)`, finite where there is none, and the ratios over it, no longer as logs."""
    shift = ratios.amax(1).clamp_min(torch.finfo(ratios.dtype).min)
    return shift, (ratios - shift[:, None]).exp_()


def _influences(shift: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Own terms of the lower and the upper bound plus the sample's part in everybody's mixtures, `(2, n)`."""
    others = shift + total.log()
    share = total.reciprocal().masked_fill_(total == 0, 0)  # no other sample near: infinite upper bound
    parts = torch.stack([others.sigmoid() * share, share]) @ weights
    parts[0] += (-others).sigmoid()
    return torch.stack([_lower(others), _upper(others)]) + 1 - parts
