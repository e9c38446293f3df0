"""The border with ART: what comes in is checked and becomes tensors, and a classifier leaves as it came.

ART's public attributes only: `model`, `device`, `clip_values`, `nb_classes`, `input_shape`, `preprocessing_operations`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from art.utils import check_and_transform_label_format
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from art_mi.threat import NormBall

logger = logging.getLogger(__name__)

Representation = Callable[[Tensor], Tensor]


def check_classifier(classifier: Any) -> None:
    """Refuse what the gradient cannot pass through.

    :param classifier: Anything.
    :raises TypeError: If it is not an ART `PyTorchClassifier`.
    :raises ValueError: If one of its preprocessing steps works on numpy arrays only.
    """
    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(f"`classifier` must be an ART PyTorchClassifier, got {type(classifier).__name__}.")
    for operation in classifier.preprocessing_operations:
        if not isinstance(operation, PreprocessorPyTorch):
            raise ValueError(
                f"`classifier` must preprocess with PyTorch preprocessors so that gradients pass through them, got "
                f"{type(operation).__name__}. Use its PyTorch counterpart, or move the step into the model."
            )


def named_layer(model: nn.Module, layer: str) -> nn.Module:
    """The submodule with a dotted name.

    :param model: Any module.
    :param layer: A name of `model.named_modules()`.
    :raises ValueError: If there is none; the message lists close names.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    modules.pop("", None)
    if layer in modules:
        return modules[layer]
    close = difflib.get_close_matches(layer, modules, n=5, cutoff=0.4) or list(modules)[:10]
    names = ", ".join(close) or "none"
    raise ValueError(f"`layer` must name a module of the model, got {layer!r}. Close names: {names}.")


def outputs(classifier: PyTorchClassifier, x: Tensor) -> Tensor:
    """The model's output for raw inputs, differentiable, ART's preprocessing included.

    :param classifier: Checked by :func:`check_classifier`.
    :param x: Raw inputs `(n, ...)` on the classifier's device.
    :raises TypeError: If the model returns anything but one tensor.
    """
    return one_tensor(classifier.model(preprocessed(classifier, x)))


def preprocessed(classifier: PyTorchClassifier, x: Tensor, *, training: bool = False) -> Tensor:
    """Inputs after ART's preprocessing, differentiable.

    :param classifier: Checked by :func:`check_classifier`.
    :param x: Raw inputs `(n, ...)`.
    :param training: Apply the steps meant for training instead of those meant for prediction.
    """
    for operation in classifier.preprocessing_operations:
        if operation.apply_fit if training else operation.apply_predict:
            x, _ = operation.forward(x, None)
    return x


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

    :param model: Any module.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


@contextmanager
def representation(classifier: PyTorchClassifier, layer: str | None = None) -> Iterator[Representation]:
    """The map x -> z from raw inputs to a layer's output, one row a sample, differentiable, in evaluation mode.

    :param classifier: Checked by :func:`check_classifier`.
    :param layer: Dotted name of any submodule; None for the model's output.
    :return: Context manager that yields the map from `(n, ...)` to `(n, d)`. Modes and hooks are restored on exit.
    :raises ValueError: If `layer` is unknown, or was not run in a forward pass.
    :raises TypeError: If the layer's output is not a tensor.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(classifier.model))
        if layer is None:
            yield lambda x: _rows(outputs(classifier, x), x, "the model's output")
            return
        seen = stack.enter_context(watching(classifier.model, layer))

        def at_layer(x: Tensor) -> Tensor:
            try:
                outputs(classifier, x)
                if not seen:
                    raise ValueError(f"`layer` must be run by the model's forward pass, {layer!r} was not.")
                return _rows(seen[-1], x, f"layer {layer!r}")
            finally:
                seen.clear()

        yield at_layer


@contextmanager
def noisy_outputs(
    classifier: PyTorchClassifier, layer: str | None, noise: Callable[[Tensor], Tensor]
) -> Iterator[Representation]:
    """The model's output when noise is added to a layer's: the classifier on the noisy representation.

    :param classifier: Checked by :func:`check_classifier`.
    :param layer: Dotted name; None adds the noise to the output itself.
    :param noise: Gives the noise to add to a tensor.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(classifier.model))
        if layer is None:
            yield lambda x: _with_noise(outputs(classifier, x), noise)
            return
        module = named_layer(classifier.model, layer)
        stack.callback(module.register_forward_hook(lambda *call: _with_noise(call[-1], noise)).remove)
        yield lambda x: outputs(classifier, x)


