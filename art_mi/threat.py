"""The threat model: which inputs an attacker may put in the place of a given one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_mi.rules import NON_NEGATIVE, Rule, check, or_none

NORMS = (math.inf, 2, 1)


def _is_box(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    try:
        low, high = (np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v) for v in value)
        return low.dtype.kind in "biuf" and high.dtype.kind in "biuf" and bool((low <= high).all())
    except (TypeError, ValueError):  # ragged, or of shapes that do not broadcast
        return False


NORM: Rule = "inf, 2 or 1", lambda v: not isinstance(v, bool) and isinstance(v, Real | str) and v in ("inf", *NORMS)
BOX: Rule = "a pair of values, the first nowhere above the second", _is_box


def _like(value: Any, x: Tensor) -> Tensor:
    """A number or an array as a tensor; a number without a copy from the host, for which the device would wait.

    What the dtype cannot hold becomes the largest number that it can.
    """
    most = torch.finfo(x.dtype).max
    if np.ndim(value) == 0:
        return x.new_full((), min(max(float(value), -most), most))
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).clamp(-most, most)


def _no_further(moved: Tensor, x: Tensor, distance: Tensor) -> Tensor:
    """Sums round: a step of one unit in the last place back towards `x` wherever a move came out longer than asked."""
    return torch.where((moved - x).abs_() > distance, torch.nextafter(moved, x), moved)


@dataclass(frozen=True)
class NormBall:
    """All inputs within `eps` of a given one in an l_p norm and inside the box `clip_values`, in raw input units.

    Every method works on batches `(n, ...)`, each sample in its own ball, on the device and in the dtype of its inputs.

    >>> import torch
    >>> from art_mi.threat import NormBall
    >>> ball = NormBall(norm=2, eps=1.0, clip_values=(0.0, 1.0))
    >>> ball.project(torch.tensor([[3.0, 0.5]]), torch.tensor([[0.5, 0.5]]))
    tensor([[1.0000, 0.5000]])

    :param norm: `inf` (or `"inf"`), 2 or 1.
    :param eps: Radius, at least 0.
    :param clip_values: Least and largest allowed value of the features, numbers or arrays that broadcast against one
        sample; None for no box.
    :raises ValueError: If an argument breaks its rule.
    """

    norm: float | str = math.inf
    eps: float = 0.3
    clip_values: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        norm = math.inf if check("norm", self.norm, NORM) == "inf" else self.norm
        check("eps", self.eps, NON_NEGATIVE)
        check("clip_values", self.clip_values, or_none(BOX))
        object.__setattr__(self, "norm", norm)
        object.__setattr__(self, "eps", float(self.eps))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """A point of the ball and box around `x` near `x_adv`: the nearest of the ball, then of the box.

        The result is inside both to the last bit: what rounding adds beyond the radius is taken back.

        :param x_adv: Points of shape `(n, ...)`.
        :param x: Centres of the same shape, inside the box.
        :return: Points of the same shape.
        """
        return self.around(x)(x_adv)

    def around(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """:meth:`project` onto the balls around given centres, with what depends on these alone computed once.

        :param x: Centres of shape `(n, ...)`, inside the box.
        :return: Map from points to points of that shape.
        """
        if self.eps == 0:
            return lambda x_adv: x.clone()
        low, high = self._box(x)
        if self.norm == math.inf:
            radius = _like(self.eps, x)
            least, most = (_no_further(x + side * radius, x, radius) for side in (-1, 1))
            return partial(torch.clamp, min=least.maximum(low), max=most.minimum(high))

        def project(x_adv: Tensor) -> Tensor:
            delta = self._shrink((x_adv - x).nan_to_num_().flatten(1)).view_as(x)
            return _no_further(x + delta, x, delta.abs()).clamp(low, high)

        return project

    def steepest(self, grad: Tensor, x: Tensor | None = None) -> Tensor:
        """The step of norm 1 along which a function with gradient `grad` rises fastest.

        l_inf: the sign. l_2: the gradient over its length. l_1: the largest component alone. Components that the box
        forbids are left out of the latter two where `x` is given; of the sign a projection takes them. A zero gradient
        gives a zero step; NaN counts as zero and an infinite component as the largest number.

        :param grad: Gradients of shape `(n, ...)`.
        :param x: Where the step starts, to respect the box.
        :return: Steps of the same shape.
        """
        if self.norm == math.inf:
            return grad.sign()
        grad = grad.nan_to_num()
        if x is not None and self.clip_values is not None:
            low, high = self._box(x)
            grad = torch.where(((x >= high) & (grad > 0)) | ((x <= low) & (grad < 0)), 0.0, grad)
        flat = grad.flatten(1)
        if self.norm == 2:
            # Scaled first, so that neither tiny nor huge gradients lose their direction to under- or overflow.
            scaled = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
            unit: Tensor = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
            return unit.view_as(grad)
        largest = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign()).view_as(grad)

    def random_start(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Points drawn uniformly from the balls around `x`, then clipped to the box.

        :param x: Centres of shape `(n, ...)`.
        :param generator: Source of randomness on the device of `x`.
        :return: Points of the same shape.
        """
        reach = min(self.eps, torch.finfo(x.dtype).max / 2)
        if self.norm == math.inf:
            delta = torch.empty_like(x).uniform_(-reach, reach, generator=generator)
            return _no_further(x + delta, x, _like(self.eps, x)).clamp_(*self._box(x))
        n, d = x.flatten(1).shape
        # Uniform on the sphere times U^(1/d) is uniform in the ball; l_1 takes Laplace instead of normal variates.
        uniform = torch.rand((n, 1), generator=generator, device=x.device, dtype=x.dtype)
        delta = torch.randn((n, d), generator=generator, device=x.device, dtype=x.dtype)
        if self.norm == 1:
            delta = delta.sign() * torch.empty_like(delta).exponential_(generator=generator)
        delta = uniform ** (1 / d) * delta / delta.norm(p=float(self.norm), dim=1, keepdim=True)
        return self.project(x + reach * delta.view_as(x), x)

    def _box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (-math.inf, math.inf) if self.clip_values is None else self.clip_values
        return _like(low, x), _like(high, x)

    def _shrink(self, delta: Tensor) -> Tensor:
        """Nearest points `(n, d)` of the centred ball, whose norm is 2 or 1."""
        size = delta.double().abs()  # a threshold is a difference of sums: in float32 it would miss the radius
        info = torch.finfo(size.dtype)
        margin = 8 * torch.finfo(delta.dtype).eps + delta.shape[1] * info.eps  # norms are sums that round
        radius = self.eps * (1 - margin)
        if self.norm == 2:
            # Scaled first: squares of tiny and huge moves under- or overflow.
            largest = size.amax(1, keepdim=True).clamp_min(info.tiny)
            length = (size / largest).norm(dim=1, keepdim=True) * largest
            shrunk = size * (radius / length.clamp_min(info.tiny))
        else:
            length = size.sum(1, keepdim=True)
            shrunk = self._soft_threshold(size, radius)
            shrunk *= (radius / shrunk.sum(1, keepdim=True).clamp_min(info.tiny)).clamp_max(1)  # the threshold rounds
        shrunk = _no_further(shrunk.to(delta.dtype), torch.zeros_like(delta), shrunk)
        return torch.where(length > radius, delta.sign() * shrunk, delta)

    @staticmethod
    def _soft_threshold(size: Tensor, radius: float) -> Tensor:
        """Non-negative rows less the threshold that brings their sum to `radius` (Duchi et al. 2008, figure 1)."""
        # In distances from the row's largest, which cancel nothing; what lies `radius` below it vanishes anyway.
        size = (size - size.amax(1, keepdim=True)).clamp_min(-radius)
        ordered = size.sort(1, descending=True).values
        excess = ordered.cumsum(1) - radius
        count = torch.arange(1, size.shape[1] + 1, device=size.device, dtype=size.dtype)
        last = (ordered * count > excess).sum(1, keepdim=True).clamp_min(1) - 1
        return (size - excess.gather(1, last) / (last + 1)).clamp_min(0)
