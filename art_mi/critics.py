"""Critics: modules that score every x of a batch against every z.

A critic maps x `(n, ...)` and z `(n, d)` to scores `(n, n)`. It is built of two sides that see one variable each and a
rule that joins them, `scores(x_side(x), z_side(z))`, so that either side can be computed once and kept. There is no
batch normalisation: it would let the pairs of a batch see each other. Preprocessing is part of the critic, so that
the whole is a differentiable map of raw inputs on whatever device they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from art_mi.preprocessing import convolutional
from art_mi.rules import check, check_type, integer

# Log ratios span several nats: the head would need many steps of Adam to grow that large
HEAD_SCALE = 4.0


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check(name, size, integer(1))


def mlp(dim_in: int, width: int, dim_out: int, *, depth: int = 2) -> nn.Sequential:
    """Fully connected network with `depth` hidden layers of ReLU units.

    :param dim_in: Inputs.
    :param width: Units of each hidden layer.
    :param dim_out: Outputs.
    :param depth: Hidden layers, at least 1.
    :return: The network.
    :raises ValueError: If a size is below 1.
    """
    _check_sizes(dim_in=dim_in, width=width, dim_out=dim_out, depth=depth)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(dim_in if i == 0 else width, width, dtype=torch.float32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, dim_out, dtype=torch.float32))


class Critic(nn.Module):
    """What critics share: two sides and the rule that joins them.

    `block_size` is the side of the squares of pairs it is cheapest to score at once: read in squares of that side,
    trained on squares of `train_block` within each batch, it costs time linear in the number of samples.
    """

    block_size: int = 512
    train_block: int = 512

    def x_side(self, x: Tensor) -> Tensor:
        """What is needed of x, shape `(n, m)`, once for any number of z; differentiable.

        :param x: Inputs of shape `(n, ...)`.
        """
        raise NotImplementedError

    def z_side(self, z: Tensor) -> Tensor:
        """What is needed of z, shape `(n, k)`; differentiable.

        :param z: Representations of shape `(n, d)`.
        """
        raise NotImplementedError

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """Scores of all pairs of two computed sides.

        :param x_side: Shape `(..., n, m)`.
        :param z_side: Shape `(..., n', k)`.
        :return: Scores of shape `(..., n, n')`.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Scores of all pairs.

        :param x: Inputs of shape `(n, ...)`.
        :param z: Representations of shape `(n', d)`.
        :return: Scores of shape `(n, n')`, row i for x_i and column j for z_j.
        """
        return self.scores(self.x_side(x), self.z_side(z))


class SeparableCritic(Critic):
    """Encode and dot: T(x, z) = f(x).g(z) / sqrt(m) + u(x) + v(z).

    :param x_encoder: Network from x to `(n, m + 1)`; the last output is u.
    :param z_encoder: Network from z to `(n, m + 1)`; the last output is v.
    """

    def __init__(self, x_encoder: nn.Module, z_encoder: nn.Module) -> None:
        super().__init__()
        self.x_encoder = x_encoder
        self.z_encoder = z_encoder

    def x_side(self, x: Tensor) -> Tensor:
        """See :class:`Critic`."""
        out: Tensor = self.x_encoder(x)
        return out

    def z_side(self, z: Tensor) -> Tensor:
        """See :class:`Critic`."""
        out: Tensor = self.z_encoder(z)
        return out

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """See :class:`Critic`."""
        dot = x_side[..., :-1] @ z_side[..., :-1].mT
        return dot / math.sqrt(x_side.shape[-1] - 1) + x_side[..., -1:] + z_side[..., -1:].mT


class JointCritic(Critic):
    """A network on pairs, whose first layers see one side each: T(x, z) = h(relu(f(x) + g(z))).

    It can follow edges that run across both variables, which a short dot product cannot. The network runs on every
    pair, so squares of pairs should be small.

    :param x_encoder: Network from x to `(n, dim)`.
    :param z_encoder: Network from z to `(n, dim)`.
    :param dim: Inputs of the head h.
    :param width: Hidden units of the head.
    """

    block_size = 64
    train_block = 8

    def __init__(self, x_encoder: nn.Module, z_encoder: nn.Module, dim: int, *, width: int = 64) -> None:
        super().__init__()
        _check_sizes(dim=dim, width=width)
        self.x_encoder = x_encoder
        self.z_encoder = z_encoder
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(dim, width, dtype=torch.float32), nn.ReLU(), nn.Linear(width, 1, dtype=torch.float32)
        )

    def x_side(self, x: Tensor) -> Tensor:
        """See :class:`Critic`."""
        out: Tensor = self.x_encoder(x)
        return out

    def z_side(self, z: Tensor) -> Tensor:
        """See :class:`Critic`."""
        out: Tensor = self.z_encoder(z)
        return out

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """See :class:`Critic`."""
        pairs = x_side.unsqueeze(-2) + z_side.unsqueeze(-3)
        out: Tensor = self.head(pairs).squeeze(-1)
        return HEAD_SCALE * out


class SumCritic(Critic):
    """Weighted sum of critics that share their features.

    Once fitted, its scores are bent where they claim more than its samples show, and scaled.

    :param x_features: Features of x that every term sees.
    :param z_features: Features of z that every term sees.
    :param terms: Critics on the features.
    :param weight: Factor of the sum; 1 over the number of terms makes it a mean.
    """

    low: Tensor | None
    high: Tensor | None
    factor: Tensor

    def __init__(
        self, x_features: nn.Module, z_features: nn.Module, terms: list[Critic], *, weight: float = 1.0
    ) -> None:
        super().__init__()
        check_type("terms", terms, list, "a list of critics")
        if not terms:
            raise ValueError("`terms` must hold at least one critic, got none.")
        self.x_features, self.z_features = x_features, z_features
        self.terms = nn.ModuleList(terms)
        self.weight = weight
        self.register_buffer("low", None)
        self.register_buffer("high", None)
        self.register_buffer("factor", torch.tensor(1.0, dtype=torch.float32))
        self.block_size = min(term.block_size for term in terms)
        self.train_block = min(term.train_block for term in terms)
        self._x_sizes: list[int] = []
        self._z_sizes: list[int] = []

    def x_side(self, x: Tensor) -> Tensor:
        """See :class:`Critic`."""
        shared = self.x_features(x)
        parts = [term.x_side(shared) for term in self._critics()]
        self._x_sizes = [part.shape[-1] for part in parts]
        return torch.cat(parts, -1)

    def z_side(self, z: Tensor) -> Tensor:
        """See :class:`Critic`."""
        shared = self.z_features(z)
        parts = [term.z_side(shared) for term in self._critics()]
        self._z_sizes = [part.shape[-1] for part in parts]
        return torch.cat(parts, -1)

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """See :class:`Critic`."""
        sides = zip(x_side.split(self._x_sizes, -1), z_side.split(self._z_sizes, -1), strict=True)
        parts = [term.scores(x_part, z_part) for term, (x_part, z_part) in zip(self._critics(), sides, strict=True)]
        total = sum(parts[1:], parts[0])
        if self.low is None or self.high is None:
            return self.factor * self.weight * total
        return self.factor * self.bend(self.weight * total, self.low, self.high)

    def on_features(self) -> SumCritic:
        """The same critic, sharing all terms, for features that were computed once and kept."""
        critic = SumCritic(nn.Identity(), nn.Identity(), self._critics(), weight=self.weight)
        critic.block_size, critic.train_block = self.block_size, self.train_block
        return critic

    @staticmethod
    def bend(scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Scores in an interval as they are, logarithmic outside of it from a tenth of the slope: gradients remain.

        :param scores: Of any shape.
        :param low: Lower end of the interval.
        :param high: Upper end.
        """
        inside = torch.minimum(torch.maximum(scores, low), high)
        beyond = scores - inside
        return inside + 0.1 * beyond.sign() * beyond.abs().log1p()

    def release(self) -> None:
        """Neither bent nor scaled, to train on."""
        self.low = self.high = None
        self.factor.fill_(1.0)

    def limit(self, low: Tensor | float, high: Tensor | float, factor: Tensor | float = 1.0) -> None:
        """Bend scores outside of an interval, see :meth:`bend`, and scale what comes of it.

        :param low: Score below which they are bent.
        :param high: Score above which they are.
        :param factor: What all of them are multiplied by then.
        """
        self.low, self.high = (torch.as_tensor(limit).to(self.factor) for limit in (low, high))
        self.factor.fill_(factor)

    def _critics(self) -> list[Critic]:
        return [term for term in self.terms if isinstance(term, Critic)]