@contextmanager
def watching(model: nn.Module, layer: str | None) -> Iterator[list[Any]]:
    """Collects the outputs of a layer while the context lasts; of no layer nothing.

    :param model: Any module.
    :param layer: Dotted name of any submodule.
    """
    seen: list[Any] = []
    with ExitStack() as stack:
        if layer is not None:
            hook = named_layer(model, layer).register_forward_hook(lambda *call: seen.append(_kept(call[-1])))
            stack.callback(hook.remove)
        yield seen


@dataclass(frozen=True)
class Encoder:
    """What a representation is made of.

    :param parameters: Weights that its value depends on.
    :param modules: Modules that have run by the time it is there.
    """

    parameters: tuple[nn.Parameter, ...]
    modules: tuple[nn.Module, ...]


def encoder(classifier: PyTorchClassifier, layer: str | None) -> Encoder:
    """The part of a model up to a layer.

    :param classifier: Checked by :func:`check_classifier`.
    :param layer: Dotted name; None for the whole model.
    """
    model, ran = classifier.model, list[nn.Module]()
    with ExitStack() as stack:
        represent = stack.enter_context(representation(classifier, layer))
        wanted = [parameter.requires_grad_() for parameter in model.parameters()]
        end = model if layer is None else named_layer(model, layer)
        for module in model.modules():
            hook = module.register_forward_hook(lambda module, *_: ran.append(module))
            stack.callback(hook.remove)
        z = represent(torch.zeros(2, *classifier.input_shape, device=classifier.device))
        used = torch.autograd.grad(z.sum(), wanted, allow_unused=True)
    parameters = tuple(p for p, grad in zip(wanted, used, strict=True) if grad is not None)
    return Encoder(parameters, tuple(ran[: ran.index(end) + 1]))


def _kept(out: Any) -> Any:
    return out.clone() if isinstance(out, Tensor) else out  # what follows may change it in place


def _with_noise(out: Tensor, noise: Callable[[Tensor], Tensor]) -> Tensor:
    return out + noise(out)


def _rows(out: Any, x: Tensor, where: str) -> Tensor:
    if not isinstance(out, Tensor):
        raise TypeError(f"`layer` must give a tensor, {where} is a {type(out).__name__}.")
    if out.ndim == 0 or len(out) != len(x):
        shape = tuple(out.shape)
        raise ValueError(f"`layer` must give one row a sample, {where} has shape {shape} for {len(x)} samples.")
    return out.flatten(1) if out.ndim > 1 else out[:, None]


