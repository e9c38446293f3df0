"""What a command line can name: radii, samples, models."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from safetensors import SafetensorError
from safetensors.torch import load_model as load_model_weights
from torch import nn

from art_mi.bridge import evaluating
from art_mi.datasets import load


def fraction(text: str) -> float:
    """A radius such as 0.1 or 8/255.

    :param text: What was typed.
    :raises ValueError: If it is neither.
    """
    try:
        top, _, bottom = text.partition("/")
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"`eps` must be a number or a fraction such as 8/255, got {text!r}.") from None


def samples(data: str, data_dir: str | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Inputs and, where there are some, labels.

    :param data: File .npy or .npz, or the name of a data set, of which the test samples are taken.
    :param data_dir: Folder of torchvision's files.
    :raises ValueError: If there is no such file, or it holds no inputs.
    """
    path = Path(data)
    if path.suffix not in (".npy", ".npz"):
        known = load(data, data_dir)
        return known.x_test, known.y_test
    if not path.is_file():
        raise ValueError(f"`data` must be a file or the name of a data set, got {data!r}, which does not exist.")
    content = np.load(path, allow_pickle=False)
    if path.suffix == ".npy":
        return content.astype(np.float32), None
    if "x" not in content:
        raise ValueError(f"`data` must hold an array `x`, got {', '.join(content.files)}.")
    return content["x"].astype(np.float32), content.get("y", None)


def load_model(source: str) -> nn.Module:
    """A module from a file, or built by a function.

    :param source: torch.export or TorchScript file, or `package.module:function`.
    :raises TypeError: If the function gives something else.
    :raises ValueError: If there is no such file or function.
    """
    path = Path(source)
    if path.is_file():
        return _model_file(path)
    module_name, _, function = source.partition(":")
    if not function:
        raise ValueError(f"`model` must be an existing file or `package.module:function`, got {source!r}.")
    sys.path.insert(0, "")
    try:
        build = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`model` must be importable, got {source!r}: {error}") from error
    finally:
        sys.path.remove("")
    built = build()
    if not isinstance(built, nn.Module):
        raise TypeError(f"`model` must give a torch module, got {type(built).__name__}.")
    return built


def load_weights(module: nn.Module, weights: str) -> None:
    """Weights that `art-mi train` wrote.

    :param module: Of the architecture that was trained.
    :param weights: File .safetensors.
    :raises ValueError: If there is no such file, or it is of another architecture.
    """
    if not Path(weights).is_file():
        raise ValueError(f"`weights` must be an existing file, got {weights!r}.")
    try:
        load_model_weights(module, weights)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"`weights` must be of the model's architecture, got {weights!r}: {error}") from error


def load_classifier(
    model: str, weights: str | None, x: np.ndarray[Any, Any], clip_values: tuple[float, float] | None
) -> PyTorchClassifier:
    """A model as an ART classifier with as many classes as it has outputs.

    :param model: What :func:`load_model` understands.
    :param weights: File .safetensors, or None.
    :param x: Inputs, of which two are passed through the model.
    :param clip_values: Least and largest input value; None for no limits.
    :raises TypeError: If the function gives something else than a module.
    :raises ValueError: If there is no such file or function, or the weights do not fit.
    """
    module = load_model(model)
    if weights is not None:
        load_weights(module, weights)
    with evaluating(module), torch.no_grad():
        output = module(torch.from_numpy(x[:2]).to(next(module.parameters(), torch.empty(0)).device))
    return PyTorchClassifier(module, nn.CrossEntropyLoss(), x.shape[1:], output.shape[1], clip_values=clip_values)


def _model_file(path: Path) -> nn.Module:
    try:
        if path.suffix == ".pt2":
            return torch.export.unflatten(torch.export.load(path))
        scripted: nn.Module = torch.jit.load(path, map_location="cpu")
        return scripted
    except RuntimeError as error:
        raise ValueError(f"`model` must be a torch.export (.pt2) or TorchScript file, got {str(path)!r}.") from error
