"""Representations: what a layer of a classifier makes of raw inputs, as a differentiable map, and noise on the way."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from art_mi.bridge import evaluating, outputs
from art_mi.randomness import isolated_randomness
from art_mi.rules import check, integer

if TYPE_CHECKING:
    from art.estimators.classification import PyTorchClassifier

Representation = Callable[[Tensor], Tensor]


def named_layer(model: nn.Module, layer: str, name: str = "layer") -> nn.Module:
    """The submodule with a dotted name.

    :param model: Any module.
    :param layer: A name of `model.named_modules()`.
    :param name: What messages call it.
    :raises TypeError: If the name is none.
    :raises ValueError: If there is no such module; the message lists close names.
    """
    if not isinstance(layer, str):
        raise TypeError(f"`{name}` must be a name, got {type(layer).__name__}.")
    modules: dict[str, nn.Module] = dict(model.named_modules())
    modules.pop("", None)
    if layer in modules:
        return modules[layer]
    close = difflib.get_close_matches(layer, modules, n=5, cutoff=0.4) or list(modules)[:10]
    names = ", ".join(close) or "none"
    raise ValueError(f"`{name}` must name a module of the model, got {layer!r}. Close names: {names}.")


@contextmanager
def representation(classifier: PyTorchClassifier, layer: str | None = None) -> Iterator[Representation]:
    """The map x -> z from raw inputs to a layer's output, one row a sample, differentiable, in evaluation mode.

    A model that draws when it predicts draws from the global generators, which are the caller's to seed.

    :param classifier: Checked by :func:`.check_classifier`.
    :param layer: Dotted name of any submodule; None for the model's output.
    :return: Context manager that yields the map from `(n, ...)` to `(n, d)`. Modes and hooks are restored on exit.
    :raises ValueError: If `layer` is unknown, or was not run in a forward pass.
    :raises TypeError: If the layer's output is not a tensor.
    """
    if layer is None:
        with evaluating(classifier.model):
            yield lambda x: _rows(outputs(classifier, x), x, "the model's output")
        return
    with layer_outputs(classifier, (layer,)) as at_layers:
        yield lambda x: at_layers(x)[layer]


@contextmanager
def layer_outputs(
    classifier: PyTorchClassifier, layers: Iterable[str]
) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """The map from raw inputs to the outputs of several layers, in one forward pass, as :func:`representation`.

    Of a layer that runs several times the last output counts.

    :param classifier: Checked by :func:`.check_classifier`.
    :param layers: Dotted names of submodules.
    :return: Context manager that yields the map from `(n, ...)` to `(n, d)` by layer.
    :raises ValueError: If a layer is unknown, or was not run in a forward pass.
    :raises TypeError: If a layer's output is not a tensor.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(classifier.model))
        seen = {layer: stack.enter_context(watching(classifier.model, layer)) for layer in layers}

        def at_layer(layer: str, x: Tensor) -> Tensor:
            if not seen[layer]:
                raise ValueError(f"`layer` must be run by the model's forward pass, {layer!r} was not.")
            return _rows(seen[layer][-1], x, f"layer {layer!r}")

        def at_layers(x: Tensor) -> dict[str, Tensor]:
            try:
                outputs(classifier, x)
                return {layer: at_layer(layer, x) for layer in seen}
            finally:
                for found in seen.values():
                    found.clear()

        yield at_layers


@contextmanager
def running(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Collects the modules that finish their forward pass while the context lasts, in that order.

    :param model: Any module.
    """
    ran = list[nn.Module]()
    with ExitStack() as stack:
        for module in model.modules():
            hook = module.register_forward_hook(lambda module, *_: ran.append(module))
            stack.callback(hook.remove)
        yield ran


def running_order(classifier: PyTorchClassifier, x: Tensor) -> dict[str, bool]:
    """Names of the submodules that run, in the order in which they end last, and whether none runs inside them.

    :param classifier: Checked by :func:`.check_classifier`.
    :param x: A few raw inputs `(n, ...)`.
    """
    with (
        isolated_randomness(0, classifier.device),
        evaluating(classifier.model),
        running(classifier.model) as ran,
        torch.no_grad(),
    ):
        outputs(classifier, x)
    names = {module: name for name, module in classifier.model.named_modules() if name}
    last = [module for module in reversed(dict.fromkeys(reversed(ran))) if module in names]
    return {names[module]: not any(inner in last for inner in list(module.modules())[1:]) for module in last}


@contextmanager
def noisy_outputs(
    classifier: PyTorchClassifier, layer: str | None, noise: Callable[[Tensor], Tensor]
) -> Iterator[Representation]:
    """The model's output when noise is added to a layer's: the classifier on the noisy representation.

    :param classifier: Checked by :func:`.check_classifier`.
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

    :param classifier: Checked by :func:`.check_classifier`.
    :param layer: Dotted name; None for the whole model.
    """
    model = classifier.model
    randomness = isolated_randomness(0, classifier.device)
    with randomness, representation(classifier, layer) as represent, running(model) as ran:
        wanted = [parameter.requires_grad_() for parameter in model.parameters()]
        end = model if layer is None else named_layer(model, layer)
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
    :raises ValueError: If `batch_size` is not positive.
    """
    check("batch_size", batch_size, integer(1))
    with torch.no_grad():
        return torch.cat([function(part) for part in x.split(batch_size)])


def check_representation(z: Tensor) -> None:
    """Refuse what has no information to lose, or none that can be told.

    :param z: Representations of shape `(n, d)`.
    :raises ValueError: If they are not finite, or all the same.
    """
    check_finite(z)
    if bool((z == z[:1]).all()):
        raise ValueError("`layer` must give a representation that varies, got a constant one on `x`.")


def check_finite(z: Tensor) -> None:
    """Refuse representations that hold NaN or infinity.

    :param z: Representations of shape `(n, d)`.
    :raises ValueError: If they do.
    """
    if not bool(torch.isfinite(z).all()):
        raise ValueError("`layer` must give finite numbers, got NaN or infinity on `x`.")
