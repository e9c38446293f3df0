"""Vulnerability against the radius."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor

from art_mi.bridge import norm_ball, outputs
from art_mi.channels import ChannelReading, overall_std
from art_mi.evaluation import attacked_accuracy
from art_mi.evaluation.attacks import pgd
from art_mi.finished import Finished, claimed, fingerprint
from art_mi.metrics import noisy
from art_mi.metrics.conclusion import conclude
from art_mi.metrics.keeping import packed, packed_reading, unpacked, unpacked_reading
from art_mi.metrics.measurement import Problem
from art_mi.metrics.survey import Census
from art_mi.metrics.worst_case_mi import WorstCaseMIEstimator
from art_mi.representations import in_batches
from art_mi.results import Accuracy, VulnerabilityCurve
from art_mi.rules import NON_NEGATIVE, POSITIVE, check

ATTACK = "PGD-20"
SPEAK_OF = (
    "the ceilings hold for classifiers on the noisy representation and the perturbed inputs found for it, the "
    "accuracies for the plain classifier; neither bounds the other"
)


def vulnerability_curve(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any = None,
    *,
    eps: Sequence[float],
    layer: str | None = None,
    norm: float | str = math.inf,
    max_iter: int = 40,
    num_random_init: int = 0,
    batch_size: int = 256,
    noise_std: float = 1.0,
    out: str | Path | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> VulnerabilityCurve:
    """Normal and worst-case information and the accuracy ceiling at each of several radii.

    The attack at a radius starts where that at the radius before ended. What was worst at a smaller radius is allowed
    at a larger one and is replaced only where neither bound rises, so that neither worst-case information nor ceiling
    rises with the radius. So it is with the accuracies: a sample that a smaller radius makes wrong stays wrong. The
    paper measures at one radius.

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import vulnerability_curve
    >>> curve = vulnerability_curve(classifier, x, eps=[0.0, 0.1, 0.2], max_iter=10, verbose=False)
    >>> left = [result.worst_case.value for result in curve.results]
    >>> left == sorted(left, reverse=True)
    True

    :param classifier: ART `PyTorchClassifier`; its modes, weights and hooks are as before afterwards.
    :param x: Raw inputs `(n, *input_shape)`, at least 100: array, tensor or `DataLoader`.
    :param y: Index `(n,)` or one-hot labels, for the label-aware ceiling and for the accuracy of the plain classifier
        under twenty projected-gradient steps at each radius.
    :param eps: Radii in raw input units, ascending.
    :param layer: Dotted name of the layer; the model's output by default.
    :param norm: inf (or `"inf"`), 2 or 1.
    :param max_iter: Steps of an attack, of sizes that fall linearly from 5 eps / max_iter to zero.
    :param num_random_init: Random starts beside the one at the radius before.
    :param batch_size: Most samples through the network at once.
    :param noise_std: Noise level relative to the clean representation's overall standard deviation.
    :param out: Folder that keeps every finished radius; a second call goes on from there.
    :param random_state: Seed.
    :param verbose: Show progress bars.
    :raises TypeError: If an argument is of another type.
    :raises ValueError: If an argument breaks its rule; the message names it.
    """
    radii = _radii(eps)
    estimator = WorstCaseMIEstimator(
        radii[-1],
        norm=norm,
        max_iter=max_iter,
        num_random_init=num_random_init,
        batch_size=batch_size,
        layer=layer,
        noise_std=check("noise_std", noise_std, POSITIVE),
        random_state=random_state,
        verbose=verbose,
    )
    with estimator.problem(classifier, x, y) as problem, claimed(out):
        settings = {
            **problem.settings(),
            "eps": radii,
            "layer": layer,
            "noise_std": noise_std,
            "random_state": random_state,
        }
        done = Finished(out, fingerprint(classifier, problem.x, problem.y, {"profile": "radii", **settings}))
        z = in_batches(problem.represent, problem.x, batch_size)
        sigma = noise_std * overall_std(z)
        census = Census.of(problem)
        normal = worst = noisy.read(problem, z, sigma)
        x_adv = start = problem.x
        correct = _correct(replace(problem, ball=norm_ball(classifier, norm, 0.0)))
        results, accuracies = [], []
        for radius in problem.progress(radii, "radii"):
            at_radius = replace(problem, ball=norm_ball(classifier, norm, radius))
            if radius > 0:
                step = _step(at_radius, sigma, start, done)
                start = step.x_adv
                if step.reading.upper <= worst.upper and step.reading.lower <= worst.lower:
                    worst, x_adv = step.reading, step.x_adv
                correct = correct & step.correct
            right = noisy.noisy_accuracy(at_radius, x_adv, sigma)
            measured = noisy.measurement(at_radius, normal, worst, right, level=noise_std, sigma=sigma)
            results.append(conclude(at_radius, measured, "noisy", census))
            accuracies.append(Accuracy.of(correct))
        named = {} if problem.y is None else {ATTACK: tuple(accuracies)}
    return VulnerabilityCurve(radii, tuple(results), named, {**settings, "ceilings and accuracies": SPEAK_OF})


def _radii(eps: Sequence[float]) -> tuple[float, ...]:
    if isinstance(eps, str) or not isinstance(eps, Sequence | np.ndarray):  # type: ignore[unreachable]
        raise TypeError(f"`eps` must be a sequence of radii, got {type(eps).__name__}.")
    radii = tuple(float(check("eps", radius, NON_NEGATIVE)) for radius in eps)
    if not radii or any(after <= before for before, after in itertools.pairwise(radii)):
        raise ValueError(f"`eps` must hold ascending radii, got {list(radii)}.")
    return radii


@dataclass(frozen=True)
class _Step:
    """Where the attack at a radius ends, what is read there, and which samples stay correct."""

    x_adv: Tensor
    reading: ChannelReading
    correct: NDArray[np.bool_]


def _step(problem: Problem, sigma: float, start: Tensor, done: Finished) -> _Step:
    part = f"radii: {problem.ball.eps}"
    if (kept := done.get(part)) is not None:
        x_adv = unpacked(kept["x_adv"], problem.x)
        return _Step(x_adv, unpacked_reading(kept["reading"]), np.array(kept["correct"], dtype=bool))
    x_adv = noisy.worst_inputs(problem, sigma, start=start)
    reading = noisy.read(problem, in_batches(problem.represent, x_adv, problem.batch_size), sigma)
    step = _Step(x_adv, reading, _correct(problem))
    content = {"x_adv": packed(x_adv), "reading": packed_reading(reading), "correct": step.correct.tolist()}
    done.put(part, content)
    return step


def _correct(problem: Problem) -> NDArray[np.bool_]:
    """Which samples the plain classifier has right, under attack where the radius is positive; all without labels."""
    if problem.y is None:
        return np.ones(len(problem.x), dtype=bool)
    if problem.ball.eps == 0:
        predicted = in_batches(partial(outputs, problem.classifier), problem.x, problem.batch_size).argmax(1)
        return (predicted == problem.y).cpu().numpy()
    ball = problem.ball
    attack = pgd(problem.classifier, float(ball.norm), ball.eps, max_iter=20, batch_size=problem.batch_size)
    x, y = problem.x.cpu().numpy(), problem.y.cpu().numpy()
    return attacked_accuracy(problem.classifier, attack, x, y, random_state=problem.random_state).correct
