"""Saliency maps: how the information of a representation, and the loss, change with each input value.

| Paper link: https://arxiv.org/abs/2002.11798 (section 6.2, figure 4)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from art_mi import bridge, representations
from art_mi.attacks.information import noisy_information
from art_mi.channels import overall_std
from art_mi.extras import optional
from art_mi.randomness import PREDICTION, isolated_randomness
from art_mi.rules import POSITIVE, SEED, check, integer, one_of

FloatArray = NDArray[np.float32]
Loss = Callable[[Tensor, Tensor], Tensor]

METHODS = ("gradient", "integrated_gradients", "smoothgrad")


@torch.inference_mode(False)
def information_saliency(
    classifier: PyTorchClassifier,
    x: Any,
    *,
    layer: str | None = None,
    noise_std: float = 1.0,
    nb_draws: int = 16,
    batch_size: int = 256,
    random_state: int = 0,
) -> FloatArray:
    """Gradient with respect to the inputs of the information that a representation carries about them.

    The information is that of Z = g(X) + sigma N over the samples, in the upper bound that the attack lowers; it is
    summed over the samples, so that maps do not shrink with their number. With many samples a map is the gradient of
    KL(p(z | x) || p(z)): moving an input along it sets its representation apart from those of the others. With few it
    speaks of the nearest of the others only: give many samples and keep the maps that are wanted. The paper shows the
    gradient of its loss, which has the opposite sign.

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import information_saliency
    >>> information_saliency(classifier, x).shape
    (200, 2)

    :param classifier: ART `PyTorchClassifier`, whose PyTorch preprocessing is honoured; left as it was.
    :param x: Raw inputs `(n, *input_shape)`, n at least 2.
    :param layer: Dotted name of the submodule whose output is the representation; the model's output by default.
    :param noise_std: Noise level relative to the overall standard deviation of the representation of all of `x`.
    :param nb_draws: Antithetic pairs of noise draws over which a map is averaged.
    :param batch_size: Most samples whose information is taken jointly, at least 2; with 2, three make one batch.
    :param random_state: Seed of the noise. Global random state is neither used nor changed.
    :return: Signed maps of the shape of `x`, in nats per raw input unit.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`, or `x` not numeric.
    :raises ValueError: If an argument breaks its rule, or the representation does not vary.
    """
    bridge.check_classifier(classifier)
    for name, value, rule in (
        ("noise_std", noise_std, POSITIVE),
        ("nb_draws", nb_draws, integer(1)),
        ("batch_size", batch_size, integer(2)),
        ("random_state", random_state, SEED),
    ):
        check(name, value, rule)
    inputs = bridge.input_tensor(classifier, x)
    if len(inputs) < 2:
        raise ValueError(f"`x` must hold at least 2 samples, got {len(inputs)}.")
    generator = torch.Generator(inputs.device).manual_seed(int(random_state))
    nb_batches = min(math.ceil(len(inputs) / batch_size), len(inputs) // 2)
    batches = torch.randperm(len(inputs), generator=generator, device=inputs.device).tensor_split(nb_batches)
    maps = torch.empty_like(inputs)
    randomness = isolated_randomness(random_state ^ PREDICTION, inputs.device)
    with randomness, representations.representation(classifier, layer) as represent:
        z = representations.in_batches(represent, inputs, batch_size)
        representations.check_representation(z)
        # The draws concern the representation only, so that one pass back through the network serves them all
        minus_information = noisy_information(lambda z: z, noise_std * overall_std(z), generator)
        for index in batches:
            pull = torch.stack([_gradient(minus_information, z[index]) for _ in range(nb_draws)]).mean(0)
            maps[index] = _gradient(represent, inputs[index], -len(index) * pull)
    return _array(maps)


@torch.inference_mode(False)
def loss_saliency(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any,
    *,
    method: str = "gradient",
    nb_points: int = 50,
    noise_std: float = 0.1,
    batch_size: int = 256,
    random_state: int = 0,
) -> FloatArray:
    """How the cross-entropy of the model's output, taken as logits, changes with each input value.

    `"gradient"` is its gradient, in nats per raw input unit. `"smoothgrad"` is the mean gradient at noisy copies of the
    input, which may lie outside `clip_values`. `"integrated_gradients"` distributes the loss at `x` minus that at the
    input of zeros over the input values, in nats. The last two are captum's.

    | Paper link: https://arxiv.org/abs/1312.6034 (gradient)
    | Paper link: https://arxiv.org/abs/1703.01365 (integrated gradients)
    | Paper link: https://arxiv.org/abs/1706.03825 (SmoothGrad)

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import loss_saliency
    >>> maps = loss_saliency(classifier, x, y)
    >>> bool((maps[y == 0] > 0).all() and (maps[y == 1] < 0).all())  # a larger sum speaks for class 1
    True

    :param classifier: ART `PyTorchClassifier`, whose PyTorch preprocessing is honoured; left as it was.
    :param x: Raw inputs `(n, *input_shape)`.
    :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels.
    :param method: `"gradient"`, `"integrated_gradients"` or `"smoothgrad"`.
    :param nb_points: Points of the path from zero to `x`, or noisy copies of `x`, a map is averaged over.
    :param noise_std: Standard deviation of the noise of `"smoothgrad"` in raw input units.
    :param batch_size: Most samples through the network at once.
    :param random_state: Seed of the noise. Global random state is left as it was.
    :return: Signed maps of the shape of `x`.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`, or `x` or `y` not numeric.
    :raises ValueError: If an argument breaks its rule.
    :raises ImportError: If the method is captum's and captum is missing.
    """
    bridge.check_classifier(classifier)
    check("method", method, one_of(METHODS))
    check("noise_std", noise_std, POSITIVE)
    for name, value in (("nb_points", nb_points), ("batch_size", batch_size)):
        check(name, value, integer(1))
    inputs = bridge.input_tensor(classifier, x)
    labels = bridge.label_tensor(classifier, y, len(inputs))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(bridge.outputs(classifier, x), y, reduction="none")

    attribute = _attribution(method, loss, nb_points, noise_std)
    with bridge.evaluating(classifier.model), isolated_randomness(random_state, inputs.device):
        batches = zip(inputs.split(batch_size), labels.split(batch_size), strict=True)
        return _array(torch.cat([attribute(x, y) for x, y in batches]))


def _attribution(method: str, loss: Loss, nb_points: int, noise_std: float) -> Callable[[Tensor, Tensor], Tensor]:
    if method == "gradient":
        return lambda x, y: _gradient(lambda x: loss(x, y).sum(), x)
    captum = optional("captum.attr", "saliency")
    if method == "smoothgrad":
        tunnel = captum.NoiseTunnel(captum.Saliency(loss))
        options = {"nt_samples": nb_points, "nt_samples_batch_size": 1, "stdevs": noise_std, "abs": False}
        return lambda x, y: tunnel.attribute(x, additional_forward_args=y, **options)
    path = captum.IntegratedGradients(loss)
    return lambda x, y: path.attribute(x, additional_forward_args=y, n_steps=nb_points, internal_batch_size=len(x))


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Gradient of a value, or of the weighted sum of several; zero where no path leads to it."""
    x = x.detach().requires_grad_()
    value = function(x)
    grad = torch.autograd.grad(value, x, weights, allow_unused=True)[0] if value.requires_grad else None
    return torch.zeros_like(x) if grad is None else grad


def _array(maps: Tensor) -> FloatArray:
    if not bool(maps.any()):
        warnings.warn("No gradient reaches `x`: every map is zero.", stacklevel=3)
    return maps.detach().cpu().numpy()
