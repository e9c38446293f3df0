"""Vulnerability of every layer of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_mi.channels import ChannelReading, overall_std
from art_mi.finished import Finished, claimed, fingerprint
from art_mi.metrics import candidates, noisy
from art_mi.metrics.conclusion import conclude
from art_mi.metrics.measurement import Problem
from art_mi.metrics.survey import Census
from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator
from art_mi.representations import (
    check_representation,
    named_layer,
    representation,
    running_order,
)
from art_mi.results import LayerProfile, RepresentationVulnerability
from art_mi.rules import POSITIVE, check, or_none

CHOICE = (
    "the lower of two readings: on the clean inputs, and under that of the attacks on all groups which leaves the "
    f"lowest upper bound on {noisy.FEW} of the samples; choice and reading share samples, which makes it low by less "
    "than the interval is wide; a wrong choice makes it high; layers without weights are attacked only through others, "
    "which makes their drop low"
)
ATTACKS = (
    "of one group from the clean inputs; of several one on the last from the clean inputs, then one on each from where "
    "the one before ended, so that more steps went before a later one; {} steps each, which is the max_iter of eps_step"
)
EQUAL = "half of what each layer says without noise, so that layers start alike and their drops compare"


def layer_profile(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any = None,
    *,
    eps: float,
    layers: str | Sequence[str] = "all",
    norm: float | str = math.inf,
    eps_step: float | None = None,
    max_iter: int = 20,
    num_random_init: int = 0,
    batch_size: int = 256,
    noise_std: float | None = None,
    out: str | Path | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> LayerProfile:
    """Normal and worst-case information of every layer, each seen through Gaussian noise of its own.

    A layer with weights and the weightless ones after it form a group, whose first layer is attacked. Which inputs an
    attacker may choose does not depend on the layer: those found for every group are candidates for all layers, and the
    worst case of a layer is the candidate that says least, since none lies below the least possible. An attack on the
    last group gives a start; then each group is attacked from where the attack before ended, with half the steps.
    Candidates are compared on a few samples, and the lowest is read on all. All estimates share samples, resamples and
    blocks, so that differences are paired.

    Behind noise of one level a later layer knows no more than an earlier one only where that noise is added once, at
    the earlier one. Here each layer has its own, so that information may rise with depth.

    The outputs of all layers on the clean samples are in memory at once: name a few `layers` of a large network.

    | Paper link: https://arxiv.org/abs/2002.11798 (definition 3.1, for each layer)

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import layer_profile
    >>> profile = layer_profile(classifier, x, eps=0.1, max_iter=5, verbose=False)
    >>> for layer, result in profile.layers.items():
    ...     print(layer, result.worst_case.value < result.normal.value)
    ...
    features True
    logits True
    >>> profile.settings["left_out"]
    {'relu': "It gives what layer 'features' gives."}

    :param classifier: ART `PyTorchClassifier`; its modes, weights and hooks are as before afterwards.
    :param x: Raw inputs `(n, *input_shape)`, at least 100: array, tensor or `DataLoader`.
    :param y: Index `(n,)` or one-hot labels, for the label-aware ceiling and the accuracy behind the noise.
    :param eps: Radius in raw input units.
    :param layers: Dotted names, or `"all"`: every module that runs no other, but for those that give no tensor with a
        row a sample, a constant, or what the one before gives; `settings["left_out"]` says which and why.
    :param norm: inf (or `"inf"`), 2 or 1.
    :param eps_step: Step size in raw input units; by default it falls linearly from 5 eps / steps to zero.
    :param max_iter: Steps of an attack if there is one group; with more each makes half as many, rounded up.
    :param num_random_init: Random starts of the first attack, beside the one at the clean input.
    :param batch_size: Most samples through the network at once.
    :param noise_std: Noise level relative to a layer's overall standard deviation on the clean inputs, as in
        :class:`.WorstCaseMIEstimator`. A wide layer adds up so many units that no such noise hides anything; by default
        the noise is therefore chosen for each layer, such that it says half of what it says without.
    :param out: Folder that keeps the inputs found for each group; a second call goes on from there.
    :param random_state: Seed.
    :param verbose: Show progress bars.
    :raises TypeError: If an argument is of another type, or a named layer gives no tensor.
    :raises ValueError: If an argument breaks its rule; the message names it.
    """
    check("noise_std", noise_std, or_none(POSITIVE))
    estimator = WorstCaseMIEstimator(
        eps,
        norm=norm,
        eps_step=eps_step,
        max_iter=max_iter,
        num_random_init=num_random_init,
        batch_size=batch_size,
        random_state=random_state,
        verbose=verbose,
    )
    with estimator.problem(classifier, x, y) as problem, claimed(out):
        clean, left_out = _clean_outputs(problem, layers)
        seen = {layer: _Seen.of(problem, z, noise_std) for layer, z in clean.items()}
        del clean
        groups = _groups(classifier.model, seen)
        first = {group[0]: seen[group[0]].sigma for group in (groups if problem.ball.eps > 0 else [])}
        settings = {
            **problem.settings(),
            "noise_std": EQUAL if noise_std is None else noise_std,
            "random_state": random_state,
            "groups": groups,
            "attacks": ATTACKS.format(candidates.attack_steps(max_iter, len(groups))),
        }
        done = Finished(out, fingerprint(classifier, problem.x, problem.y, {"profile": "layers", **settings}))
        worst = _worst(problem, candidates.moved_inputs(problem, first, done), seen)
        results = {layer: _result(replace(problem, layer=layer), seen[layer], worst[layer]) for layer in seen}
    attacked = {layer: found.attacked for layer, found in worst.items()}
    return LayerProfile(results, attacked, {**settings, "worst case": CHOICE, "left_out": left_out})


@dataclass(frozen=True)
class _Seen:
    """A layer behind its noise, of standard deviation `sigma` or `level` times the layer's own, on the clean inputs."""

    sigma: float
    level: float
    normal: ChannelReading

    @classmethod
    def of(cls, problem: Problem, z: Tensor, noise_std: float | None) -> _Seen:
        scale = overall_std(z)
        sigma = noisy.noise_for(problem, z) if noise_std is None else noise_std * scale
        return cls(sigma, sigma / scale, noisy.read(problem, z, sigma))


