"""What an attacker climbs to lower the information that a representation carries about its inputs.

| Paper link: https://arxiv.org/abs/2002.11798 (equation 4.3)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from art_mi.attacks.ascent import Objective
from art_mi.bounds import donsker_varadhan
from art_mi.channels import draw_noise, gaussian_ratios, upper_bound
from art_mi.critics import Critic
from art_mi.reading import block_scores


def noisy_information(represent: Callable[[Tensor], Tensor], sigma: float, generator: torch.Generator) -> Objective:
    """Minus the upper bound of the information of Z = g(X) + sigma N, under antithetic noise drawn anew at each call.

    Critic-free, and its gradient does not vanish when samples are far apart, as that of the lower bound does.

    :param represent: Differentiable map g, `(n, ...) -> (n, d)`.
    :param sigma: Standard deviation of the Gaussian noise in the units of the representation, positive.
    :param generator: Source of the noise on the device of the representation.
    :return: Map from inputs `(n, ...)`, n at least 2, to one value in nats, which couples them.
    """

    def objective(x_adv: Tensor) -> Tensor:
        u = represent(x_adv) / sigma
        draw = draw_noise("gaussian", u.shape, generator, u)
        return -torch.stack([upper_bound(ratios) for ratios in gaussian_ratios(u, [draw])]).mean()

    return objective


def critic_information(
    represent: Callable[[Tensor], Tensor],
    critic: nn.Module,
    x: Tensor,
    *,
    bound: Callable[[Tensor], Tensor] = donsker_varadhan,
    detach_input: bool = False,
    gather: Callable[[Tensor], Tensor] = torch.clone,
) -> Objective:
    """Minus a bound on I(X'; g(X')) under a fitted critic, scored in squares of the critic's `train_block`.

    :param represent: Differentiable map g, `(n, ...) -> (n, d)`.
    :param critic: Map from inputs and representations to scores `(n, n)`.
    :param x: Clean inputs `(n, ...)`.
    :param bound: Scores to nats, such as those of :mod:`art_mi.bounds`.
    :param detach_input: Lower the bound through g(x') alone, with the critic's x side kept at the clean inputs.
    :param gather: Rows of all processes from those of this one, differentiable.
    :return: Map from inputs `(n, ...)`, n at least 2, to one value in nats, which couples them.
    """
    clean, x_side = gather(x), None
    if detach_input and isinstance(critic, Critic):
        with torch.no_grad():
            x_side = critic.x_side(clean)

    def objective(x_adv: Tensor) -> Tensor:
        seen = clean if detach_input else gather(x_adv)
        return -bound(block_scores(critic, seen, gather(represent(x_adv)), x_side=x_side))

    return objective
