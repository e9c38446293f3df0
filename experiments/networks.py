"""Networks of the experiments, for images from 8 x 8 pixels; the layer `features` of each is what its head sees."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models import DenseNet
from torchvision.models.resnet import BasicBlock

from art_mi.randomness import isolated_randomness

Layers = Sequence[nn.Module]


def network(
    name: str, input_shape: Sequence[int], nb_classes: int, *, random_state: int = 0, **sizes: int
) -> nn.Sequential:
    """A network of parts `body`, `features` and `head`.

    :param name: Out of :data:`NETWORKS`.
    :param input_shape: `(channels, height, width)`.
    :param nb_classes: Number of logits.
    :param random_state: Seed of the weights; global random state is left as it was.
    :param sizes: What its builder takes, in place of the published sizes.
    """
    with isolated_randomness(random_state, torch.device("cpu")):
        body, features, head = NETWORKS[name](input_shape[0], nb_classes, **sizes)
        parts = OrderedDict(body=nn.Sequential(*body), features=features, head=nn.Sequential(*head))
        model = nn.Sequential(parts).eval()
        model(torch.zeros(1, *input_shape))  # lazy layers learn their shapes
    return model.to(memory_format=torch.channels_last).train()  # faster on CPUs, equal but for rounding


def encoder(model: nn.Sequential) -> nn.Sequential:
    """A network without its head.

    :param model: From :func:`network`.
    """
    return model[:-1]


class Frozen(nn.Module):
    """A module that no training changes: its weights get no gradients, and it stays in evaluation mode.

    :param module: What to freeze, in place.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Nothing, as a module in evaluation mode stays in it."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Its output."""
        out: Tensor = self.module(x)
        return out


def linear_head(nb_classes: int) -> Layers:
    """One linear layer."""
    return [nn.LazyLinear(nb_classes)]


def mlp_head(nb_classes: int) -> Layers:
    """Two, as in section 6.2 of https://arxiv.org/abs/2002.11798."""
    return [nn.LazyLinear(200), nn.Dropout(0.1), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, nb_classes)]


HEADS: dict[str, Callable[[int], Layers]] = {"linear": linear_head, "MLP": mlp_head}


def _small_cnn(channels: int, nb_classes: int, width: int = 16) -> tuple[Layers, nn.Module, Layers]:
    """Two convolutions and two linear layers, as in https://arxiv.org/abs/1711.00851."""
    body = [
        *(nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.ReLU()),
        nn.Flatten(),
    ]
    return body, nn.LazyLinear(100), [nn.ReLU(), *linear_head(nb_classes)]


def _baseline_h(
    channels: int, nb_classes: int, width: int = 64, head: Callable[[int], Layers] = mlp_head
) -> tuple[Layers, nn.Module, Layers]:
    """Encoder to 64 features and head of https://arxiv.org/abs/2002.11798, section 6.2."""
    body: list[nn.Module] = []
    for before, after in pairwise((channels, width, 2 * width, 4 * width)):
        body += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    body += [nn.Flatten(), nn.LazyLinear(16 * width, bias=False), nn.BatchNorm1d(16 * width), nn.ReLU()]
    return body, nn.Linear(16 * width, 64), head(nb_classes)


def _vgg(channels: int, nb_classes: int, width: int = 64, stride: int = 1) -> tuple[Layers, nn.Module, Layers]:
    """Three pairs of convolutions with batch normalisation, each pair before a pooling."""
    body: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise((channels, width, 2 * width, 4 * width))):
        first = _convolution(before, after, stride if number == 0 else 1)
        body += [*first, *_convolution(after, after), nn.MaxPool2d(2)]
    return body, nn.Flatten(), linear_head(nb_classes)


def _resnet18(channels: int, nb_classes: int, width: int = 64, stride: int = 1) -> tuple[Layers, nn.Module, Layers]:
    """Torchvision's blocks behind the 3 x 3 stem that is usual for small images."""
    body = [*_convolution(channels, width, stride)]
    for number, (before, after) in enumerate(pairwise((width, width, 2 * width, 4 * width, 8 * width))):
        step = 1 if number == 0 else 2
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, step, bias=False), nn.BatchNorm2d(after))
        body += [BasicBlock(before, after, step, None if step == 1 else shortcut), BasicBlock(after, after)]
    body += [nn.AdaptiveAvgPool2d(1)]
    return body, nn.Flatten(), linear_head(nb_classes)


def _densenet(
    channels: int, nb_classes: int, growth: int = 12, layers: int = 16, stride: int = 1
) -> tuple[Layers, nn.Module, Layers]:
    """Torchvision's DenseNet-BC of three blocks, of 100 layers by default, behind a 3 x 3 stem."""
    stem = 2 * growth
    blocks = DenseNet(growth, (layers, layers, layers), stem, num_classes=nb_classes).features[4:]
    body = [nn.Conv2d(channels, stem, 3, stride, padding=1, bias=False), *blocks, nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return body, nn.Flatten(), linear_head(nb_classes)


def _convolution(before: int, after: int, stride: int = 1) -> Layers:
    return [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


NETWORKS: dict[str, Callable[..., tuple[Layers, nn.Module, Layers]]] = {
    "small CNN": _small_cnn,
    "Baseline-H": _baseline_h,
    "Baseline-H, linear head": partial(_baseline_h, head=linear_head),
    "VGG-like": _vgg,
    "ResNet-18": _resnet18,
    "DenseNet": _densenet,
}