def in_batches(function: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> Tensor:
    """`function` over all of `x` without gradient, a batch at a time.

    :param function: Maps `(b, ...)` to `(b, ...)`.
    :param x: Inputs `(n, ...)`.
    :param batch_size: Most samples in one call.
    """
    with torch.no_grad():
        return torch.cat([function(part) for part in x.split(batch_size)])


def input_tensor(classifier: PyTorchClassifier, x: Any) -> Tensor:
    """Inputs as a float32 tensor on the classifier's device; arrays and tensors are copied, never changed.

    :param classifier: Gives device, input shape and clip values.
    :param x: Array or tensor of shape `(n, *input_shape)`; see :func:`loaded` for loaders.
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
                f"values from {float(tensor.min()):g} to {float(tensor.max()):g}."
            )
    return tensor.to(classifier.device)


def label_tensor(classifier: PyTorchClassifier, y: Any, n: int) -> Tensor:
    """Labels as an index tensor on the classifier's device.

    :param classifier: Gives device and number of classes.
    :param y: Index labels `(n,)` or `(n, 1)`, one-hot or soft labels `(n, nb_classes)`; array, tensor or list.
    :param n: Number of samples they must match.
    :raises TypeError: If the labels are not numbers.
    :raises ValueError: If the shape or a label is out of range.
    """
    labels = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"`y` must be numeric, got an array of {labels.dtype}.")
    if labels.ndim not in (1, 2) or len(labels) != n:
        raise ValueError(f"`y` must hold one label for each of the {n} samples, got shape {labels.shape}.")
    if labels.ndim == 2 and labels.shape[1] not in (1, classifier.nb_classes):
        raise ValueError(f"`y` must have 1 or {classifier.nb_classes} columns, got {labels.shape[1]}.")
    index = check_and_transform_label_format(labels, classifier.nb_classes, return_one_hot=False).reshape(-1)
    if (index != np.round(index)).any() or index.min() < 0 or index.max() >= classifier.nb_classes:
        most = classifier.nb_classes - 1
        raise ValueError(f"`y` must hold integers from 0 to {most}, got values from {index.min()} to {index.max()}.")
    return torch.as_tensor(index.astype(np.int64), device=classifier.device)


def loaded(x: Any, y: Any = None) -> tuple[Any, Any]:
    """Inputs and labels of a `DataLoader`, read in one pass so that they match; anything else as it is.

    :param x: What a caller passed as inputs.
    :param y: What a caller passed as labels; they go before those of the loader.
    """
    if not isinstance(x, DataLoader):
        return x, y
    with torch.random.fork_rng(devices=[]):  # a loader draws a seed from the global generator
        batches = [tuple(b) if isinstance(b, list | tuple) else (b,) for b in x]
    if not batches:
        raise ValueError("`x` must hold samples, got an empty DataLoader.")
    if y is None and all(len(b) > 1 for b in batches):
        y = torch.cat([torch.as_tensor(b[1]) for b in batches])
    return torch.cat([torch.as_tensor(b[0]) for b in batches]), y


def _float_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, np.ndarray | Tensor | list | tuple):
        raise TypeError(f"`{name}` must be an array, a tensor or a DataLoader, got {type(value).__name__}.")
    try:
        array: Tensor | NDArray[Any] = value.detach() if isinstance(value, Tensor) else np.asarray(value)
        tensor = torch.as_tensor(array) if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
        if tensor.is_complex():
            raise TypeError("complex numbers")
        return tensor.to(torch.float32, copy=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be numeric, got {type(value).__name__} that is not: {error}") from error


def norm_ball(classifier: PyTorchClassifier, norm: float | str, eps: float) -> NormBall:
    """The ball with the classifier's clip values as its box.

    :param classifier: Gives `clip_values`, in raw input units.
    :param norm: inf, 2 or 1.
    :param eps: Radius in raw input units.
    """
    clip = classifier.clip_values
    return NormBall(norm, eps, None if clip is None else (clip[0], clip[1]))


def check_representation(z: Tensor) -> None:
    """Refuse what has no information to lose, or none that can be told.

    :param z: Representations of shape `(n, d)`.
    :raises ValueError: If they are not finite, or all the same.
    """
    if not bool(torch.isfinite(z).all()):
        raise ValueError("`layer` must give finite numbers, got NaN or infinity on `x`.")
    if bool((z == z[:1]).all()):
        raise ValueError("`layer` must give a representation that varies, got a constant one on `x`.")


def blind_fraction(representation: Representation, x: Tensor, batch_size: int, random_state: int) -> float:
    """Share of samples on which no gradient passes through the representation to the input.

    :param representation: Differentiable map `(n, ...) -> (n, d)`.
    :param x: Inputs `(n, ...)`.
    :param batch_size: Most samples in one pass.
    :param random_state: Seed of the direction along which the output is differentiated.
    :return: Share in [0, 1].
    """
    generator = torch.Generator(x.device).manual_seed(random_state)
    blind = 0
    for part in x.split(batch_size):
        part = part.detach().requires_grad_()
        z = representation(part)
        if not z.requires_grad:
            blind += len(part)
            continue
        direction = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        (grad,) = torch.autograd.grad(z, part, direction, allow_unused=True)
        blind += len(part) if grad is None else int((grad.flatten(1) == 0).all(1).sum())
    return blind / len(x)
