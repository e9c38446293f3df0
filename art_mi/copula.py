"""A critic that starts from the closed-form answer for Gaussian copulas and learns the rest."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_mi.bounds import donsker_varadhan
from art_mi.critics import Critic, SumCritic, joint_critic, separable_critic
from art_mi.preprocessing import FloatArray, LearnedFeatures, SideFeatures, features

MAX_CORRELATION = 0.9999
NOISY_SHARE = 0.005


def copula_critic(
    x: FloatArray, z: FloatArray, *, residual: str = "separable", width: int = 128, seed: int = 0
) -> SumCritic:
    """A critic that starts from the closed-form Gaussian-copula answer: T = a T0 + b T1 + residual.

    T0 is the log density ratio of the Gaussian fitted to the normal scores of both sides, T1 the same for their radii;
    a and b start where the Donsker-Varadhan bound is largest on a fifth of the fitting sample that the terms had not
    seen; the residual starts at zero. With many coordinates a copy of T0 with shrunk correlations joins in.
    Whatever is Gaussian up to monotone maps of the coordinates is answered before the first step.

    :param x: Fitting sample of shape `(n, ...)`.
    :param z: Fitting sample of shape `(n, d)`.
    :param residual: `"separable"`, `"joint"` or `"both"`.
    :param width: Hidden units of the encoders of a separable residual.
    :param seed: Seed of the initial weights; global state is left as it was.
    :return: The critic, on the CPU.
    :raises ValueError: If `residual` is unknown.
    """
    if residual not in ("separable", "joint", "both"):
        raise ValueError(f"`residual` must be 'separable', 'joint' or 'both', got {residual!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
        x_features, z_features = features(x), features(z)
        residuals: list[Critic] = []
        if residual in ("separable", "both"):
            residuals.append(separable_critic(x_features.dim, z_features.dim, width=width))
        if residual in ("joint", "both"):
            residuals.append(joint_critic(x_features.dim, z_features.dim))
    with torch.no_grad():
        x_fit, z_fit = x_features(_float(x)), z_features(_float(z))
    starts = _gaussian_terms(x_features, z_features, x_fit, z_fit)
    return SumCritic(x_features, z_features, [*starts, *residuals])


def _gaussian_terms(
    x_features: SideFeatures | LearnedFeatures, z_features: SideFeatures | LearnedFeatures, x: Tensor, z: Tensor
) -> list[Critic]:
    x_fit, z_fit = x.double().numpy(), z.double().numpy()
    linear = x_features.linear_columns, z_features.linear_columns
    variants = [(*linear, False)]
    if len(linear[0]) * len(linear[1]) > NOISY_SHARE * len(x):
        variants.append((*linear, True))
    if x_features.radius_columns and z_features.radius_columns:
        variants.append((x_features.radius_columns, z_features.radius_columns, False))
    # Gains are chosen on a fifth of the fitting sample, with the terms fitted on the rest
    held_out = len(x) // 5
    gains = _best_gains(
        [GaussianRatio(x_fit[held_out:], z_fit[held_out:], *variant) for variant in variants],
        x[:held_out],
        z[:held_out],
    )
    terms: list[Critic] = []
    for variant, gain in zip(variants, gains, strict=True):
        if gain > 0 or variant is variants[0]:
            term = GaussianRatio(x_fit, z_fit, *variant)
            nn.init.constant_(term.gain, gain)
            terms.append(term)
    return terms


def _best_gains(terms: list[GaussianRatio], x: Tensor, z: Tensor) -> tuple[float, ...]:
    size = min(64, len(x))
    rows = torch.arange(len(x) - len(x) % size).view(-1, size)
    with torch.no_grad():
        scores = torch.stack([term.scores(term.x_side(x)[rows], term.z_side(z)[rows]) for term in terms])
        grid = list(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=len(terms)))
        values = [donsker_varadhan(torch.tensordot(_float(gains), scores, 1)) for gains in grid]
    return grid[int(torch.stack(values).argmax())]


class GaussianRatio(Critic):
    """Log density ratio of a Gaussian fitted to features, in canonical coordinates; all of it can be trained further.

    T0 = gain * sum_k r_k u_k v_k / (1 - r_k^2) - r_k^2 (u_k^2 + v_k^2) / (2 (1 - r_k^2)), constants dropped, where
    r_k are the canonical correlations.

    :param x: Features of the fitting sample, shape `(n, p)`.
    :param z: Features of the fitting sample, shape `(n, q)`.
    :param x_columns: Columns of `x` to use.
    :param z_columns: Columns of `z` to use.
    :param shrink: Shrink the correlations as is optimal for a low-rank matrix in white noise, which many coordinates
        need (Gavish and Donoho, https://arxiv.org/abs/1405.7511).
    """

    x_mean: Tensor
    z_mean: Tensor

    def __init__(
        self, x: FloatArray, z: FloatArray, x_columns: list[int], z_columns: list[int], shrink: bool = False
    ) -> None:
        super().__init__()
        self.x_columns, self.z_columns = x_columns, z_columns
        x, z = x[:, x_columns], z[:, z_columns]
        white_x, white_z = _whitening(x), _whitening(z)
        cross = ((x - x.mean(0)) @ white_x).T @ ((z - z.mean(0)) @ white_z) / len(x)
        left, r, right = np.linalg.svd(cross, full_matrices=False)
        r = np.minimum(_shrunk(r, cross.shape, len(x)) if shrink else r, MAX_CORRELATION)
        self.gain = nn.Parameter(_float(1.0))
        self.register_buffer("x_mean", _float(x.mean(0)))
        self.register_buffer("z_mean", _float(z.mean(0)))
        self.x_map = nn.Parameter(_float(white_x @ left))
        self.z_map = nn.Parameter(_float(white_z @ right.T))
        self.dot = nn.Parameter(_float(r / (1 - r**2)))
        self.x_square = nn.Parameter(_float(r**2 / (1 - r**2)))
        self.z_square = nn.Parameter(_float(r**2 / (1 - r**2)))

    def x_side(self, x: Tensor) -> Tensor:
        """See :class:`Critic`."""
        return (x[:, self.x_columns] - self.x_mean) @ self.x_map

    def z_side(self, z: Tensor) -> Tensor:
        """See :class:`Critic`."""
        return (z[:, self.z_columns] - self.z_mean) @ self.z_map

    def scores(self, x_side: Tensor, z_side: Tensor) -> Tensor:
        """See :class:`Critic`."""
        rows, columns = x_side.square() @ self.x_square, z_side.square() @ self.z_square
        return self.gain * ((x_side * self.dot) @ z_side.mT - 0.5 * (rows.unsqueeze(-1) + columns.unsqueeze(-2)))


def _float(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _shrunk(singular_values: FloatArray, shape: tuple[int, ...], n: int) -> FloatArray:
    unit = math.sqrt(max(shape) / n)
    ratio = min(shape) / max(shape)
    y = np.maximum(singular_values / unit, 1.0 + math.sqrt(ratio))
    return np.asarray(unit * np.sqrt(np.maximum((y**2 - ratio - 1) ** 2 - 4 * ratio, 0.0)) / y)


def _whitening(samples: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(samples, rowvar=False, ddof=0)))
    keep = values > 1e-4 * values[-1]
    return np.asarray(vectors[:, keep] / np.sqrt(values[keep]))
