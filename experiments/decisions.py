"""What a noisy representation says of decisions and of labels, and what an attack takes of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor

from art_mi import WorstCaseMIEstimator
from art_mi.attacks import Objective
from art_mi.channels import draw_noise, gaussian_ratios, overall_std
from art_mi.metrics import noisy
from art_mi.representations import in_batches

LEAST = -1e4  # in place of minus infinity, which has no gradient


def decision_information(
    classifier: PyTorchClassifier, x: NDArray[np.float32], eps: float, nats: float
) -> tuple[float, float]:
    """I(C; Z) and I(C; Z') in nats, C the decisions on clean inputs, Z the logits behind noise.

    What samples of one class say beyond their class does not count, and no labels are asked for. The attack lowers
    I(C; Z'), the log odds of a sample's own class against the others' among its noisy neighbours.

    :param classifier: Gives logits.
    :param x: Raw inputs `(n, *input_shape)`.
    :param eps: Radius in l_inf.
    :param nats: What the logits of clean inputs say behind the noise.
    """
    with WorstCaseMIEstimator(eps, verbose=False).problem(classifier, x) as problem:
        z = in_batches(problem.represent, problem.x, problem.batch_size)
        sigma, decided = noisy.noise_for(problem, z, nats), z.argmax(1)
        generator, x_adv = problem.generator(), problem.x.clone()
        for index in noisy.blocks(problem, generator):
            objective = apart(problem.joint, sigma, decided[index], generator)
            x_adv[index] = problem.attack(objective, problem.x[index], generator)
        moved = in_batches(problem.represent, x_adv, problem.batch_size)
        of_decisions = replace(problem, y=decided)
        readings = [noisy.read(of_decisions, values, sigma).label for values in (z, moved)]
    clean, worst = (float(reading or 0.0) for reading in readings)
    return clean, min(clean, worst)


def divided_vulnerability(
    classifier: PyTorchClassifier, x: NDArray[np.float32], y: NDArray[np.int64], eps: float, noise_std: float
) -> tuple[float, float]:
    """The parts of a drop in I(X; Z) = I(Y; Z) + I(X; Z | Y): of what is known of the label, and of what lies within.

    :param classifier: Gives logits.
    :param x: Raw inputs `(n, *input_shape)`.
    :param y: Index labels `(n,)`.
    :param eps: Radius in l_inf.
    :param noise_std: Noise relative to the logits' overall standard deviation.
    """
    with WorstCaseMIEstimator(eps, verbose=False).problem(classifier, x, y) as problem:
        z = in_batches(problem.represent, problem.x, problem.batch_size)
        sigma = noise_std * overall_std(z)
        moved = in_batches(problem.represent, noisy.worst_inputs(problem, sigma), problem.batch_size)
        clean, worst = (noisy.read(problem, values, sigma) for values in (z, moved))
    between = float(clean.label or 0.0) - float(worst.label or 0.0)
    return between, clean.lower - worst.lower - between


def apart(
    represent: Callable[[Tensor], Tensor], sigma: float, decided: Tensor, generator: torch.Generator
) -> Objective:
    """Mean over samples of log sum over those of other classes - log sum over the others of its own, of p(z_i | x_j).

    :param represent: Differentiable map g, `(n, ...) -> (n, d)`.
    :param sigma: Standard deviation of the Gaussian noise.
    :param decided: Classes `(n,)`.
    :param generator: Source of the noise.
    """
    same = decided[:, None] == decided

    def objective(x_adv: Tensor) -> Tensor:
        u = represent(x_adv) / sigma
        odds = []
        for ratios in gaussian_ratios(u, [draw_noise("gaussian", u.shape, generator, u)]):
            ratios = ratios.clamp_min(LEAST)  # the sample itself, too
            other, own = (torch.where(side, LEAST, ratios).logsumexp(1) for side in (same, ~same))
            odds.append((other - own).mean())
        return torch.stack(odds).mean()

    return objective
