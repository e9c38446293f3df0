"""The one inner loop: projected ascent on the inputs, from one start or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from art_mi.rules import NON_NEGATIVE, POSITIVE, check, check_type, integer
from art_mi.threat import NormBall

Objective = Callable[[Tensor], Tensor]
Move = Callable[[Tensor, Tensor, float], Tensor]


def ascend(
    objective: Objective,
    x: Tensor,
    ball: NormBall,
    *,
    eps_step: float | Callable[[int], float],
    max_iter: int,
    start: Tensor | None = None,
    move: Move | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Move inputs inside their balls so that an objective rises.

    x_{k+1} = project(x_k + eps_step * steepest(gradient at x_k)); the last iterate is returned. Weights receive no
    gradient.

    | Paper link: https://arxiv.org/abs/1706.06083 (section 2.1)

    >>> import torch
    >>> from art_mi.attacks import ascend
    >>> from art_mi.threat import NormBall
    >>> x = torch.zeros(1, 2)
    >>> ascend(lambda x_adv: x_adv[:, 0], x, NormBall(eps=0.5), eps_step=0.25, max_iter=4)
    tensor([[0.5000, 0.0000]])

    :param objective: Maps `(n, ...)` to one value, or one a sample; it may couple the samples of the batch.
    :param x: Inputs `(n, ...)`, the centres of the balls; never changed.
    :param ball: Where the inputs may go.
    :param eps_step: Step size in raw input units, or its schedule, step number (from 0) -> size.
    :param max_iter: Number of steps.
    :param start: Where to start inside the balls; `x` by default.
    :param move: What to add before the projection, (gradient, x_k, size) -> displacement, all of the shape of `x`;
        the steepest step by default.
    :param mask: Broadcasts against `x`; features where it is zero keep their value in `x` exactly.
    :return: Moved inputs of the same shape, without gradient.
    :raises TypeError: If `ball` is no :class:`.NormBall`.
    :raises ValueError: If another argument breaks its rule.
    """
    check_type("ball", ball, NormBall, "a NormBall")
    for name, value in (("x", x), ("start", x if start is None else start)):
        check_type(name, value, Tensor, "a tensor")
    check("max_iter", max_iter, integer(0))
    if not callable(eps_step):
        check("eps_step", eps_step, POSITIVE)
    if start is not None and start.shape != x.shape:
        raise ValueError(f"`start` must have the shape {tuple(x.shape)} of `x`, got {tuple(start.shape)}.")
    x_adv = _masked(x if start is None else start, mask, x).detach().clone()
    project = ball.around(x)
    for step in range(max_iter):
        x_adv.requires_grad_()
        grad = _gradient(objective(x_adv).sum(), x_adv)
        size = min(eps_step(step) if callable(eps_step) else eps_step, torch.finfo(x.dtype).max)
        with torch.no_grad():
            grad = grad if mask is None else grad.masked_fill(mask == 0, 0)
            if move is None:
                x_adv = torch.add(x_adv, ball.steepest(grad, x_adv), alpha=size)  # not in place: objectives may keep it
            else:
                x_adv = x_adv + move(grad, x_adv, size)
            x_adv = project(_masked(x_adv, mask, x))
    return x_adv.detach()


def best_of(objective: Objective, candidates: Iterable[Tensor]) -> Tensor:
    """Of several runs the best: sample by sample, or of the whole batch where the objective is one value.

    Candidates are taken one at a time and both sides of a comparison are evaluated anew, so that runs and an objective
    may share a generator.

    >>> import torch
    >>> from art_mi.attacks import best_of
    >>> best_of(lambda x: x[:, 0], [torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [2.0]])])
    tensor([[1.],
            [2.]])

    :param objective: Maps `(n, ...)` to one value a sample, or one.
    :param candidates: At least one tensor `(n, ...)`, such as :func:`ascend` from each of several starts.
    :return: Tensor of the same shape; the objective is not asked where there is one candidate.
    :raises ValueError: If there is no candidate.
    """
    left = iter(candidates)
    best = next(left, None)
    if best is None:
        raise ValueError("`candidates` must hold at least one tensor, got none.")
    for other in left:
        with torch.no_grad():
            better = (objective(other) > objective(best)).view(-1, *[1] * (best.ndim - 1))
        best = torch.where(better, other, best)
    return best


def falling(eps: float, max_iter: int) -> Callable[[int], float]:
    """Step sizes that fall linearly from 5 eps / max_iter to zero: together a little more than 2.5 times the radius.

    >>> from art_mi.attacks import falling
    >>> sizes = falling(eps=0.1, max_iter=4)
    >>> [round(sizes(step), 5) for step in range(4)]
    [0.125, 0.09375, 0.0625, 0.03125]

    :param eps: Radius in raw input units.
    :param max_iter: Number of steps.
    :return: Step number (from 0) -> size.
    :raises ValueError: If an argument breaks its rule.
    """
    check("eps", eps, NON_NEGATIVE)
    check("max_iter", max_iter, integer(0))
    return lambda step: 5 * eps / max_iter * (1 - step / max_iter)


def _masked(free: Tensor, mask: Tensor | None, fixed: Tensor) -> Tensor:
    """`free` where the mask allows a change, `fixed` where it is zero."""
    return free if mask is None else torch.where(mask == 0, fixed, free)


def _gradient(value: Tensor, x: Tensor) -> Tensor:
    """Zero where no path leads from `x` to `value`, as through a network that rounds or detaches."""
    grad = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    return torch.zeros_like(x) if grad is None else grad
