"""How strong perturbations are, and how long they take, against those of the published procedure.

What a critic reads on perturbations made against itself says how well it was fooled. Here perturbations of all samples
are frozen, a critic of ours is fitted to them afresh, and what it reads on held-out samples is their strength: less
is stronger. Every seed runs once, in process time of one thread; seeds change critics and batches, samples and their
split stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_mi.channels import overall_std
from art_mi.estimation import estimate_mutual_information
from art_mi.metrics.critic import CANDIDATE_NOISE, CriticOptions, against_critic, split_for
from art_mi.metrics.measurement import Problem
from art_mi.metrics.noisy import worst_inputs
from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator
from art_mi.randomness import isolated_randomness
from art_mi.representations import in_batches
from art_mi.splits import Split
from benchmarks import digits
from benchmarks.published import Published, published
from benchmarks.timing import Row, Settings, Times, elapsed, torch_threads

GOAL = 0.2
BATCH, EPS_STEP = 128, 0.03
OURS, PUBLISHED = ("critic", "noisy"), "published"
ATTACKS = {"7 steps": (EPS_STEP, 7), "40 steps": (2.5 * digits.EPS / 40, 40)}  # the published one, and as many as ours


@dataclass(frozen=True)
class Plan:
    """Runs of the published procedure, which by default takes a critic of width 2048 and 150 epochs.

    :param width: Of its critic.
    :param epochs: Checkpoints, of one run a seed.
    :param nb_seeds: Seeds from 0.
    """

    width: int
    epochs: tuple[int, ...]
    nb_seeds: int

    def __str__(self) -> str:
        return f"{PUBLISHED}, width {self.width}"

    def name(self, nb_epochs: int, attack: str) -> str:
        """Name of a checkpoint with an attack."""
        return f"{self}, {nb_epochs} epochs, attack of {attack}"


PLANS = (Plan(2048, (5, 15), 3), Plan(64, (5, 15, 50, 150), 3))
QUICK = (Plan(16, (1,), 1),)


@dataclass
class Runs:
    """What one way to perturb took and reached, one entry a seed."""

    seconds: list[float]
    readings: list[float]

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return float(np.median(self.seconds))

    @property
    def mean(self) -> float:
        """Mean strength in nats, less being stronger."""
        return float(np.mean(self.readings))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds."""
        return float(np.std(self.readings, ddof=1)) if len(self.readings) > 1 else 0.0


def rows(settings: Settings) -> Iterator[Row]:
    """Time to perturbations as strong as the published procedure's best, of both methods that are ours."""
    nb_samples, plans = (400, QUICK) if settings.quick else (1797, PLANS)
    classifier = digits.classifier(nb_epochs=1 if settings.quick else 8, device=settings.device)
    found: dict[str, Runs] = {}
    with torch_threads(1):
        for seed in range(max(plan.nb_seeds for plan in plans)):
            asked = [plan for plan in plans if seed < plan.nb_seeds]
            for name, seconds, reading in _of_seed(classifier, nb_samples, seed, asked, settings):
                runs = found.setdefault(name, Runs([], []))
                runs.seconds.append(seconds)
                runs.readings.append(reading)
    for plan in plans:
        yield from _rows_of(plan, found, nb_samples, settings)


def _rows_of(plan: Plan, found: Mapping[str, Runs], nb_samples: int, settings: Settings) -> Iterator[Row]:
    """Against the last checkpoint, and against the first that is as strong as the best within the seed spread."""
    theirs = {name: runs for name, runs in found.items() if name.startswith(f"{plan},")}
    best = min(theirs.values(), key=lambda runs: runs.mean)
    limit = best.mean + best.spread
    first = min((name for name in theirs if theirs[name].mean <= limit), key=lambda name: theirs[name].median)
    last = plan.name(plan.epochs[-1], next(iter(ATTACKS)))
    shown = {name: _shown(runs) for name, runs in found.items() if name in theirs or not name.startswith(PUBLISHED)}
    clock = "cpu" if settings.device == "cpu" else "wall"
    for name in OURS:
        ours = found[name]
        weak = f"it leaves {ours.mean:.2f} nats, and at most {limit:.2f} count as strong"
        slow = f"its default effort goes further, to {ours.mean:.2f} nats, where theirs leaves {best.mean:.2f} at best"
        for base, against in ((last, "against its last checkpoint"), (first, "against its first as strong")):
            number = min(len(ours.seconds), len(found[base].seconds))
            times = Times({key: found[key].seconds[:number] for key in (name, base)}, 1, clock)
            row = times.row(
                f"time to perturbations as strong as the published best, {against}",
                f"digits, {nb_samples} samples, logits of a small CNN, eps {digits.EPS}; one run a seed, "
                f"{number} seeds, not interleaved; of {found['clean'].mean:.2f} nats theirs leaves {best.mean:.2f} at "
                f"best, ours {ours.mean:.2f}",
                name,
                base,
                GOAL,
                more={"limit_nats": limit, "runs": shown},
                cause=weak if ours.mean > limit else slow,
            )
            never = replace(row, ratio=math.inf, interval=(math.inf, math.inf))
            yield row if ours.mean <= limit else never


