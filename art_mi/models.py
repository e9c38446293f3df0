"""Small networks for the demo and the examples, and networks of other packages as ART classifiers."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torchvision.models
from art.estimators.classification import PyTorchClassifier
from torch import nn
from torchvision.models import WeightsEnum

from art_mi.extras import optional
from art_mi.randomness import isolated_randomness
from art_mi.rules import BOOLEAN, SEED, TEXT, Rule, check, integer, one_of, or_none

Preprocessing = tuple[Sequence[float], Sequence[float]]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

IMAGE: Rule = (
    "three positive integers (channels, height, width)",
    lambda v: isinstance(v, Sequence) and len(v) == 3 and all(map(integer(1)[1], v)),
)
PAIR: Rule = "a mean and a standard deviation a channel", lambda v: isinstance(v, Sequence) and len(v) == 2
ROBUSTBENCH = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "imagenet": ((3, 224, 224), 1000)}


def small_cnn(input_shape: Sequence[int], nb_classes: int, *, width: int = 32, random_state: int = 0) -> nn.Sequential:
    """Two convolutions and two linear layers; `features` (64 units) is the layer before the logits.

    :param input_shape: `(channels, height, width)`.
    :param nb_classes: Number of logits.
    :param width: Channels of the first convolution; the second has twice as many.
    :param random_state: Seed of the initial weights.
    :raises ValueError: If an argument breaks its rule.
    """
    for name, value, rule in (
        ("input_shape", input_shape, IMAGE),
        ("nb_classes", nb_classes, integer(1)),
        ("width", width, integer(1)),
        ("random_state", random_state, SEED),
    ):
        check(name, value, rule)
    channels, height, across = input_shape
    flat = 2 * width * -(-height // 2) * -(-across // 2)
    model = nn.Sequential()
    with isolated_randomness(random_state, torch.device("cpu")):
        model.add_module("conv1", nn.Conv2d(channels, width, 3, padding=1))
        model.add_module("relu1", nn.ReLU())
        model.add_module("conv2", nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
        model.add_module("relu2", nn.ReLU())
        model.add_module("flatten", nn.Flatten())
        model.add_module("features", nn.Linear(flat, 64))
        model.add_module("relu3", nn.ReLU())
        model.add_module("logits", nn.Linear(64, nb_classes))
    _initialise(model, random_state)
    return model


def _initialise(model: nn.Module, random_state: int) -> None:
    """PyTorch's own initial weights, drawn from a seed instead of global state."""
    generator = torch.Generator().manual_seed(random_state)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def from_torchvision(
    name: str,
    *,
    weights: str | WeightsEnum | None = None,
    nb_classes: int | None = None,
    input_shape: Sequence[int] | None = None,
    preprocessing: Preprocessing | None = None,
    optimizer: OptimizerFactory | None = None,
    device_type: str = "gpu",
    random_state: int = 0,
    **kwargs: Any,
) -> PyTorchClassifier:
    """A classifier of torchvision for images in [0, 1], normalised as its weights want them.

    Images are to be resized and cropped before: perturbations are measured in the pixels that the network is given.

    :param name: Name of the network, such as `"resnet18"`.
    :param weights: Name of weights, such as `"DEFAULT"` or `"IMAGENET1K_V1"`, or the member of torchvision's enum;
        torchvision downloads them where they are missing. None for random weights.
    :param nb_classes: Number of logits; by default that of the weights, and 1000 without.
    :param input_shape: `(channels, height, width)`; by default what the weights were evaluated on.
    :param preprocessing: Mean and standard deviation of the channels; by default those of the weights, without weights
        those of the network's default weights.
    :param optimizer: Makes the optimizer of the parameters, such as `functools.partial(torch.optim.SGD, lr=0.1)`.
    :param device_type: As in ART, `"cpu"` or `"gpu"`, which is the CPU where there is none.
    :param random_state: Seed of random weights. Global random state is left as it was.
    :param kwargs: Passed to `torchvision.models.get_model`.
    :raises ValueError: If the name or the weights are unknown, their file is damaged or would run code, or another
        argument breaks its rule.
    """
    check("name", name, TEXT)
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ValueError(f"`name` must be a classifier of torchvision, got {name!r}. {_close(name, names)}")
    check("nb_classes", nb_classes, or_none(integer(1)))
    check("random_state", random_state, SEED)
    check("input_shape", input_shape, or_none(IMAGE))
    check("preprocessing", preprocessing, or_none(PAIR))
    known: Any = torchvision.models.get_model_weights(name)
    chosen = None if weights is None else _weights(known, weights)
    described = chosen or known["DEFAULT"]
    transforms, classes = described.transforms(), len(described.meta["categories"])
    if chosen is not None and nb_classes not in (None, classes):
        raise ValueError(f"`nb_classes` must be that of the weights, {classes}, got {nb_classes}; or replace the head.")
    nb_classes = nb_classes or classes
    with isolated_randomness(random_state, torch.device("cpu")), _tensors_alone("weights", weights):
        model = torchvision.models.get_model(name, weights=chosen, num_classes=nb_classes, **kwargs)
    return _wrapped(
        model,
        input_shape or (3, *transforms.crop_size, *transforms.crop_size),
        nb_classes,
        preprocessing or (transforms.mean, transforms.std),
        optimizer,
        device_type,
    )


