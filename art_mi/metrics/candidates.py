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


def later_steps(max_iter: int) -> int:
    """Steps of an attack that starts where another ended: half as many, rounded up.

    :param max_iter: Steps of the first attack.
    """
    return math.ceil(max_iter / 2)


def moved_inputs(problem: Problem, sigmas: Mapping[str, float], done: Finished) -> dict[str, Tensor]:
    """The inputs that attacks on several layers find, by layer.

    The first attack is the one of :func:`.noisy.worst_inputs`. Each further one starts where the one before ended, for
    what one layer forgets the next has forgotten too, and makes half as many steps and no random starts.

    :param problem: What to attack; its layer is replaced.
    :param sigmas: Layers to attack in this order, and the standard deviation of the noise at each.
    :param done: Keeps the inputs of each, from which those after an interrupt go on.
    """
    found: dict[str, Tensor] = {}
    before: Tensor | None = None
    for layer in problem.progress(sigmas, "layers"):
        part = f"layers: attack on {layer}"
        if (kept := done.get(part)) is not None:
            found[layer] = unpacked(kept["x_adv"], problem.x)
        else:
            found[layer] = _attack(problem, layer, sigmas[layer], before)
            done.put(part, {"x_adv": packed(found[layer])})
        before = found[layer]
    return found


def _attack(problem: Problem, layer: str, sigma: float, before: Tensor | None) -> Tensor:
    with representation(problem.classifier, layer) as represent:
        here = replace(problem, layer=layer, represent=represent)
        if before is None:
            return noisy.worst_inputs(here, sigma)
        here = replace(here, max_iter=later_steps(problem.max_iter), num_random_init=0)
        return noisy.worst_inputs(here, sigma, start=before)


def chosen(problem: Problem, moved: Mapping[str, Tensor], sigmas: Mapping[str, float]) -> dict[str, str]:
    """For each layer the candidate on which it seems to say least: the lowest :func:`glance`.

    :param problem: Gives classifier and seed.
    :param moved: Inputs `(n, ...)` by candidate.
    :param sigmas: Layers, and the standard deviation of the noise at each.
    """
    few = problem.generator()
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
