"""Information and vulnerability of single units of a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_mi.channels import draw_noise, gaussian_ratios, overall_std, upper_bound
from art_mi.finished import Finished, claimed, fingerprint
from art_mi.gradients import check_gradients
from art_mi.metrics import noisy
from art_mi.metrics.measurement import Problem, constant, difference
from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator
from art_mi.representations import in_batches, watching
from art_mi.results import FeatureProfile, Flag, MIEstimate, UnitVulnerability
from art_mi.rules import POSITIVE, check, integer

CONSTANT = "constant unit"


def feature_profile(
    classifier: PyTorchClassifier,
    x: Any,
    layer: str | None = None,
    *,
    eps: float,
    units: Sequence[int] | None = None,
    norm: float | str = math.inf,
    eps_step: float | None = None,
    max_iter: int = 20,
    batch_size: int = 256,
    noise_std: float = 0.3,
    out: str | Path | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> FeatureProfile:
    """Normal and worst-case information of single units, each seen through Gaussian noise of its own scale.

    Each unit is attacked for itself: the worst inputs of one need not be those of another. Several go through the
    network side by side where `batch_size` is a multiple of the number of samples, which changes nothing but the time.
    A unit that is constant on the clean inputs has no information to lose, and its estimator is `"constant unit"`.

    The information of a layer is not the sum of those of its units, which share much of it.

    | Paper link: https://arxiv.org/abs/2002.11798 (figure 3)

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import feature_profile
    >>> profile = feature_profile(classifier, x, "features", eps=0.1, max_iter=5, verbose=False)
    >>> [(unit.unit, unit.worst_case.value < unit.normal.value) for unit in profile.units]
    [(0, True), (1, True)]

    :param classifier: ART `PyTorchClassifier`; its modes, weights and hooks are as before afterwards.
    :param x: Raw inputs `(n, *input_shape)`, at least 100: array, tensor or `DataLoader`.
    :param layer: Dotted name; the model's output by default.
    :param eps: Radius in raw input units.
    :param units: Indices in the flattened output of the layer. By default all; of maps `(channels, height, width)` the
        middle of each channel, a neuron of the paper.
    :param norm: inf (or `"inf"`), 2 or 1.
    :param eps_step: Step size in raw input units; by default it falls linearly from 5 eps / max_iter to zero.
    :param max_iter: Steps of an attack.
    :param batch_size: Most samples through the network at once.
    :param noise_std: Noise level relative to the standard deviation of each unit on the clean inputs. One number seen
        through noise of its own size has at most 0.35 nats, whatever it says; through 0.3 of it at most 1.25.
    :param out: Folder that keeps every finished unit; a second call goes on from there.
    :param random_state: Seed.
    :param verbose: Show progress bars.
    :raises TypeError: If an argument is of another type.
    :raises ValueError: If an argument breaks its rule; the message names it.
    """
    estimator = WorstCaseMIEstimator(
        eps,
        norm=norm,
        eps_step=eps_step,
        max_iter=max_iter,
        batch_size=batch_size,
        layer=layer,
        noise_std=check("noise_std", noise_std, POSITIVE),
        random_state=random_state,
        verbose=verbose,
    )
    with estimator.problem(classifier, x) as problem, claimed(out):
        z = in_batches(problem.represent, problem.x, batch_size)
        chosen = _units(problem, z.shape[1], units)
        sigmas = {
            unit: noise_std * overall_std(z[:, [unit]]) for unit in chosen if bool((z[:, unit] != z[0, unit]).any())
        }
        settings = {**problem.settings(), "noise_std": noise_std, "random_state": random_state}
        done = Finished(out, fingerprint(classifier, problem.x, None, {"profile": "units", "layer": layer, **settings}))
        moved = _all_moved(problem, sigmas, done) if problem.ball.eps > 0 else {}
        found = tuple(
            _vulnerability(problem, unit, z[:, [unit]], moved.get(unit), sigmas[unit])
            if unit in sigmas
            else _constant(problem, unit)
            for unit in problem.progress(chosen, "units")
        )
    return FeatureProfile(layer, found, settings)


def _units(problem: Problem, width: int, units: Sequence[int] | None) -> list[int]:
    if units is not None:
        if not isinstance(units, Sequence | np.ndarray):
            raise TypeError(f"`units` must be a sequence of integers, got {type(units).__name__}.")
        rule = (f"distinct integers from 0 to {width - 1}, at least one", lambda v: integer(0)[1](v) and v < width)
        chosen = [int(check("units", unit, rule)) for unit in units]
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"`units` must be {rule[0]}, got {chosen}.")
        return chosen
    with watching(problem.classifier.model, problem.layer) as seen, torch.no_grad():
        problem.represent(problem.x[:1])
    if not seen or seen[-1].ndim != 4:
        return list(range(width))
    _, channels, height, across = seen[-1].shape
    middle = height // 2 * across + across // 2
    return [channel * height * across + middle for channel in range(channels)]


def _all_moved(problem: Problem, sigmas: dict[int, float], done: Finished) -> dict[int, Tensor]:
    """What each unit gives on its own worst inputs, `(n, 1)`."""
    moved, left = {}, []
    for unit in sigmas:
        if (kept := done.get(f"units: {problem.layer} {unit}")) is None:
            left.append(unit)
        else:
            moved[unit] = torch.tensor(kept["z"], dtype=torch.float32, device=problem.x.device)[:, None]
    side_by_side = max(1, problem.batch_size // len(problem.x))
    chunks = [left[i : i + side_by_side] for i in range(0, len(left), side_by_side)]
    for chunk in problem.progress(chunks, "worst case of units"):
        for unit, values in zip(chunk, _moved(problem, chunk, [sigmas[unit] for unit in chunk]), strict=True):
            done.put(f"units: {problem.layer} {unit}", {"z": values.tolist()})
            moved[unit] = values[:, None]
    return moved


def _moved(problem: Problem, units: list[int], sigmas: list[float]) -> Tensor:
    """What units give on their worst inputs, `(k, n)`: copies of the inputs move side by side, one for each unit."""
    k, generator = len(units), problem.generator()

    def values(x_adv: Tensor) -> Tensor:
        copies = problem.joint(x_adv).unflatten(0, (k, -1))
        return torch.stack([copy[:, unit] for copy, unit in zip(copies, units, strict=True)])

    def objective(x_adv: Tensor) -> Tensor:
        scaled = values(x_adv) / torch.tensor(sigmas, device=x_adv.device)[:, None]
        draw = draw_noise("gaussian", (scaled.shape[1], 1), generator, scaled)  # the same for all units
        ratios = (ratios for u in scaled for ratios in gaussian_ratios(u[:, None], [draw]))
        return -torch.stack([upper_bound(part).mean() for part in ratios]).sum()

    z = torch.empty(k, len(problem.x), device=problem.x.device)
    for index in noisy.blocks(problem, generator):
        part = problem.x[index]
        x_adv = problem.attack(objective, part.repeat(k, *[1] * (part.ndim - 1)), generator)
        with torch.no_grad():
            z[:, index] = values(x_adv)
    return z


def _vulnerability(problem: Problem, unit: int, z: Tensor, moved: Tensor | None, sigma: float) -> UnitVulnerability:
    reading = noisy.read(problem, z, sigma)
    normal = worst = noisy.estimate(problem, reading)
    if moved is not None:
        lowest = noisy.read(problem, moved, sigma)
        if noisy.says_less(lowest, reading):
            worst = noisy.estimate(problem, lowest)
    drop = difference(normal, worst, noisy.BIAS, attacked=moved is not None)
    if moved is not None:

        def at_unit(x: Tensor) -> Tensor:
            return problem.represent(x)[:, [unit]]

        raised = check_gradients(at_unit, problem.x, problem.ball, problem.batch_size, problem.random_state).flags
        worst, drop = _flagged(worst, raised), _flagged(drop, raised)
    return UnitVulnerability(unit, normal, worst, drop)


def _flagged(estimate: MIEstimate, raised: set[Flag]) -> MIEstimate:
    return replace(estimate, flags=tuple(flag for flag in Flag if flag in {*estimate.flags, *raised}))


def _constant(problem: Problem, unit: int) -> UnitVulnerability:
    nothing = constant(CONSTANT, len(problem.x), problem.random_state)
    return UnitVulnerability(unit, nothing, nothing, nothing)