@dataclass(frozen=True)
class _Worst:
    """The inputs on which a layer says least, of those of the candidates.

    :param attacked: The layer whose attack found them; empty for the clean inputs.
    """

    attacked: str
    x_adv: Tensor
    reading: ChannelReading


def _worst(problem: Problem, moved: Mapping[str, Tensor], seen: Mapping[str, _Seen]) -> dict[str, _Worst]:
    """For each layer, in full, the clean inputs or the candidate chosen on a few samples, whichever says less."""
    choice = candidates.chosen(problem, moved, {layer: noise.sigma for layer, noise in seen.items()})
    worst = {layer: _Worst(candidates.CLEAN, problem.x, noise.normal) for layer, noise in seen.items()}
    for name in moved.keys() & choice.values():
        layers = [layer for layer in seen if choice[layer] == name]
        for layer, z in candidates.outputs(problem, layers, moved[name]).items():
            reading = noisy.read(problem, z, seen[layer].sigma)
            if noisy.says_less(reading, seen[layer].normal):
                worst[layer] = _Worst(name, moved[name], reading)
    return worst


def _result(problem: Problem, noise: _Seen, worst: _Worst) -> RepresentationVulnerability:
    accuracy = noisy.noisy_accuracy(problem, worst.x_adv, noise.sigma)
    measured = noisy.measurement(problem, noise.normal, worst.reading, accuracy, level=noise.level, sigma=noise.sigma)
    with representation(problem.classifier, problem.layer) as represent:
        census = Census.of(replace(problem, represent=represent))
    return conclude(problem, measured, "noisy", census)


def _clean_outputs(problem: Problem, layers: str | Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Outputs on the clean inputs by layer in running order, and why others are left out."""
    order = running_order(problem.classifier, problem.x[:2])
    if layers != "all":
        names = _wanted(problem.classifier.model, layers, order)
        clean = candidates.outputs(problem, names, problem.x)
        for z in clean.values():
            check_representation(z)
        return clean, {}
    readable, left_out = [], {}
    for layer in (layer for layer, innermost in order.items() if innermost):
        try:
            candidates.outputs(problem, [layer], problem.x[:2])
            readable.append(layer)
        except (TypeError, ValueError) as error:
            left_out[layer] = str(error)
    kept: dict[str, Tensor] = {}
    before, last = torch.empty(0), ""
    for layer, z in candidates.outputs(problem, readable, problem.x).items():
        try:
            check_representation(z)
        except ValueError as error:
            left_out[layer] = str(error)
            continue
        if torch.equal(z, before):
            left_out[layer] = f"It gives what layer {last!r} gives."
            continue
        kept[layer] = before = z
        last = layer
    if not kept:
        raise ValueError(f"`layers` must be names, since no layer of the model can be read, got 'all': {left_out}.")
    return kept, left_out


def _wanted(model: nn.Module, layers: str | Sequence[str], order: Mapping[str, bool]) -> list[str]:
    if (
        isinstance(layers, str)
        or not isinstance(layers, Sequence)
        or not all(isinstance(layer, str) for layer in layers)
    ):
        raise TypeError(f"`layers` must be 'all' or a sequence of names, got {layers!r}.")
    if not layers:
        raise ValueError("`layers` must hold at least one name, got none.")
    for layer in layers:
        named_layer(model, layer, "layers")
        if layer not in order:
            raise ValueError(f"`layers` must be run by the model's forward pass, {layer!r} was not.")
    return [layer for layer in order if layer in layers]


def _groups(model: nn.Module, layers: Iterable[str]) -> list[list[str]]:
    """Layers in running order, a new group beginning with each layer that has weights."""
    groups: list[list[str]] = []
    for layer in layers:
        if not groups or next(named_layer(model, layer).parameters(), None) is not None:
            groups.append([])
        groups[-1].append(layer)
    return groups