def _shown(runs: Runs) -> dict[str, Any]:
    return {
        "seconds": runs.median,
        "nats": runs.mean,
        "spread": runs.spread,
        "readings": runs.readings,
    }


def _of_seed(
    classifier: Any, nb_samples: int, seed: int, plans: Sequence[Plan], settings: Settings
) -> Iterator[tuple[str, float, float]]:
    """Name, seconds and strength of every way to perturb, for one seed."""
    max_iter, max_steps = (2, 4) if settings.quick else (40, 200)
    x = digits.images(nb_samples)
    estimator = WorstCaseMIEstimator(digits.EPS, max_iter=max_iter, random_state=seed, verbose=False)
    with estimator.problem(classifier, x) as problem:
        split = split_for(problem.x, 0)
        read = partial(_strength, problem, split, max_steps)
        yield "clean", 0.0, read(problem.x)
        z = in_batches(problem.represent, problem.x, problem.batch_size)
        for name, perturb in {
            "critic": partial(_by_critic, problem, z, split, max_steps),
            "noisy": partial(worst_inputs, problem, CANDIDATE_NOISE * overall_std(z)),
        }.items():
            yield name, *_timed(perturb, read, settings.device)
        for plan in plans:
            for name, seconds, x_adv in _published(problem, classifier.model, split, plan, settings):
                yield name, seconds, read(x_adv)


def _by_critic(problem: Problem, z: Tensor, split: Split, max_steps: int) -> Tensor:
    return against_critic(problem, z, split, CriticOptions(max_steps=max_steps))[0]


def _timed(perturb: Callable[[], Tensor], read: Callable[[Tensor], float], device: str) -> tuple[float, float]:
    kept: list[Tensor] = []
    seconds = elapsed(lambda: kept.append(perturb()), "cpu" if device == "cpu" else "wall", device)
    return seconds, read(kept[0])


def _strength(problem: Problem, split: Split, max_steps: int, x_adv: Tensor) -> float:
    z_adv = in_batches(problem.represent, x_adv, problem.batch_size)
    judge = problem.random_state + 1000  # weights and batches that no attack has seen
    return estimate_mutual_information(x_adv, z_adv, split=split, max_steps=max_steps, random_state=judge).value


def _published(
    problem: Problem, model: nn.Module, split: Split, plan: Plan, settings: Settings
) -> Iterator[tuple[str, float, Tensor]]:
    """Perturbations of all samples at each checkpoint of one run, by either attack, and the time up to there."""
    clock = "cpu" if settings.device == "cpu" else "wall"
    with isolated_randomness(problem.random_state, problem.x.device):
        procedure = published(model, problem.x, width=plan.width, eps=problem.ball.eps, eps_step=EPS_STEP)
        x, trained, spent = problem.x[split.fit.to(problem.x.device)], 0, 0.0
        for nb_epochs in plan.epochs:
            todo = [batch for _ in range(nb_epochs - trained) for batch in _batches(x)]
            spent += elapsed(partial(procedure.fit, todo), clock, settings.device)
            trained = nb_epochs
            for name, (eps_step, max_iter) in ATTACKS.items():
                kept: list[Tensor] = []
                attack = partial(_attacked, procedure, problem.x, eps_step, max_iter, kept)
                seconds = elapsed(attack, clock, settings.device)
                yield plan.name(nb_epochs, name), spent + seconds, torch.cat(kept)


def _batches(x: Tensor) -> list[Tensor]:
    order = torch.randperm(len(x), device=x.device)
    return [x[index] for index in order.split(BATCH) if len(index) == BATCH]


def _attacked(procedure: Published, x: Tensor, eps_step: float, max_iter: int, kept: list[Tensor]) -> None:
    kept.extend(procedure.attack(part, eps_step=eps_step, max_iter=max_iter) for part in x.split(BATCH))
