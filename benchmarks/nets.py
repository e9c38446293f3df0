"""Networks, pixels and labels to be timed with; their values hardly matter for speed, so that nothing is downloaded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torchvision.models import resnet18

CLASSES = 10


class _Whole(nn.Module):
    """One module: of an `nn.Sequential` ART takes every layer's output, at which its TRADES trainer fails."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Any:
        """Logits."""
        return self.layers(x)


@dataclass(frozen=True)
class Net:
    """A network and the threat model it is usually trained against.

    :param name: What tables call it.
    :param input_shape: Of one image.
    :param eps: Radius in the l_inf norm.
    :param eps_step: Step size of the attack.
    :param layers: Makes the network, its weights drawn from torch's global generator.
    """

    name: str
    input_shape: tuple[int, ...]
    eps: float
    eps_step: float
    layers: Callable[[], nn.Module]

    def model(self, device: str = "cpu") -> nn.Module:
        """A fresh network, the same weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _Whole(self.layers()).to(device)

    def classifier(self, device: str = "cpu") -> PyTorchClassifier:
        """A fresh network as an ART classifier, with the optimizer of :func:`optimizer`."""
        model = self.model(device)
        return PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            optimizer=optimizer(model),
            input_shape=self.input_shape,
            nb_classes=CLASSES,
            clip_values=(0.0, 1.0),
            device_type="gpu" if device.startswith("cuda") else "cpu",
        )

    def images(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Uniform pixels in [0, 1] and labels, the same ones every time."""
        rng = np.random.default_rng(0)
        return rng.random((number, *self.input_shape), dtype=np.float32), rng.integers(0, CLASSES, number)


def optimizer(model: nn.Module) -> Optimizer:
    """What every network is trained with."""
    return SGD(model.parameters(), lr=0.01, momentum=0.9)


def _tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, CLASSES))


def _small() -> nn.Module:
    """conv16-conv32-fc100-fc10."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, CLASSES)),
    )


def _mnist() -> nn.Module:
    """conv32-conv64-fc1024-fc10, the network of Madry et al. for MNIST."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 7 * 7, 1024), nn.ReLU(), nn.Linear(1024, CLASSES)),
    )


def _resnet18() -> nn.Module:
    """The shape that CIFAR-10 is trained with: a stem of 3x3, no pooling after it."""
    model: nn.Module = resnet18(num_classes=CLASSES)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


class _Wide(nn.Module):
    """A block of a wide residual network: normalised, rectified and convolved twice."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.rest = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            *(nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)),
        )
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Any:
        """The block's output."""
        rectified = self.first(x)
        return self.rest(rectified) + (x if self.short is None else self.short(rectified))


def _wide_resnet(blocks: int = 5, width: int = 10) -> nn.Module:
    """WRN-34-10: three stages of five blocks."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Conv2d(3, 16, 3, padding=1, bias=False))
    before = 16
    for stage, stride in enumerate((1, 2, 2)):
        after = 16 * width * 2**stage
        for block in range(blocks):
            layers[f"stage{stage}_{block}"] = _Wide(before, after, 1 if block else stride)
            before = after
    head = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(layers | {"head": head, "logits": nn.Linear(before, CLASSES)})


TINY = Net("tiny CNN", (1, 8, 8), 0.1, 0.03, _tiny)
SMALL = Net("small CNN", (1, 28, 28), 0.1, 0.025, _small)
MNIST = Net("MNIST CNN", (1, 28, 28), 0.3, 0.075, _mnist)
RESNET18 = Net("ResNet-18", (3, 32, 32), 8 / 255, 2 / 255, _resnet18)
WIDE_RESNET = Net("WRN-34-10", (3, 32, 32), 8 / 255, 2 / 255, _wide_resnet)
