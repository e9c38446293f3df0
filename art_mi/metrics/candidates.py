"""Moved inputs that may be the worst for several layers: found one after the other, and compared cheaply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from art_mi.channels import draw_noise, gaussian_ratios, upper_bound
from art_mi.finished import Finished
from art_mi.metrics import noisy
from art_mi.metrics.keeping import packed, unpacked
from art_mi.metrics.measurement import Problem
from art_mi.representations import layer_outputs, representation

CLEAN = ""  # name of the candidate that was not moved


def attack_steps(max_iter: int, nb_layers: int) -> int:
    """Steps of each attack of :func:`moved_inputs`: all for one layer, for several half as many, rounded up.

    :param max_iter: Steps of an attack on a layer by itself.
    :param nb_layers: Number of layers that are attacked.
    """
    return max_iter if nb_layers < 2 else math.ceil(max_iter / 2)


def moved_inputs(problem: Problem, sigmas: Mapping[str, float], done: Finished) -> dict[str, Tensor]:
    """The inputs that attacks on several layers find, by layer.

    One layer is attacked as by itself. Of several the last gives a start, since on the way to it an attack meets all
    others; then each in turn is attacked from where the attack before ended, since what makes one layer forget does
    much of it to the next. The last is thus attacked twice, and its second attack counts.

    :param problem: What to attack; its layer is replaced. Random starts are made where no attack was before.
    :param sigmas: Layers to attack in this order, and the standard deviation of the noise at each.
    :param done: Keeps the inputs of each attack, from which those after an interrupt go on.
    """
    layers = list(sigmas)
    problem = replace(problem, max_iter=attack_steps(problem.max_iter, len(layers)))
    start = layers[-1:] if len(layers) > 1 else []
    found: dict[str, Tensor] = {}
    before: Tensor | None = None
    for number, layer in enumerate(problem.progress([*start, *layers], "layers")):
        part = f"layers: attack {number} on {layer}"
        if (kept := done.get(part)) is not None:
            before = unpacked(kept["x_adv"], problem.x)
        else:
            before = _attack(problem, layer, sigmas[layer], before)
            done.put(part, {"x_adv": packed(before)})
        found[layer] = before
    return {layer: found[layer] for layer in layers}


def _attack(problem: Problem, layer: str, sigma: float, start: Tensor | None) -> Tensor:
    with representation(problem.classifier, layer) as represent:
        here = replace(problem, layer=layer, represent=represent)
        return noisy.worst_inputs(here if start is None else replace(here, num_random_init=0), sigma, start=start)


def chosen(problem: Problem, moved: Mapping[str, Tensor], sigmas: Mapping[str, float]) -> dict[str, str]:
    """For each layer the candidate on which it seems to say least: the lowest :func:`glance`.

    :param problem: Gives classifier and seed.
    :param moved: Inputs `(n, ...)` by candidate.
    :param sigmas: Layers, and the standard deviation of the noise at each.
    """
    few = torch.Generator(problem.x.device).manual_seed(problem.random_state + 1)  # not a block that moved jointly
    index = torch.randperm(len(problem.x), generator=few, device=problem.x.device)[: noisy.FEW]
    glances: dict[str, dict[str, float]] = {layer: {} for layer in sigmas}
    for name, x_adv in moved.items():
        for layer, z in outputs(problem, list(sigmas), x_adv[index]).items():
            glances[layer][name] = glance(problem, z, sigmas[layer])
    return {layer: min(of_layer, key=of_layer.__getitem__, default=CLEAN) for layer, of_layer in glances.items()}


def glance(problem: Problem, z: Tensor, sigma: float) -> float:
    """Upper bound of the information of a few samples under one draw of noise and its opposite.

    The same samples and the same draw for all candidates, so that little of what they differ by is chance.

    :param problem: Gives the seed.
    :param z: Representations `(n, d)` of at least 2 samples.
    :param sigma: Standard deviation of the noise in the units of the representation.
    """
    generator = torch.Generator(z.device).manual_seed(problem.random_state + 1)
    z = z.double() / sigma
    draw = draw_noise("gaussian", z.shape, generator, z)
    return float(torch.stack([upper_bound(ratios).mean() for ratios in gaussian_ratios(z, [draw])]).mean())


def outputs(problem: Problem, layers: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """Outputs `(n, d)` of several layers on inputs, in one pass without gradient.

    :param problem: Gives classifier and batch size.
    :param layers: Dotted names.
    :param x: Inputs `(n, ...)`.
    """
    with layer_outputs(problem.classifier, layers) as at_layers, torch.no_grad():
        parts = [at_layers(part) for part in x.split(problem.batch_size)]
    return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}
