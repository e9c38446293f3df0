"""Worst-case information as the published code of Zhu et al. estimates it: a baseline for speed, not for use.

Written from the paper and from what its code was seen to do, so as to cost what that code costs. It keeps what makes
its number low and its steps slow:

- a bound at each position of a convolutional map of x, their mean reported; the diagonal is masked to a score of 0, so
  that the partition holds n terms exp(0) too many and a constant added to the critic changes the value;
- batch normalisation in the critic, through which the pairs of a batch see each other;
- the x side is computed anew at every step of an attack although it is detached there;
- one more forward pass an attack to choose its best iterate, by one number for the whole batch;
- gradients of the encoder's weights in each training step, though nothing ever uses them.

An attack differentiates by its inputs alone, as that code does. Left out: the data loader, validation, input
normalisation by mean 0 and standard deviation 1.

| Paper link: https://arxiv.org/abs/2002.11798 (section 4)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class PublishedCritic(nn.Module):
    """Positions of a map of x and one vector of z, each brought to the same width by a residual block.

    :param channels: Channels of x, images of at least 4 x 4.
    :param dim_z: Dimension of z.
    :param width: Length of the dot product, 2048 in the paper.
    """

    def __init__(self, channels: int, dim_z: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_halved(channels, 64), *_halved(64, 128))
        self.x_block, self.z_block = _Residual(128, width), _Residual(dim_z, width)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Scores `(positions, n, n)`, x by row and z by column; the gradient reaches x through z only.

        :param x: Images `(n, channels, height, width)`.
        :param z: Representations `(n, dim_z)`.
        """
        local = self.x_block(self.body(x.detach())).flatten(2)
        scores: Tensor = local.permute(2, 0, 1) @ self.z_block(z[..., None, None]).flatten(1).T
        return scores


def _halved(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


class _Residual(nn.Module):
    """Two 1 x 1 convolutions beside a shortcut that starts as the identity, normalised over the channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1)
        )
        self.shortcut = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = nn.LayerNorm(width)
        if width >= channels:
            with torch.no_grad():
                self.shortcut.weight.uniform_(-0.01, 0.01)
                self.shortcut.weight.flatten(1).fill_diagonal_(1.0)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.norm((self.hidden(maps) + self.shortcut(maps)).movedim(1, -1)).movedim(-1, 1)
        return out


def leaking_donsker_varadhan(scores: Tensor) -> Tensor:
    """Mean over positions of E[T+] - log E[exp T-], with joint pairs left in the partition at a score of 0.

    :param scores: Shape `(positions, n, n)`, joint pairs on the diagonals.
    :return: Scalar in nats.
    """
    n = scores.shape[-1]
    off_diagonal = 1.0 - torch.eye(n, device=scores.device)
    positives = scores.diagonal(dim1=1, dim2=2).mean(1)
    partition = (scores * off_diagonal).flatten(1).logsumexp(1) - math.log(n * (n - 1))
    return (positives - partition).mean()


@dataclass
class Published:
    """The alternation of attack and critic.

    :param encoder: Maps x to `(n, dim_z)`; in evaluation mode, its weights get gradients and stay as they are.
    :param critic: Is trained.
    :param optimizer: Of the critic.
    :param eps: Radius of the l_inf ball around inputs in [0, 1].
    :param eps_step: Size of a step.
    :param max_iter: Steps of an attack, from the clean inputs.
    """

    encoder: nn.Module
    critic: PublishedCritic
    optimizer: torch.optim.Optimizer
    eps: float
    eps_step: float
    max_iter: int = 7

    def fit(self, batches: Iterable[Tensor]) -> list[float]:
        """One training step a batch; gives the information each was trained on, in nats."""
        return [self.step(x) for x in batches]

    def step(self, x: Tensor) -> float:
        """Attack a batch, then move the critic up."""
        x_adv = self.attack(x)
        self.critic.train()
        information = self._information(x_adv)
        self.optimizer.zero_grad()
        (-information).backward()
        self.optimizer.step()
        return information.item()

    def attack(self, x: Tensor, *, eps_step: float | None = None, max_iter: int | None = None) -> Tensor:
        """The iterate on which the critic reads least, one for the whole batch.

        :param x: Clean inputs `(n, channels, height, width)`.
        :param eps_step: Another step size.
        :param max_iter: Another number of steps.
        """
        size = self.eps_step if eps_step is None else eps_step
        self.critic.eval()
        x_adv, best, least = x, x, math.inf
        for _ in range(self.max_iter if max_iter is None else max_iter):
            x_adv = x_adv.detach().requires_grad_()
            information = self._information(x_adv)
            (grad,) = torch.autograd.grad(information, x_adv)
            if information.item() < least:
                best, least = x_adv.detach(), information.item()
            moved = x_adv.detach() - size * grad.sign()
            x_adv = torch.min(torch.max(moved, x - self.eps), x + self.eps).clamp(0.0, 1.0)
        return x_adv if self._information(x_adv).item() < least else best

    def _information(self, x: Tensor) -> Tensor:
        return leaking_donsker_varadhan(self.critic(x, self.encoder(x)))


def published(encoder: nn.Module, x: Tensor, *, width: int, eps: float, eps_step: float, lr: float = 1e-3) -> Published:
    """The procedure with a fresh critic, its weights drawn from the global generator.

    :param encoder: Maps x to representations `(n, dim_z)`; is put in evaluation mode.
    :param x: A few inputs, for the sizes.
    :param width: Of the critic.
    :param eps: Radius.
    :param eps_step: Size of a step.
    :param lr: Learning rate of Adam.
    """
    encoder.eval()
    with torch.no_grad():
        dim_z = encoder(x[:2]).shape[1]
    critic = PublishedCritic(x.shape[1], dim_z, width).to(x.device)
    return Published(encoder, critic, torch.optim.Adam(critic.parameters(), lr=lr), eps, eps_step)