def mean_critic(critics: list[Critic]) -> Critic:
    """The critic whose scores are the mean of several, such as one per seed.

    :param critics: Critics of the same two variables.
    :return: Their mean, or the critic itself where there is one.
    """
    check_type("critics", critics, list | tuple, "a sequence of critics")
    if not critics:
        raise ValueError("`critics` must hold at least one, got none.")
    if len(critics) == 1:
        return critics[0]
    return SumCritic(nn.Identity(), nn.Identity(), critics, weight=1.0 / len(critics))


def separable_critic(dim_x: int, dim_z: int, *, width: int = 128, dim: int = 64) -> SeparableCritic:
    """A separable critic of two fully connected encoders whose scores start at zero.

    :param dim_x: Inputs of the x side.
    :param dim_z: Inputs of the z side.
    :param width: Hidden units.
    :param dim: Length of the dot product.
    :return: The critic.
    """
    _check_sizes(dim_x=dim_x, dim_z=dim_z, width=width, dim=dim)
    x_encoder, z_encoder = mlp(dim_x, width, dim + 1), mlp(dim_z, width, dim + 1)
    with torch.no_grad():
        for parameter in z_encoder[-1].parameters():
            parameter.zero_()
        for parameter in x_encoder[-1].parameters():
            parameter[-1].zero_()
    return SeparableCritic(x_encoder, z_encoder)


