"""The border with ART: what comes in is checked and becomes tensors, and a classifier leaves as it came.

ART's public attributes only: `model`, `device`, `clip_values`, `nb_classes`, `input_shape`, `preprocessing_operations`,
`postprocessing_defences`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std import StandardisationMeanStdPyTorch
from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std
from art.utils import check_and_transform_label_format
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi.interrupts import undivided
from art_mi.threat import NormBall


def check_classifier(classifier: Any, name: str = "classifier") -> None:
    """Refuse what the gradient cannot pass through.

    :param classifier: Anything.
    :param name: What messages call it.
    :raises TypeError: If it is not an ART `PyTorchClassifier`, or one of those that ART smooths or certifies.
    :raises ValueError: If one of its preprocessing steps works on numpy arrays only, or weights can have no gradient.
    :warns UserWarning: If it postprocesses predictions, of which representations, gradients and training know nothing.
    """
    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(f"`{name}` must be an ART PyTorchClassifier, got {type(classifier).__name__}.")
    if any(kind.__module__.startswith("art.estimators.certification") for kind in type(classifier).__mro__):
        raise TypeError(
            f"`{name}` must predict by its model alone, which ART's smoothed and certified classifiers do not, got "
            f"{type(classifier).__name__}."
        )
    if any(p.is_inference() for p in classifier.model.parameters()):
        raise ValueError(f"`{name}` must have weights made outside torch.inference_mode, got some made in it.")
    for operation in classifier.preprocessing_operations:
        if not isinstance(operation, PreprocessorPyTorch):
            raise ValueError(
                f"`{name}` must preprocess with PyTorch preprocessors so that gradients pass through them, got "
                f"{type(operation).__name__}. Use its PyTorch counterpart, or move the step into the model."
            )
    for defence in classifier.postprocessing_defences or ():
        if defence.apply_predict:
            warnings.warn(
                f"`{name}` postprocesses its predictions, which is left out of what is measured and trained, got "
                f"{type(defence).__name__}.",
                stacklevel=3,
            )


def outputs(classifier: PyTorchClassifier, x: Tensor) -> Tensor:
    """The model's output for raw inputs, differentiable, ART's preprocessing included.

    :param classifier: Checked by :func:`check_classifier`.
    :param x: Raw inputs `(n, ...)` on the classifier's device.
    :raises TypeError: If the model returns anything but one tensor.
    """
    return called(classifier.model, preprocessed(classifier, x))


def called(model: Any, x: Tensor) -> Tensor:
    """What a model makes of preprocessed inputs.

    :param model: The classifier's, or what runs it.
    :param x: Shape `(n, ...)`.
    :raises TypeError: If it does not take the dtype of the inputs, or returns anything but one tensor.
    """
    try:
        return one_tensor(model(x))
    except RuntimeError as error:
        others = {p.dtype for p in model.parameters() if p.is_floating_point()} - {x.dtype}
        if type(error) is not RuntimeError or not others:
            raise
        wanted = f"`classifier` must have a model that takes inputs of {x.dtype}"
        raise TypeError(f"{wanted}, got one with weights of {others.pop()}, which does not: {error}") from error


def preprocessed(classifier: PyTorchClassifier, x: Tensor, *, training: bool = False) -> Tensor:
    """Inputs after ART's preprocessing, differentiable.

    :param classifier: Checked by :func:`check_classifier`.
    :param x: Raw inputs `(n, ...)`.
    :param training: Apply the steps meant for training instead of those meant for prediction.
    """
    for operation in classifier.preprocessing_operations:
        if not (operation.apply_fit if training else operation.apply_predict):
            continue
        if type(operation) is StandardisationMeanStdPyTorch:
            x = _standardised(operation, x)
        else:
            x, _ = operation.forward(x, None)
    return x


def _standardised(operation: StandardisationMeanStdPyTorch, x: Tensor) -> Tensor:
    """What ART's `forward` gives, without its two copies to the device a call, for each of which the host waits."""
    mean, std = (np.asarray(value, dtype=np.float32) for value in (operation.mean, operation.std))
    if mean.ndim == std.ndim == 0 and mean == 0 and std == 1:
        return x.clone()  # the model may begin with a step in place
    mean, std = broadcastable_mean_std(x, mean, std)
    return (x - _constant(mean.tobytes(), mean.shape, x.device)) / _constant(std.tobytes(), std.shape, x.device)


