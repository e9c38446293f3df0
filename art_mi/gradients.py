"""Whether an attack along the gradients of a representation can be believed."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from art_mi.channels import overall_std
from art_mi.representations import Representation
from art_mi.results import Flag
from art_mi.threat import NormBall

FORESEEN = 0.75  # least share of moves that a gradient foresees
LEVEL = 0.01  # of the test


@dataclass(frozen=True)
class GradientCheck:
    """Of how many samples an attack along gradients can be believed; counts over two sets of samples add up.

    :param nb_samples: How many there are.
    :param blind: No gradient reaches the input.
    :param foreseen: A small random move changes the representation in the direction that the gradient foresees.
    :param misled: It does so in the other direction.
    :param unrepeated: The representation is another one in the next call.
    """

    nb_samples: int = 0
    blind: int = 0
    foreseen: int = 0
    misled: int = 0
    unrepeated: int = 0

    def __add__(self, other: GradientCheck) -> GradientCheck:
        return GradientCheck(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def flags(self) -> set[Flag]:
        """Why an attack may have failed: on more than a hundredth of the samples, or beyond what sampling explains."""
        compared = self.foreseen + self.misled
        raised = {
            Flag.ZERO_GRADIENT: self.blind > 0.01 * self.nb_samples,
            Flag.MISLEADING_GRADIENT: compared > 0
            and binomtest(self.foreseen, compared, FORESEEN, alternative="less").pvalue < LEVEL,
            Flag.RANDOM_OUTPUT: self.unrepeated > 0.01 * self.nb_samples,
        }
        return {flag for flag, is_raised in raised.items() if is_raised}


def check_gradients(
    representation: Representation, x: Tensor, ball: NormBall, batch_size: int, random_state: int
) -> GradientCheck:
    """Whether gradients of a representation are there, true, and of one function.

    The output is differentiated along a random direction. The moves are a tenth of those to random points of the ball:
    of a smooth function nearly all are foreseen, of one whose gradient is another function's about half.

    :param representation: Differentiable map `(n, ...) -> (n, d)`.
    :param x: Inputs `(n, ...)`.
    :param ball: Threat model. In one of radius 0 nothing moves, and gradients do not matter.
    :param batch_size: Most samples in one pass.
    :param random_state: Seed of directions and moves.
    """
    generator = torch.Generator(x.device).manual_seed(random_state)
    return sum((_checked(representation, part, ball, generator) for part in x.split(batch_size)), GradientCheck())


def _checked(representation: Representation, x: Tensor, ball: NormBall, generator: torch.Generator) -> GradientCheck:
    x = x.detach().requires_grad_()
    z = representation(x)
    grad = None
    if z.requires_grad:
        direction = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        (grad,) = torch.autograd.grad(z, x, direction, allow_unused=True)
    with torch.no_grad():
        unrepeated = int(differing(z, representation(x)).sum())
        if ball.eps == 0:
            return GradientCheck(len(x), unrepeated=unrepeated)
        if grad is None:
            return GradientCheck(len(x), blind=len(x), unrepeated=unrepeated)
        blind = int((grad.flatten(1) == 0).all(1).sum())
        moved = x + (ball.random_start(x, generator) - x) / 10
        change = representation(moved) - z
        change[change.abs().amax(1) <= _rounding(z)] = 0
        foreseen = (grad * (moved - x)).flatten(1).sum(1).sign() * (change * direction).sum(1).sign()
    return GradientCheck(len(x), blind, int((foreseen > 0).sum()), int((foreseen < 0).sum()), unrepeated)


def differing(z: Tensor, again: Tensor) -> Tensor:
    """Which rows differ by more than rounding and than a thousandth of the scale of all.

    :param z: Representations `(n, d)`.
    :param again: Representations of the same inputs.
    :return: Booleans `(n,)`.
    """
    different: Tensor = (again - z).abs().amax(1) > max(1e-3 * overall_std(z), _rounding(z))
    return different


def _rounding(z: Tensor) -> float:
    return 100 * torch.finfo(z.dtype).eps * float(z.abs().amax())
