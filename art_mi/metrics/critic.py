"""The paper's method: a critic reads the information, clean and on inputs moved against it.

What a critic reads on perturbations made against itself mostly says how well that critic was fooled. The number
reported is that of a critic fitted afresh to the frozen perturbations, read on samples that no critic was fitted on.

| Paper link: https://arxiv.org/abs/2002.11798 (equations 4.1 to 4.3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_mi.attacks.information import critic_information
from art_mi.bridge import outputs
from art_mi.channels import overall_std
from art_mi.estimation import (
    Split,
    default_critic,
    estimate_mutual_information,
    fit_critic,
    read_bound,
    split_samples,
)
from art_mi.fitting import progress_bar
from art_mi.intervals import percentile_interval
from art_mi.metrics.measurement import FEWEST_PAIRS, Measurement, Problem, difference
from art_mi.metrics.noisy import worst_inputs
from art_mi.representations import in_batches
from art_mi.results import Flag, MIEstimate

BIAS = (
    "no bound of either kind: a weak critic reads too little, a weak attack leaves too much, and the worst of the "
    "candidates is chosen on the report pairs, which adds the noise of that choice to the vulnerability"
)
CEILING = (
    "an estimate of no certain direction: the worst-case information is neither a lower nor an upper bound; "
    "the label-aware one is low by what its critic misses"
)
CANDIDATE_NOISE = 1.0  # noise level, in standard deviations, of the critic-free candidate


@dataclass(frozen=True)
class CriticOptions:
    """How critics are fitted, alike for normal and worst-case information.

    :param attack_steps: Attack steps a training batch.
    :param detach_input: Attack through g(x') only, the critic's x side kept at the clean input, as published code does.
    :param warm_start: Continue from a sample's last perturbation when it comes up again.
    :param max_steps: Training steps of a critic.
    """

    attack_steps: int = 3
    detach_input: bool = False
    warm_start: bool = False
    max_steps: int = 200


def measure(problem: Problem, options: CriticOptions) -> Measurement:
    """Normal and worst-case information as read by critics.

    Perturbations of two kinds compete with the clean inputs: those made against a critic that is fitted to them in
    alternation, and those that lower the noisy-channel bound. Each is frozen, read by a critic of its own with equal
    splits, seed, capacity and steps, and the smallest reading is the worst case.

    :param problem: What to measure.
    :param options: How critics are fitted.
    :raises ValueError: If the report split holds fewer than 100 pairs.
    """
    split = split_for(problem.x, problem.random_state)
    z = in_batches(problem.represent, problem.x, problem.batch_size)
    normal = worst = _information(problem, problem.x, z, split, options)
    x_adv, z_adv, own = problem.x, z, None
    readings = {"clean": normal.value}
    if problem.ball.eps > 0:
        moved, own = against_critic(problem, z, split, options)
        candidates = {"critic": moved, "noisy channel": worst_inputs(problem, CANDIDATE_NOISE * overall_std(z))}
        for name, candidate in candidates.items():
            z_candidate = in_batches(problem.represent, candidate, problem.batch_size)
            reading = _information(problem, candidate, z_candidate, split, options)
            readings[name] = reading.value
            if reading.value < worst.value:
                worst, x_adv, z_adv = reading, candidate, z_candidate
    label, accuracy = None, None
    if problem.y is not None:
        label = _label_information(problem, z_adv, split, options.max_steps)
        predicted = in_batches(lambda part: outputs(problem.classifier, part), x_adv, problem.batch_size).argmax(1)
        accuracy = float((predicted == problem.y).float().mean())
    return Measurement(
        normal=normal,
        worst_case=worst,
        vulnerability=difference(normal, worst, BIAS, attacked=problem.ball.eps > 0),
        ceiling_information=worst.value,
        ceiling_direction=CEILING,
        label_information=label,
        measured_accuracy=accuracy,
        own_critic=normal if own is None else own,
        settings={
            **vars(options),
            "candidates_nats": readings,
            "nb_fit": len(split.fit),
            "nb_select": len(split.select),
        },
    )


def split_for(x: Tensor, random_state: int) -> Split:
    """Fit, select and report samples, the same for normal and worst-case information.

    :param x: Inputs `(n, ...)`.
    :param random_state: Seed.
    :raises ValueError: If the report split holds fewer than 100 samples.
    """
    split = split_samples(x, random_state=random_state)
    if len(split.report) < FEWEST_PAIRS:
        raise ValueError(
            f"`x` must leave at least {FEWEST_PAIRS} report pairs (a quarter of the samples), got {len(split.report)}."
        )
    return split


def against_critic(problem: Problem, z: Tensor, split: Split, options: CriticOptions) -> tuple[Tensor, MIEstimate]:
    """Inputs moved against a critic that was fitted to moving inputs, and what that critic itself reads on them.

    :param problem: What to attack.
    :param z: Representations `(n, d)` of the clean inputs.
    :param split: Samples to fit, select and report on.
    :param options: How the critic is fitted.
    """
    generator = problem.generator()
    critic = default_critic(problem.x, z, split.fit, seed=problem.random_state)
    kept = problem.x.clone() if options.warm_start else None

    def perturb(index: Tensor, current: nn.Module) -> tuple[Tensor, Tensor]:
        x = problem.x[index]
        objective = critic_information(problem.joint, current, x, detach_input=options.detach_input)
        start = None if kept is None else kept[index]
        x_adv = problem.attack(objective, x, generator, max_iter=options.attack_steps, start=start)
        if kept is not None:
            kept[index] = x_adv
        return x_adv, in_batches(problem.represent, x_adv, problem.batch_size)

    with progress_bar("fit a critic to moving inputs", options.max_steps, problem.verbose) as progress:
        fit_critic(
            critic,
            problem.x,
            z,
            split,
            max_steps=options.max_steps,
            random_state=problem.random_state,
            perturb=perturb,
            progress=progress,
        )
    critic.requires_grad_(False)
    x_adv = problem.x.clone()
    parts = [part for indices in (split.fit, split.select, split.report) for part in indices.split(512)]
    for part in problem.progress(parts, "worst case against the critic"):
        index = part.to(x_adv.device)
        x = problem.x[index]
        objective = critic_information(problem.joint, critic, x, detach_input=options.detach_input)
        x_adv[index] = problem.attack(objective, x, generator)
    return x_adv, _own_reading(problem, critic, x_adv, split)


def _information(problem: Problem, x: Tensor, z: Tensor, split: Split, options: CriticOptions) -> MIEstimate:
    if bool((z == z[:1]).all()):  # an attack that merges everything leaves nothing to fit
        zeros = np.zeros(1000)
        return MIEstimate(
            0.0, (0.0, 0.0), "constant", "none", len(split.report), problem.random_state, replicates=zeros
        )
    return estimate_mutual_information(
        x, z, split=split, max_steps=options.max_steps, random_state=problem.random_state, verbose=problem.verbose
    )


def _own_reading(problem: Problem, critic: nn.Module, x_adv: Tensor, split: Split) -> MIEstimate:
    z_adv = in_batches(problem.represent, x_adv, problem.batch_size)
    reading = read_bound(critic, x_adv, z_adv, split.report, random_state=problem.random_state)
    value = reading.values["donsker_varadhan"]
    replicates = reading.replicates["donsker_varadhan"]
    return MIEstimate(
        value=value,
        confidence_interval=percentile_interval(replicates),
        estimator="donsker_varadhan",
        bias="low: it says how well this critic was fooled",
        nb_samples=len(split.report),
        random_state=problem.random_state,
        flags=(Flag.NEGATIVE,) if value < 0 else (),
        replicates=replicates,
    )


def _label_information(problem: Problem, z_adv: Tensor, split: Split, max_steps: int) -> float | None:
    """I(Y; Z') by the same estimator; None where there is one label only, or one value of Z'."""
    assert problem.y is not None
    labels: Any = torch.nn.functional.one_hot(problem.y).float()
    if len(problem.y.unique()) < 2 or bool((z_adv == z_adv[:1]).all()):
        return None
    return estimate_mutual_information(
        labels, z_adv, split=split, max_steps=max_steps, random_state=problem.random_state, verbose=problem.verbose
    ).value