@lru_cache(maxsize=64)
def _constant(values: bytes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the call that made it
        return torch.frombuffer(bytearray(values), dtype=torch.float32).view(shape).to(device)


def one_tensor(out: Any) -> Tensor:
    """A model's output, taken out of a sequence of one.

    :param out: What a model returned.
    :raises TypeError: If it is anything but one tensor.
    """
    if isinstance(out, list | tuple) and len(out) == 1:
        (out,) = out
    if not isinstance(out, Tensor):
        raise TypeError(f"`classifier` must have a model that returns one tensor, got {type(out).__name__}; wrap it.")
    return out


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without weight gradients; every module's mode and parameter's `requires_grad` return on exit.

    Inputs have gradients, whatever mode of autograd the caller is in.

    :param model: Any module.
    """
    with restored(model), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        yield


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """On exit every module's mode and parameter's `requires_grad` are as before.

    :param model: Any module.
    """
    with undivided():
        modes = [(module, module.training) for module in model.modules()]
        wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter, requires_grad in wanted:
                parameter.requires_grad_(requires_grad)


@contextmanager
def unchanged(attack: EvasionAttack, random_state: int | None = None) -> Iterator[None]:
    """On exit the settings of an attack, and of those inside it, are as before: ART's draw radii and aim in them.

    :param attack: Any ART attack.
    :param random_state: Seed, from which generators of their own start; they too are as before on exit. None lets them
        run on.
    """
    parts = _parts(attack)
    before = [{name: value for name, value in vars(part).items() if name in part.attack_params} for part in parts]
    own = [value for part in parts for value in vars(part).values() if isinstance(value, torch.Generator)]
    states = [] if random_state is None else [(generator, generator.get_state()) for generator in own]
    try:
        for generator, _ in states:
            generator.manual_seed(int(random_state or 0))
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
        for part, settings in zip(parts, before, strict=True):
            vars(part).update(settings)


def _parts(attack: EvasionAttack) -> list[EvasionAttack]:
    """An attack, those inside it, also in lists, those inside them, and so on."""
    found = [attack]
    for part in found:  # grows on the way
        for value in vars(part).values():
            for inner in value if isinstance(value, list | tuple) else (value,):
                if isinstance(inner, EvasionAttack) and all(inner is not known for known in found):
                    found.append(inner)
    return found


@torch.inference_mode(False)
def input_tensor(classifier: PyTorchClassifier, x: Any) -> Tensor:
    """Inputs as a contiguous float32 tensor on the classifier's device; arrays and tensors are copied, never changed.

    :param classifier: Gives device, input shape and clip values.
    :param x: Array or tensor of shape `(n, *input_shape)`; see :func:`~art_mi.loaders.loaded` for loaders.
    :raises TypeError: If `x` is none of these or not numeric.
    :raises ValueError: If its shape, a value that is not finite, or a value outside `clip_values` breaks the rule.
    """
    tensor = _float_tensor("x", x)  # checked where it is, so that a batch on the CPU does not wait for the device
    expected = tuple(classifier.input_shape)
    if tuple(tensor.shape[1:]) != expected:
        raise ValueError(f"`x` must have shape (n, {', '.join(map(str, expected))}), got {tuple(tensor.shape)}.")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError("`x` must be finite, got NaN or infinity.")
    if classifier.clip_values is not None:
        low, high = (torch.as_tensor(v, dtype=tensor.dtype, device=tensor.device) for v in classifier.clip_values)
        if bool(((tensor < low) | (tensor > high)).any()):
            raise ValueError(
                f"`x` must lie within the classifier's clip_values [{float(low.min()):g}, {float(high.max()):g}], got "
                f"values from {float(tensor.min()):.9g} to {float(tensor.max()):.9g}."
            )
    return tensor.to(classifier.device)


@torch.inference_mode(False)
def label_tensor(classifier: PyTorchClassifier, y: Any, n: int) -> Tensor:
    """Labels as an index tensor on the classifier's device.

    :param classifier: Gives device and number of classes.
    :param y: Index labels `(n,)` or `(n, 1)`, one-hot or soft labels `(n, nb_classes)`; array, tensor or list.
    :param n: Number of samples they must match.
    :raises TypeError: If the labels are not numbers.
    :raises ValueError: If the shape or a label is out of range.
    """
    labels = numbers("y", y)
    if n == 0 and labels.ndim > 0:
        raise ValueError("`x` must hold samples, got none.")
    if labels.ndim not in (1, 2) or len(labels) != n:
        raise ValueError(f"`y` must hold one label for each of the {n} samples, got shape {labels.shape}.")
    if labels.ndim == 2 and labels.shape[1] not in (1, classifier.nb_classes):
        raise ValueError(f"`y` must have 1 or {classifier.nb_classes} columns, got {labels.shape[1]}.")
    if labels.ndim == 2 and labels.shape[1] > 1:
        largest = labels == labels.max(1, keepdims=True)
        if not np.isfinite(labels).all() or (labels < 0).any() or (largest.sum(1) != 1).any():
            raise ValueError("`y` must have one largest entry a row, finite and none negative, got rows without.")
    index = check_and_transform_label_format(labels, classifier.nb_classes, return_one_hot=False).reshape(-1)
    if (index != np.round(index)).any() or index.min() < 0 or index.max() >= classifier.nb_classes:
        most = classifier.nb_classes - 1
        raise ValueError(f"`y` must hold integers from 0 to {most}, got values from {index.min()} to {index.max()}.")
    return torch.as_tensor(index.astype(np.int64), device=classifier.device)


def numbers(name: str, value: Any) -> NDArray[Any]:
    """An array of real numbers.

    :param name: What messages call it.
    :param value: Array, tensor or list.
    :raises TypeError: If it is none.
    """
    try:
        tensor = value.detach().cpu() if isinstance(value, Tensor) else None
        array = np.asarray(value if tensor is None else tensor.double() if tensor.is_floating_point() else tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be numeric, got {type(value).__name__} that is not: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must be numeric, got an array of {array.dtype}.")
    return array


def _float_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, np.ndarray | Tensor | list | tuple):
        raise TypeError(f"`{name}` must be an array, a tensor or a DataLoader, got {type(value).__name__}.")
    try:
        tensor = native(value)
        if tensor.is_complex() or tensor.layout is not torch.strided:
            raise TypeError("complex or sparse")
        return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # sums round by layout
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{name}` must be numeric, got {type(value).__name__} that is not: {error}") from error


def native(values: Any) -> Tensor:
    """A tensor as it is, without its graph; anything else as one, a copy in this machine's byte order.

    :param values: Array, tensor or list.
    """
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))


def norm_ball(classifier: PyTorchClassifier, norm: float | str, eps: float) -> NormBall:
    """The ball with the classifier's clip values as its box.

    :param classifier: Gives `clip_values`, in raw input units.
    :param norm: inf, 2 or 1.
    :param eps: Radius in raw input units.
    """
    clip = classifier.clip_values
    return NormBall(norm, eps, None if clip is None else (clip[0], clip[1]))
