"""What a command line can name: radii, samples, models."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model as load_model_weights
from torch import Tensor, nn

from art_mi.bridge import evaluating, one_tensor
from art_mi.datasets import NAMES, ImageData, load
from art_mi.files import read_arrays
from art_mi.finished import content_digest
from art_mi.models import small_cnn
from art_mi.randomness import isolated_randomness
from art_mi.rules import Rule, check, one_of, or_none
from art_mi.threat import BOX

DATA: Rule = f"a file .npz or {one_of(NAMES)[0]}", lambda v: v in NAMES
Labelled = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Samples:
    """Inputs and labels for a training.

    :param train: What is trained on.
    :param validation: What is held out of the training samples.
    :param test: What the result is measured on, None for nothing.
    :param nb_classes: Number of classes.
    :param eps: The l_inf radius usual for the data set, None for data of one's own.
    """

    train: Labelled
    validation: Labelled
    test: Labelled | None
    nb_classes: int
    eps: float | None


def fraction(text: str | float, name: str = "eps") -> float:
    """A radius such as 0.1 or 8/255.

    :param text: What was typed; a file of settings may hold a number.
    :param name: What the message calls it.
    :raises ValueError: If it is neither.
    """
    try:
        top, _, bottom = str(text).partition("/")
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"`{name}` must be a number or a fraction such as 8/255, got {text!r}.") from None


def samples(data: str, data_dir: str | None, *, download: bool = False) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Inputs and, where there are some, labels.

    :param data: File .npy or .npz, or the name of a data set, of which the test samples are taken.
    :param data_dir: Folder of torchvision's files.
    :param download: Download what is missing into `data_dir`.
    :raises FileNotFoundError: If files of the data set are missing.
    :raises ValueError: If there is no such file or data set, or it holds no inputs.
    """
    path = Path(data)
    if path.suffix not in (".npy", ".npz"):
        known = _known(data, data_dir, download)
        return known.x_test, known.y_test
    content = _arrays(path, "x")
    return content["x"].astype(np.float32), content.get("y")


