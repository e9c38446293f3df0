"""Representations: what a layer of a classifier makes of raw inputs, as a differentiable map, and noise on the way."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from art_mi.bridge import evaluating, outputs
from art_mi.channels import overall_std
from art_mi.results import Flag
from art_mi.rules import check, integer
from art_mi.threat import NormBall

if TYPE_CHECKING:
    from art.estimators.classification import PyTorchClassifier

Representation = Callable[[Tensor], Tensor]
FORESEEN = 0.75  # least share of moves that a gradient foresees
LEVEL = 0.01  # of the test


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
    with evaluating(classifier.model), running(classifier.model) as ran, torch.no_grad():
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
    with representation(classifier, layer) as represent, running(model) as ran:
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


@dataclass(frozen=True)
class Probe:
    """Of how many samples an attack along gradients can be believed; counts over two sets of samples add up.

    :param nb_samples: How many there are.
    :param blind: No gradient reaches the input.
    :param foreseen: A small random move changes the representation in the direction that the gradient foresees.
    :param misled: It does so in the other direction.
    :param unrepeated: The representation is another one in the next call.
    """

    nb_samples: int = 0
    blind: int = 0
    foreseen: int = 0
    misled: int = 0
    unrepeated: int = 0

    def __add__(self, other: Probe) -> Probe:
        return Probe(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def flags(self) -> set[Flag]:
        """Why an attack may have failed: on more than a hundredth of the samples, or beyond what sampling explains."""
        compared = self.foreseen + self.misled
        raised = {
            Flag.ZERO_GRADIENT: self.blind > 0.01 * self.nb_samples,
            Flag.MISLEADING_GRADIENT: compared > 0
            and binomtest(self.foreseen, compared, FORESEEN, alternative="less").pvalue < LEVEL,
            Flag.RANDOM_OUTPUT: self.unrepeated > 0.01 * self.nb_samples,
        }
        return {flag for flag, is_raised in raised.items() if is_raised}


def probe(representation: Representation, x: Tensor, ball: NormBall, batch_size: int, random_state: int) -> Probe:
    """Whether gradients of a representation are there, true, and of one function.

    The output is differentiated along a random direction. The moves are a tenth of those to random points of the ball:
    of a smooth function nearly all are foreseen, of one whose gradient is another function's about half.

    :param representation: Differentiable map `(n, ...) -> (n, d)`.
    :param x: Inputs `(n, ...)`.
    :param ball: Threat model. In one of radius 0 nothing moves, and gradients do not matter.
    :param batch_size: Most samples in one pass.
    :param random_state: Seed of directions and moves.
    """
    generator = torch.Generator(x.device).manual_seed(random_state)
    return sum((_probed(representation, part, ball, generator) for part in x.split(batch_size)), Probe())


def _probed(representation: Representation, x: Tensor, ball: NormBall, generator: torch.Generator) -> Probe:
    x = x.detach().requires_grad_()
    z = representation(x)
    grad = None
    if z.requires_grad:
        direction = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        (grad,) = torch.autograd.grad(z, x, direction, allow_unused=True)
    with torch.no_grad():
        unrepeated = int(differing(z, representation(x)).sum())
        if ball.eps == 0:
            return Probe(len(x), unrepeated=unrepeated)
        if grad is None:
            return Probe(len(x), blind=len(x), unrepeated=unrepeated)
        blind = int((grad.flatten(1) == 0).all(1).sum())
        moved = x + (ball.random_start(x, generator) - x) / 10
        change = representation(moved) - z
        change[change.abs().amax(1) <= _rounding(z)] = 0
        foreseen = (grad * (moved - x)).flatten(1).sum(1).sign() * (change * direction).sum(1).sign()
    return Probe(len(x), blind, int((foreseen > 0).sum()), int((foreseen < 0).sum()), unrepeated)


def differing(z: Tensor, again: Tensor) -> Tensor:
    """Which rows differ by more than rounding and than a thousandth of the scale of all.

    :param z: Representations `(n, d)`.
    :param again: Representations of the same inputs.
    :return: Booleans `(n,)`.
    """
    different: Tensor = (again - z).abs().amax(1) > max(1e-3 * overall_std(z), _rounding(z))
    return different


def _rounding(z: Tensor) -> float:
    return 100 * torch.finfo(z.dtype).eps * float(z.abs().amax())