def joint_critic(dim_x: int, dim_z: int, *, width: int = 64) -> JointCritic:
    """A joint critic of one hidden layer per side and two on pairs, whose scores start at zero.

    :param dim_x: Inputs of the x side.
    :param dim_z: Inputs of the z side.
    :param width: Hidden units.
    :return: The critic.
    """
    _check_sizes(dim_x=dim_x, dim_z=dim_z, width=width)
    x_encoder, z_encoder = mlp(dim_x, 2 * width, width), mlp(dim_z, 2 * width, width)
    critic = JointCritic(x_encoder, z_encoder, width, width=width)
    with torch.no_grad():
        for parameter in critic.head[-1].parameters():
            parameter.zero_()
    return critic


class ConvCritic(SeparableCritic):
    """A separable critic with a convolutional x side, for images of any size from 4 x 4.

    :param channels: Channels of x.
    :param dim_z: Dimension of z.
    :param width: Hidden units of the z side.
    :param dim: Length of the dot product.
    """

    def __init__(self, channels: int, dim_z: int, *, width: int = 256, dim: int = 64) -> None:
        _check_sizes(channels=channels, dim_z=dim_z, width=width, dim=dim)
        super().__init__(convolutional(channels, dim + 1), mlp(dim_z, width, dim + 1))


class LocalCritic(Critic):
    """The critic of the papers: positions of a convolutional map against one vector, T the mean of their dot products.

    Two deviations. Batch normalisation is replaced by group normalisation, as it would let pairs see each other. The
    papers average one bound per position; here the scores are averaged, so that the value is a bound on I(X; Z).

    | Paper link: https://arxiv.org/abs/1808.06670 (section 3.3) and https://arxiv.org/abs/2002.11798 (section 4)

    :param channels: Channels of x, images of at least 4 x 4.
    :param dim_z: Dimension of z.
    :param width: Length of the dot product, 2048 in the papers.
    """

    def __init__(self, channels: int, dim_z: int, *, width: int = 2048) -> None:
        super().__init__()
        _check_sizes(channels=channels, dim_z=dim_z, width=width)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 64, 4, stride=2, padding=1, dtype=torch.float32),
            nn.GroupNorm(8, 64, dtype=torch.float32),
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2, padding=1, dtype=torch.float32),
            nn.GroupNorm(8, 128, dtype=torch.float32),
            nn.ReLU(),
        )
        self.x_block, self.z_block = _ResidualBlock(128, width), _ResidualBlock(dim_z, width)

    def x_side(self, x: Tensor) -> Tensor:
        """See :class:`Critic`; the mean over positions is taken here, as the dot product is linear."""
        positions = self.body(x).flatten(2).mT
        out: Tensor = self.x_block(positions).mean(1)
        return out

    def z_side(self, z: Tensor) -> Tensor:
        """See :class:`Critic`."""
        out: Tensor = self.z_block(z)
        return out

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """See :class:`Critic`."""
        return x_side @ z_side.mT / math.sqrt(x_side.shape[-1])


class _ResidualBlock(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(dim_in, dim_out, dtype=torch.float32), nn.ReLU(), nn.Linear(dim_out, dim_out, dtype=torch.float32)
        )
        self.shortcut = nn.Linear(dim_in, dim_out, dtype=torch.float32)
        self.norm = nn.LayerNorm(dim_out, dtype=torch.float32)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.norm(self.hidden(values) + self.shortcut(values))
        return out