def split_samples(data: str, data_dir: str | None, validation_fraction: float, *, download: bool = False) -> Samples:
    """Samples for training, validating and testing.

    :param data: File .npz with x, y and optionally x_test, y_test, or the name of a data set.
    :param data_dir: Folder of torchvision's files.
    :param validation_fraction: Share of the training samples that is held out, the same ones whatever is trained.
    :param download: Download what is missing into `data_dir`.
    :raises FileNotFoundError: If files of the data set are missing.
    :raises ValueError: If there is no such file or data set, it lacks an array, or the share is none.
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(f"`validation_fraction` must lie between 0 and 1, got {validation_fraction}.")
    test, eps = None, None
    if Path(data).suffix == ".npz":
        content = _arrays(Path(data), "x", "y")
        x, y = _labelled(content["x"], content["y"])
        if "x_test" in content and "y_test" in content:
            test = _labelled(content["x_test"], content["y_test"])
    else:
        known = _known(data, data_dir, download)
        x, y, test, eps = known.x_train, known.y_train, (known.x_test, known.y_test), known.eps
    order = np.random.default_rng(0).permutation(len(x))
    held, kept = np.split(order, [max(1, round(validation_fraction * len(x)))])
    return Samples((x[kept], y[kept]), (x[held], y[held]), test, int(y.max()) + 1, eps)


def _known(data: str, data_dir: str | None, download: bool) -> ImageData:
    return load(check("data", data, DATA), data_dir, download=download)


def _labelled(x: NDArray[Any], y: NDArray[Any]) -> Labelled:
    return x.astype(np.float32), y.astype(np.int64)


def _arrays(path: Path, *needed: str) -> dict[str, NDArray[Any]]:
    """Arrays of numbers, one a sample, and those that are needed among them."""
    if not path.is_file():
        raise ValueError(f"`data` must be a file or the name of a data set, got {str(path)!r}, which does not exist.")
    try:
        content = read_arrays(path, "x", "y", "x_test", "y_test")
    except ValueError as error:
        raise ValueError(f"`data` must be a readable file of arrays, got {str(path)!r}: {error}") from error
    for name in needed:
        if name not in content:
            raise ValueError(f"`data` must hold an array `{name}`, got {', '.join(content) or 'none'}.")
    for name, array in content.items():
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise ValueError(
                f"`data` must hold numbers in `{name}`, one row a sample, got {array.dtype} {array.shape}."
            )
    return content


def load_model(source: str, random_state: int = 0) -> nn.Module:
    """A module from a file, or built by a function.

    :param source: torch.export or TorchScript file, or `package.module:function`.
    :param random_state: Seed of what the function draws; global random state is as before afterwards.
    :raises TypeError: If the function gives something else.
    :raises ValueError: If there is no such file or function.
    """
    path = Path(source)
    if path.is_file():
        return _model_file(path)
    module_name, _, function = source.partition(":")
    if not function:
        raise ValueError(f"`model` must be an existing file or `package.module:function`, got {source!r}.")
    with isolated_randomness(random_state, torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        built = _imported(module_name, function, source)()
    if not isinstance(built, nn.Module):
        raise TypeError(f"`model` must give a torch module, got {type(built).__name__}.")
    return built


def _imported(module_name: str, function: str, source: str) -> Any:
    sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`model` must be importable, got {source!r}: {error}") from error
    finally:
        sys.path.remove("")


def load_weights(module: nn.Module, weights: str) -> None:
    """Weights that `art-mi train` wrote.

    :param module: Of the architecture that was trained.
    :param weights: File .safetensors.
    :raises ValueError: If there is no such file, or it is damaged or of another architecture.
    """
    if not Path(weights).is_file():
        raise ValueError(f"`weights` must be an existing file, got {weights!r}.")
    _, digest = _stored(weights)
    try:
        load_model_weights(module, weights)
    except RuntimeError as error:
        raise ValueError(f"`weights` must be of the model's architecture, got {weights!r}: {error}") from error
    if digest not in (None, content_digest("", module.state_dict())):
        raise ValueError(f"`weights` must be intact, got {weights!r}: its digest is of other weights.")


def _stored(weights: str) -> tuple[dict[str, Tensor], str | None]:
    """Tensors of a file, and the digest that `art-mi train` leaves."""
    try:
        with safe_open(weights, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, (file.metadata() or {}).get("digest")  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"`weights` must be a complete file .safetensors, got {weights!r}: {error}.") from error


def load_classifier(
    model: str,
    weights: str | None,
    x: np.ndarray[Any, Any],
    clip_values: tuple[float, float] | None,
    random_state: int = 0,
) -> PyTorchClassifier:
    """A model as an ART classifier with as many classes as it has outputs.

    :param model: What :func:`load_model` understands, or small-cnn with weights.
    :param weights: File .safetensors, or None.
    :param x: Inputs, of which three are passed through the model.
    :param clip_values: Least and largest input value; None for no limits.
    :param random_state: Seed of what a function draws while it builds the module.
    :raises TypeError: If the function gives something else than a module.
    :raises ValueError: If there is no such file or function, or the weights do not fit.
    """
    check("clip_values", clip_values, or_none(BOX))
    module = _trained_small_cnn(weights, x) if model == "small-cnn" else load_model(model, random_state)
    if weights is not None:
        load_weights(module, weights)
    try:
        with evaluating(module), torch.no_grad():
            output = one_tensor(module(torch.from_numpy(x[:3]).to(next(module.parameters(), torch.empty(0)).device)))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"`model` must take inputs of shape (n, {x.shape[1:]}) for any n, but {error}") from error
    if output.ndim != 2:
        raise ValueError(f"`model` must give one row of logits a sample, got outputs of shape {tuple(output.shape)}.")
    return PyTorchClassifier(module, nn.CrossEntropyLoss(), x.shape[1:], output.shape[1], clip_values=clip_values)


def _trained_small_cnn(weights: str | None, x: np.ndarray[Any, Any]) -> nn.Module:
    """The network that `art-mi train` trains by default, with as many classes as its weights have."""
    if weights is None or not Path(weights).is_file():
        raise ValueError(f"`weights` must be an existing file where `model` is 'small-cnn', got {weights!r}.")
    logits = _stored(weights)[0].get("logits.weight")
    if logits is None or logits.ndim != 2:
        raise ValueError(f"`weights` must be those of a small-cnn, got {weights!r}.")
    return small_cnn(x.shape[1:], len(logits))


def _model_file(path: Path) -> nn.Module:
    try:
        if path.suffix == ".pt2":
            return torch.export.unflatten(torch.export.load(path))
        scripted: nn.Module = torch.jit.load(path, map_location="cpu")
        return scripted
    except RuntimeError as error:
        raise ValueError(f"`model` must be a torch.export (.pt2) or TorchScript file, got {str(path)!r}.") from error