def from_timm(
    name: str,
    *,
    pretrained: bool = False,
    nb_classes: int | None = None,
    input_shape: Sequence[int] | None = None,
    preprocessing: Preprocessing | None = None,
    optimizer: OptimizerFactory | None = None,
    device_type: str = "gpu",
    random_state: int = 0,
    **kwargs: Any,
) -> PyTorchClassifier:
    """A classifier of timm for images in [0, 1], normalised as its weights want them; needs the extra `timm`.

    Images are to be resized and cropped before: perturbations are measured in the pixels that the network is given.

    :param name: Name of the network, with or without the tag of its weights, such as `"resnet18.a1_in1k"`.
    :param pretrained: Take the weights of that tag, which timm downloads where they are missing; random ones otherwise.
    :param nb_classes: Number of logits, those of a new head where the weights have another; by default that of the
        weights.
    :param input_shape: `(channels, height, width)`; by default that of timm's configuration of the weights.
    :param preprocessing: Mean and standard deviation of the channels; by default those of that configuration.
    :param optimizer: See :func:`from_torchvision`.
    :param device_type: See :func:`from_torchvision`.
    :param random_state: Seed of random weights. Global random state is left as it was.
    :param kwargs: Passed to `timm.create_model`.
    :raises ImportError: If timm is missing.
    :raises ValueError: If the name is unknown, the file of its weights would run code, or another argument breaks its
        rule.
    """
    check("name", name, TEXT)
    timm = optional("timm", "timm")
    if ":" not in name and not timm.is_model(name):  # with a colon it is an address on a hub
        raise ValueError(f"`name` must be a network of timm, got {name!r}. {_close(name, timm.list_models())}")
    check("nb_classes", nb_classes, or_none(integer(1)))
    check("random_state", random_state, SEED)
    check("input_shape", input_shape, or_none(IMAGE))
    check("preprocessing", preprocessing, or_none(PAIR))
    check("pretrained", pretrained, BOOLEAN)
    with isolated_randomness(random_state, torch.device("cpu")), _tensors_alone("pretrained", pretrained):
        model = timm.create_model(name, pretrained=pretrained, num_classes=nb_classes, **kwargs)
    described = timm.data.resolve_model_data_config(model)
    return _wrapped(
        model,
        input_shape or described["input_size"],
        model.num_classes,
        preprocessing or (described["mean"], described["std"]),
        optimizer,
        device_type,
    )


def from_robustbench(
    model: nn.Module,
    *,
    dataset: str = "cifar10",
    input_shape: Sequence[int] | None = None,
    optimizer: OptimizerFactory | None = None,
    device_type: str = "gpu",
) -> PyTorchClassifier:
    """A model of RobustBench for images in [0, 1]; it normalises them itself, so that no preprocessing is added.

    RobustBench is not imported: it loads its models, and this takes any module that is like them.

    :param model: What `robustbench.utils.load_model(name, dataset=..., threat_model=...)` gives.
    :param dataset: `"cifar10"`, `"cifar100"` or `"imagenet"`.
    :param input_shape: `(channels, height, width)`; by default that of the data set, with 224 pixels for ImageNet.
    :param optimizer: See :func:`from_torchvision`.
    :param device_type: See :func:`from_torchvision`.
    :raises TypeError: If `model` is no module.
    :raises ValueError: If `dataset` is unknown.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"`model` must be a torch module, got {type(model).__name__}; see robustbench.utils.load_model."
        )
    check("dataset", dataset, one_of(ROBUSTBENCH))
    check("input_shape", input_shape, or_none(IMAGE))
    shape, nb_classes = ROBUSTBENCH[dataset]
    return _wrapped(model, input_shape or shape, nb_classes, None, optimizer, device_type)


def _weights(known: Any, weights: str | WeightsEnum) -> Any:
    """The member of a network's enum of weights; those without a head have no classes and are not offered."""
    names = ["DEFAULT", *(member.name for member in known if member.meta["categories"])]
    name = weights.name if isinstance(weights, known) else weights
    return known[check("weights", name, one_of(names))]


@contextmanager
def _tensors_alone(name: str, value: Any) -> Iterator[None]:
    """Files of weights are read without running what they hold, whatever torchvision and timm ask `torch.load` for.

    :param name: Argument that asks for the weights.
    :param value: What it is.
    """
    forced = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = {variable: os.environ.pop(variable, None) for variable in forced}
    os.environ[forced[0]] = "1"
    try:
        yield
    except Exception as error:
        if "Weights only load failed" not in str(error) and "weights_only=True blocked" not in str(error):
            raise
        said = str(error).splitlines()[0]
        raise ValueError(f"`{name}` must be those of a file that holds tensors alone, got {value!r}: {said}") from error
    finally:
        os.environ.pop(forced[0])
        os.environ.update({variable: kept for variable, kept in before.items() if kept is not None})


def _wrapped(
    model: nn.Module,
    input_shape: Sequence[int],
    nb_classes: int,
    preprocessing: Preprocessing | None,
    optimizer: OptimizerFactory | None,
    device_type: str,
) -> PyTorchClassifier:
    check("device_type", device_type, one_of(("cpu", "gpu")))
    if optimizer is not None and not callable(optimizer):
        raise TypeError(f"`optimizer` must make an optimizer of parameters, got {type(optimizer).__name__}.")
    standardise = None
    if preprocessing is not None:
        # Of full shape: ART takes vectors for those of the last axis where an image is as wide as it has channels
        mean, std = (np.asarray(part, np.float32).reshape(-1, 1, 1) for part in preprocessing)
        standardise = mean, std
        if not len(mean) == len(std) == input_shape[0]:
            channels = input_shape[0]
            raise ValueError(f"`preprocessing` must have the {channels} channels of an input, got {preprocessing}.")
    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(input_shape),
        nb_classes=nb_classes,
        optimizer=None if optimizer is None else optimizer(model.parameters()),
        clip_values=(0.0, 1.0),
        preprocessing=standardise,
        device_type=device_type,
    )


def _close(name: str, names: Sequence[str]) -> str:
    return f"Close names: {', '.join(difflib.get_close_matches(name, names, n=5, cutoff=0.4)) or 'none'}."
