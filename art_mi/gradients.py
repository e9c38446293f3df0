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

FORESEEN = 0.95  # least share of moves that a gradient foresees
FEW = 0.01  # share of samples on which anything may happen
LEVEL = 0.01  # of the tests


@dataclass(frozen=True)
class GradientCheck:
    """Of how many samples an attack along gradients can be believed; counts over two sets of samples add up.

    :param nb_samples: How many there are.
    :param blind: No gradient reaches the input, or a random point of its ball.
    :param foreseen: Small random moves, from either, that change the representation as the gradient foresees.
    :param misled: Those that change it in the other direction, or not at all.
    :param outdone: Random moves across the ball change the representation four times as much as one along its gradient.
    :param unrepeated: The representation is another one in the next call, among other samples.
    """

    nb_samples: int = 0
    blind: int = 0
    foreseen: int = 0
    misled: int = 0
    outdone: int = 0
    unrepeated: int = 0

    def __add__(self, other: GradientCheck) -> GradientCheck:
        return GradientCheck(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def flags(self) -> set[Flag]:
        """Why an attack may have failed: on more than a hundredth of the samples, or beyond what sampling explains."""
        astray = [(self.misled, self.foreseen + self.misled, 1 - FORESEEN), (self.outdone, self.nb_samples, FEW)]
        raised = {
            Flag.ZERO_GRADIENT: self.blind > FEW * self.nb_samples,
            Flag.MISLEADING_GRADIENT: any(
                binomtest(count, of, share, alternative="greater").pvalue < LEVEL for count, of, share in astray if of
            ),
            Flag.RANDOM_OUTPUT: self.unrepeated > FEW * self.nb_samples,
        }
        return {flag for flag, is_raised in raised.items() if is_raised}


def check_gradients(
    representation: Representation, x: Tensor, ball: NormBall, batch_size: int, random_state: int
) -> GradientCheck:
    """Whether gradients of a representation are there, true, and of one function.

    The output is differentiated along a random direction, at the inputs and at random points of their balls. Small
    moves are a tenth of those to random points: of a smooth function nearly all are foreseen, of one whose gradient is
    another function's about half. Steps between true slopes show in moves as long as the ball allows.

    :param representation: Differentiable map `(n, ...) -> (n, d)`.
    :param x: Inputs `(n, ...)`.
    :param ball: Threat model. In one of radius 0 nothing moves, and gradients do not matter.
    :param batch_size: Most samples in one pass.
    :param random_state: Seed of directions and moves.
    """
    generator = torch.Generator(x.device).manual_seed(random_state)
    return sum((_checked(representation, part, ball, generator) for part in x.split(batch_size)), GradientCheck())


def _checked(representation: Representation, x: Tensor, ball: NormBall, generator: torch.Generator) -> GradientCheck:
    with torch.no_grad():
        z = representation(x)
    direction = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    blind = outdone = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    foreseen = misled = 0
    if ball.eps > 0:
        for start in (x, ball.random_start(x, generator)):
            before, slope = _slope(representation, start, direction)
            if start is x:
                outdone = _outdone(representation, x, z, slope, direction, ball, generator)
            moved = start + (ball.random_start(start, generator) - start) / 10
            with torch.no_grad():
                rise = _rise(before, representation(moved), direction)
            expected = (slope * (moved - start)).flatten(1).sum(1)
            agree = expected.sign() * rise.sign()
            still = (rise == 0) & (expected.abs() > 10 * (_rounding(before) * direction.abs()).sum(1))
            blind = blind | (slope.flatten(1) == 0).all(1)
            foreseen, misled = foreseen + int((agree > 0).sum()), misled + int(((agree < 0) | still).sum())
    again = torch.empty_like(z)
    with torch.no_grad():
        for some in torch.randperm(len(x), generator=generator, device=x.device).split(2 * len(x) // 3 + 1):
            again[some] = representation(x[some])
    counts = (int(which.sum()) for which in (outdone & ~blind, differing(z, again)))
    return GradientCheck(len(x), int(blind.sum()), foreseen, misled, *counts)


def _slope(representation: Representation, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The representation, and its gradient along a direction; zero where there is none."""
    x = x.detach().requires_grad_()
    z = representation(x)
    grad = torch.autograd.grad(z, x, direction, allow_unused=True)[0] if z.requires_grad else None
    return z.detach(), torch.zeros_like(x) if grad is None else grad


@torch.no_grad()
def _outdone(
    representation: Representation,
    x: Tensor,
    z: Tensor,
    slope: Tensor,
    direction: Tensor,
    ball: NormBall,
    generator: torch.Generator,
) -> Tensor:
    """Whether random steps across the ball change the representation four times as much as those along its gradient."""

    def rises(grad: Tensor) -> tuple[Tensor, Tensor]:
        ends = (ball.project(x + ball.eps * ball.steepest(side * grad, x), x) for side in (1, -1))
        up, down = (_rise(z, representation(end), direction) for end in ends)
        return up, -down

    up, down = rises(slope)
    found = torch.zeros_like(up)
    for _ in range(2):
        grad = torch.empty_like(x).normal_(generator=generator)
        found = torch.stack([found, *(rise.abs() for rise in rises(grad))]).amax(0)
    return found > 4 * up.maximum(down).clamp_min(0)


def _rise(before: Tensor, after: Tensor, direction: Tensor) -> Tensor:
    """By how much representations `(n, d)` moved along a direction, beyond rounding; shape `(n,)`."""
    change = after - before
    return (change.masked_fill(change.abs() <= _rounding(before), 0) * direction).sum(1)


def differing(z: Tensor, again: Tensor) -> Tensor:
    """Which rows differ by more than rounding and than a thousandth of the scale of all.

    :param z: Representations `(n, d)`.
    :param again: Representations of the same inputs.
    :return: Booleans `(n,)`.
    """
    different: Tensor = ((again - z).abs() > _rounding(z).clamp_min(1e-3 * overall_std(z))).any(1)
    return different


def _rounding(z: Tensor) -> Tensor:
    """What sums of other order may differ by, for each column: one of large values is computed alone."""
    return 100 * torch.finfo(z.dtype).eps * z.abs().amax(0)
