"""Classifiers, attacks and data small enough to train in milliseconds; one instance of `Toy` serves all tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from numpy.typing import NDArray
from torch import nn
from torch.amp import GradScaler

FEATURES, CLASSES = 4, 3


class Toy:
    """Three classes of points in the unit cube of four dimensions."""

    def network(self, *between: nn.Module, width: int = 8, seed: int = 3) -> nn.Sequential:
        model = nn.Sequential(nn.Linear(FEATURES, width), *between, nn.Tanh(), nn.Linear(width, CLASSES))
        return self.seeded(model, seed)

    def seeded(self, model: nn.Module, seed: int = 3) -> Any:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.weight.copy_(0.5 * torch.randn(module.weight.shape, generator=generator))
                    module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=generator))
        return model

    def classifier(self, model: nn.Module | None = None, *, lr: float = 0.1, **options: Any) -> PyTorchClassifier:
        model = self.network() if model is None else model
        options = {
            "loss": nn.CrossEntropyLoss(),
            "optimizer": torch.optim.SGD(model.parameters(), lr=lr),
            "input_shape": (FEATURES,),
            "nb_classes": CLASSES,
            "clip_values": (0.0, 1.0),
            "device_type": "cpu",
            **options,
        }
        return PyTorchClassifier(model=model, **options)

    def attack(self, art: PyTorchClassifier, **options: Any) -> ProjectedGradientDescent:
        options = {"norm": np.inf, "eps": 0.1, "eps_step": 0.04, "max_iter": 3, "verbose": False, **options}
        return ProjectedGradientDescent(art, **options)

    def trainer(self, kind: type[Any], art: PyTorchClassifier | None = None, **options: Any) -> Any:
        art = self.classifier() if art is None else art
        attack = options.pop("attack") if "attack" in options else self.attack(art)
        return kind(art, attack, verbose=False, **options)

    def x(self, n: int = 24) -> NDArray[np.float32]:
        return np.random.default_rng(1).random((n, FEATURES), dtype=np.float32)

    def y(self, n: int = 24) -> NDArray[np.int64]:
        directions = np.random.default_rng(2).normal(size=(FEATURES, CLASSES))
        return ((self.x(n) - 0.5) @ directions).argmax(1)

    def half_precision(self, scale: float = 8.0, growth_interval: int = 2000) -> Fabric:
        """16 bits with a scaled gradient, on the CPU."""
        scaler = GradScaler("cpu", scale, growth_interval=growth_interval)
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))

    def weights(self, art: PyTorchClassifier) -> dict[str, bytes]:
        return {name: value.numpy().tobytes() for name, value in art.model.state_dict().items()}


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()
