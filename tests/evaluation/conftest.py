"""Classifiers whose robust accuracy is known, and attacks that do as they are told; one `Toy` serves all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from numpy.typing import NDArray
from torch import nn

SHAPE = (1, 6, 6)


class Linear(nn.Module):
    """Logits (m, -m, -9, ...) with m = w.x + b: the classes after the second are never predicted."""

    def __init__(self, nb_classes: int = 3, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(36, generator=generator))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum())
        self.nb_classes, self.scale = nb_classes, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m = x.flatten(1) @ self.weight + self.bias
        others = torch.full((len(x), self.nb_classes - 2), -9.0, device=x.device)
        return self.scale * torch.cat([m[:, None], -m[:, None], others - m.abs()[:, None]], 1)


class Through(nn.Module):
    """A model behind a function of its inputs."""

    def __init__(self, model: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(self.function(x))
        return out + 0 * x.flatten(1)[:, :1]


class Told(EvasionAttack):  # type: ignore[misc]
    """Adds what it is told to and counts its calls."""

    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, "norm", "eps", "label"]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin)

    def __init__(self, estimator: Any, added: Any, *, norm: Any = np.inf, eps: Any = 0.1, label: str = "") -> None:
        super().__init__(estimator=estimator)
        self.added, self.norm, self.eps, self.label = added, norm, eps, label
        self.calls = 0
        self.interrupted = False

    def generate(self, x: NDArray[np.float32], y: Any = None, **kwargs: Any) -> Any:
        self.calls += 1
        if self.interrupted:
            raise KeyboardInterrupt
        return x + self.added


class Toy:
    """A linear classifier on 40 images around grey, and which of them stay right in a ball."""

    linear, through = Linear, Through

    def classifier(self, model: nn.Module | None = None, *, nb_classes: int = 3, **options: Any) -> PyTorchClassifier:
        model = Linear(nb_classes) if model is None else model
        options = {"clip_values": (0.0, 1.0), "device_type": "cpu", **options}
        return PyTorchClassifier(model, nn.CrossEntropyLoss(), SHAPE, nb_classes, **options)

    def x(self, n: int = 40) -> NDArray[np.float32]:
        return np.random.default_rng(0).uniform(0.3, 0.7, (n, *SHAPE)).astype(np.float32)

    def margin(self, n: int = 40) -> NDArray[np.float64]:
        model = Linear()
        weight, bias = model.weight.detach().double().numpy(), float(model.bias.detach())
        return self.x(n).reshape(n, -1).astype(np.float64) @ weight + bias

    def y(self, n: int = 40) -> NDArray[np.int64]:
        """The classifier's own predictions, but for every tenth."""
        right = (self.margin(n) < 0).astype(np.int64)
        return np.where(np.arange(n) % 10 == 0, 1 - right, right)

    def robust(self, eps: float, norm: float = np.inf, n: int = 40) -> NDArray[np.bool_]:
        """Whether the whole ball is right: it is to begin with, and |m| > eps ||w||_q, q the dual norm."""
        weight = Linear().weight.detach().double().numpy()
        reach = eps * np.linalg.norm(weight, ord={np.inf: 1, 2: 2, 1: np.inf}[norm])
        assert np.abs(np.abs(self.margin(n)) - reach).min() > 1e-3  # no sample is on the edge
        return (np.abs(self.margin(n)) > reach) & (np.arange(n) % 10 != 0)

    def told(self, art: PyTorchClassifier, breaks: NDArray[np.bool_], **options: Any) -> Told:
        """An attack that makes exactly these samples wrong, by a step across the boundary."""
        weight = art.model.weight.detach().numpy().reshape(SHAPE)
        size = -(self.margin(len(breaks)) / (weight**2).sum()) * 1.01 * breaks
        return Told(art, (size[:, None, None, None] * weight[None]).astype(np.float32), **options)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()
