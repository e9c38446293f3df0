"""Features of one variable, fitted once and then applied as differentiable modules on raw inputs.

Vectors get normal scores, a radius and indicators of discrete levels; wide vectors and images get a linear sketch and a
learned part. Every feature module has `dim`, its number of outputs, and two lists of columns that the closed-form
Gaussian start of a critic uses: `linear_columns` and `radius_columns`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

NB_KNOTS = 256
MAX_LEVELS = 32
MAX_HATS = 128
MAX_COLUMNS = 64
MAX_WAVE_COLUMNS = 2
NB_WAVES = 6
MAX_SKETCH = 32

FloatArray = NDArray[np.float64]


class RankGaussian(nn.Module):
    """Monotone map of each coordinate to standard normal margins, by linear interpolation of the fitted ranks.

    Beyond the outermost fitted samples it goes on like a logarithm, with the mean slope of the outer tenth of normal
    scores to start with: strictly increasing, so the gradient never vanishes, and tame on heavy tails. Ties share
    their mean rank.

    :param samples: Fitting sample of shape `(n, d)`, no constant column.
    """

    knots: Tensor
    values: Tensor
    tails: Tensor

    def __init__(self, samples: FloatArray) -> None:
        super().__init__()
        tables = [self._table(column) for column in samples.T]
        self.register_buffer("knots", torch.tensor(np.array([t[0] for t in tables]), dtype=torch.float32))
        self.register_buffer("values", torch.tensor(np.array([t[1] for t in tables]), dtype=torch.float32))
        self.register_buffer("tails", torch.tensor([self._tail_slopes(*t) for t in tables], dtype=torch.float32))

    @staticmethod
    def _tail_slopes(knots: FloatArray, values: FloatArray) -> tuple[float, float]:
        inner = np.array([0.9, 0.1]) * values[0] + np.array([0.1, 0.9]) * values[-1]
        low, high = np.interp(inner, values, knots)
        return (inner[0] - values[0]) / (low - knots[0]), (values[-1] - inner[1]) / (knots[-1] - high)

    @staticmethod
    def _table(column: FloatArray) -> tuple[FloatArray, FloatArray]:
        levels, counts = np.unique(column, return_counts=True)
        scores = ndtri((np.cumsum(counts) - 0.5 * counts) / len(column))
        # Half of the knots are even in rank, half in normal score, which keeps the tails of heavy-tailed data in shape
        by_score = ndtr(np.linspace(scores[0], scores[-1], NB_KNOTS)) * len(levels)
        by_rank = np.linspace(0.0, len(levels) - 1.0, NB_KNOTS)
        positions = np.unique(np.clip(np.concatenate([by_rank, by_score]), 0, len(levels) - 1.0))
        positions = np.interp(np.linspace(0, 1, 2 * NB_KNOTS), np.linspace(0, 1, len(positions)), positions)
        index = np.arange(len(levels))
        return np.interp(positions, index, levels), np.interp(positions, index, scores)

    def forward(self, x: Tensor) -> Tensor:
        """Map raw coordinates.

        :param x: Shape `(n, d)`.
        :return: Normal scores of shape `(n, d)`.
        """
        columns = x.mT.contiguous()
        knots, values = self.knots.to(x), self.values.to(x)
        right = torch.searchsorted(knots, columns.detach()).clamp(1, knots.shape[1] - 1)
        x0, x1 = knots.gather(1, right - 1), knots.gather(1, right)
        y0, y1 = values.gather(1, right - 1), values.gather(1, right)
        slope = torch.where(x1 > x0, (y1 - y0) / (x1 - x0), 0.0)
        inside = y0 + (columns.clamp(knots[:, :1], knots[:, -1:]) - x0) * slope
        beyond = self.tails.to(x)
        below, above = (knots[:, :1] - columns).clamp(min=0.0), (columns - knots[:, -1:]).clamp(min=0.0)
        return (inside + (beyond[:, 1:] * above).log1p() - (beyond[:, :1] * below).log1p()).mT


class Radius(nn.Module):
    """Normal score of the logarithm of the robustly scaled norm, through which heavy-tailed vectors depend.

    :param samples: Fitting sample of shape `(n, d)`, no constant column.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, samples: FloatArray) -> None:
        super().__init__()
        low, centre, high = np.quantile(samples, [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high > low, high - low, samples.std(0))
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.margin = RankGaussian(self._log_norm(torch.tensor(samples, dtype=torch.float32)).double().numpy())

    def _log_norm(self, x: Tensor) -> Tensor:
        scaled = ((x - self.centre.to(x)) / self.scale.to(x)).abs()
        return (2.0 * (scaled + 1e-6).log()).logsumexp(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map raw coordinates `(n, d)` to one normal score `(n, 1)`.

        :param x: Shape `(n, d)`.
        """
        out: Tensor = self.margin(self._log_norm(x))
        return out


class SideFeatures(nn.Module):
    """Features of one variable: normal scores, radius, and hat functions on the levels of discrete columns.

    Constant columns are dropped. A column of at most 32 levels is discrete: it is standardised, and with three levels
    or more each level gets a hat function, which is its indicator at the levels and linear in between.

    :param samples: Fitting sample of shape `(n, d)` with at least one column that is not constant.
    """

    continuous: Tensor
    discrete: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, samples: FloatArray) -> None:
        super().__init__()
        levels = [np.unique(column) for column in samples.T]
        continuous = [j for j, level in enumerate(levels) if len(level) > MAX_LEVELS]
        discrete = [j for j, level in enumerate(levels) if 1 < len(level) <= MAX_LEVELS]
        self.register_buffer("continuous", torch.tensor(continuous, dtype=torch.long))
        self.register_buffer("discrete", torch.tensor(discrete, dtype=torch.long))
        self.register_buffer("mean", torch.tensor(samples[:, discrete].mean(0), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(samples[:, discrete].std(0), dtype=torch.float32))
        self.scores = RankGaussian(samples[:, continuous]) if continuous else None
        self.radius = Radius(samples[:, continuous]) if continuous else None
        nb_hats = sum(len(levels[j]) for j in discrete if len(levels[j]) > 2)
        self.hats = Hats([levels[j] for j in discrete]) if 0 < nb_hats <= MAX_HATS else None
        self.dim = len(continuous) + bool(continuous) + len(discrete) + (nb_hats if self.hats is not None else 0)
        self.waves = NB_WAVES if 0 < len(continuous) <= MAX_WAVE_COLUMNS else 0
        self.dim += 2 * self.waves * len(continuous)
        self.radius_columns = [len(continuous)] if continuous else []
        extra = 2 * self.waves * len(continuous)
        plain = self.dim - extra
        first = len(continuous) + 1 + extra
        self.linear_columns = [*range(len(continuous)), *(range(first, self.dim) if continuous else range(plain))]

    def forward(self, x: Tensor) -> Tensor:
        """Map raw inputs.

        :param x: Shape `(n, d)`.
        :return: Features of shape `(n, dim)`.
        """
        parts = []
        if self.scores is not None and self.radius is not None:
            columns = x[:, self.continuous]
            normal = self.scores(columns)
            parts += [normal, self.radius(columns)]
            if self.waves:
                parts += _waves(normal, self.waves)
        if len(self.discrete) > 0:
            columns = x[:, self.discrete]
            parts.append((columns - self.mean.to(x)) / self.std.to(x))
            if self.hats is not None:
                parts.append(self.hats(columns))
        return torch.cat(parts, 1)


def _waves(scores: Tensor, nb: int) -> list[Tensor]:
    angle = torch.pi * torch.special.ndtr(scores)
    return [wave(k * angle) for k in range(1, nb + 1) for wave in (torch.sin, torch.cos)]


class Hats(nn.Module):
    """Hat functions on the levels of discrete columns: at each level the indicator of that level, linear in between.

    :param levels: The sorted levels of each column; columns of fewer than three levels get no hats.
    """

    def __init__(self, levels: list[FloatArray]) -> None:
        super().__init__()
        self.columns = [j for j, level in enumerate(levels) if len(level) > 2]
        for j in self.columns:
            self.register_buffer(f"levels_{j}", torch.tensor(levels[j], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Map discrete columns `(n, d)` to `(n, total number of levels)`.

        :param x: Shape `(n, d)`.
        """
        parts = []
        for j in self.columns:
            level = self.get_buffer(f"levels_{j}").to(x)
            gaps = level.diff()
            left, right = torch.cat([gaps[:1], gaps]), torch.cat([gaps, gaps[-1:]])
            offset = x[:, j, None] - level
            parts.append((1.0 - torch.where(offset < 0, -offset / left, offset / right)).clamp(min=0.0))
        return torch.cat(parts, 1)


class Sketch(nn.Module):
    """Leading principal components of the standardised input, each scaled to unit variance.

    :param samples: Fitting sample of shape `(n, d)` with at least one column that is not constant.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, samples: FloatArray) -> None:
        super().__init__()
        std = samples.std(0)
        scale = np.where(std > 1e-6 * std.max(), std, np.inf)
        standard = (samples - samples.mean(0)) / scale
        values, vectors = np.linalg.eigh(standard.T @ standard / len(samples))
        keep = np.arange(len(values))[::-1][:MAX_SKETCH]
        keep = keep[values[keep] > 1e-6 * values[-1]]
        self.register_buffer("mean", torch.tensor(samples.mean(0), dtype=torch.float32))
        self.register_buffer(
            "directions", torch.tensor(vectors[:, keep] / np.sqrt(values[keep]) / scale[:, None], dtype=torch.float32)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map flattened inputs `(n, d)` to components `(n, k)`.

        :param x: Shape `(n, ...)`.
        """
        return (x.flatten(1) - self.mean.to(x)) @ self.directions.to(x)


class LearnedFeatures(nn.Module):
    """A linear sketch beside a learned part: convolutions for images, a hidden layer for wide vectors.

    :param samples: Fitting sample of shape `(n, d)`, or `(n, c, h, w)` with h, w >= 4.
    :param width: Outputs of the learned part.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, samples: FloatArray, *, width: int = 128) -> None:
        super().__init__()
        self.sketch = Sketch(samples.reshape(len(samples), -1))
        over = (0, 2, 3) if samples.ndim == 4 else (0,)
        std = samples.std(over, keepdims=True)[0]
        self.register_buffer("centre", torch.tensor(samples.mean(over, keepdims=True)[0], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(1 / np.where(std > 0, std, np.inf), dtype=torch.float32))
        wide = samples.shape[1]
        body = convolutional(wide, width) if samples.ndim == 4 else nn.Linear(wide, width, dtype=torch.float32)
        self.learned = nn.Sequential(body, nn.ReLU())
        nb_components = self.sketch.directions.shape[1]
        self.dim = nb_components + width
        self.linear_columns, self.radius_columns = list(range(nb_components)), list[int]()

    def forward(self, x: Tensor) -> Tensor:
        """Map raw inputs to features `(n, dim)`.

        :param x: Shape `(n, ...)`.
        """
        standard = (x - self.centre.to(x)) * self.scale.to(x)
        return torch.cat([self.sketch(x), self.learned(standard)], 1)


def convolutional(channels: int, dim_out: int, *, width: int = 32) -> nn.Sequential:
    """Two strided convolutions, a pool to 2 x 2 and a linear map: images of any size from 4 x 4 to vectors.

    :param channels: Channels of the image.
    :param dim_out: Outputs.
    :param width: Channels after the first convolution; the second doubles them.
    :return: The network, without any normalisation across the batch.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1, dtype=torch.float32),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, dtype=torch.float32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, dim_out, dtype=torch.float32),
    )


def features(samples: FloatArray) -> SideFeatures | LearnedFeatures:
    """Features that suit the shape of one variable.

    :param samples: Fitting sample of shape `(n, ...)`.
    :return: Normal scores and indicators for vectors of up to 64 columns, a sketch with a learned part otherwise.
        Arrays that are neither vectors nor images of at least 4 x 4 are to be flattened by the caller.
    """
    if samples.ndim == 4 or samples.shape[1] > MAX_COLUMNS:
        return LearnedFeatures(samples)
    return SideFeatures(samples)
