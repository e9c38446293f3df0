"""The critic-free method: the representation seen through noise of known density.

Z = g(X) + sigma N has finite information even for a deterministic g, and its conditional density is known, so that the
information is bounded from both sides without a critic and can be lowered over the inputs directly.

| Paper link: https://arxiv.org/abs/1810.05728 (noisy networks)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from art_mi.attacks.information import noisy_information
from art_mi.channels import ChannelReading, draw_noise, gaussian_parts, lower_bound, overall_std, read_channel
from art_mi.intervals import bootstrap, percentile_interval
from art_mi.metrics.measurement import BLOCK, ENOUGH_PAIRS, Measurement, Problem, difference
from art_mi.metrics.survey import Survey
from art_mi.representations import in_batches, noisy_outputs
from art_mi.results import Flag, MIEstimate

WIDE = 0.2
FEW = 256  # samples that choose a noise level, or between candidates
LOG_LEVELS = 9.0  # noise from a ten-thousandth to ten thousand times the representation's scale

BIAS = "low where the attack is weak; two-sided otherwise"
IN_CHUNKS = "; high by what the worst inputs tell of their chunk, as each is attacked and read by itself"
CEILING = (
    "in expectation over the noise, no classifier on the noisy representation is more accurate on these perturbed "
    "inputs: it comes from the upper bound of their information"
)


@dataclass(frozen=True)
class Seen:
    """Inputs behind noise.

    :param reading: What they say.
    :param accuracy: Of the classifier on the noisy representation, where labels were given.
    """

    reading: ChannelReading
    accuracy: float | None

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """What all samples say, from what parts of them do.

        :param parts: What each part says, at least one.
        """
        sizes = [len(part.reading.lower_influence) for part in parts]
        accuracies = [part.accuracy for part in parts if part.accuracy is not None]
        accuracy = float(np.average(accuracies, weights=sizes)) if accuracies else None
        return cls(ChannelReading.joined([part.reading for part in parts]), accuracy)


def measure(chunks: Iterable[Problem], survey: Survey, noise_std: Sequence[float], noise: str) -> list[Measurement]:
    """Normal and worst-case information of the noisy representation, one measurement a noise level.

    The attack lowers the upper bound, whose gradient does not vanish when samples are far apart, over blocks of samples
    that move jointly; the reading draws fresh noise. Of a chunk that is done only readings are kept.

    :param chunks: What to measure, problems that differ in their samples and seeds only.
    :param survey: Of the same samples.
    :param noise_std: Noise levels, relative to the clean representation's overall standard deviation, so that the
        result does not change when the representation is scaled.
    :param noise: `"gaussian"` or `"uniform"`.
    """
    sigmas = [level * survey.moments.overall_std for level in noise_std]
    parts: list[list[tuple[Seen, Seen]]] = [[] for _ in sigmas]
    for problem in chunks:
        z = in_batches(problem.represent, problem.x, problem.batch_size)
        for sigma, at_level in zip(sigmas, parts, strict=True):
            clean = worst = _see(problem, problem.x, z, sigma, noise)
            if problem.ball.eps > 0:
                x_adv = worst_inputs(problem, sigma)
                moved = in_batches(problem.represent, x_adv, problem.batch_size)
                worst = _see(problem, x_adv, moved, sigma, noise)
            at_level.append((clean, worst))
    found = []
    for level, sigma, at_level in zip(noise_std, sigmas, parts, strict=True):
        normal, worst = (Seen.joined(side) for side in zip(*at_level, strict=True))
        if not says_less(worst.reading, normal.reading):
            worst = normal
        both = normal.reading, worst.reading
        bias = BIAS + IN_CHUNKS * (len(at_level) > 1)
        measured = partial(measurement, survey.problem, *both, worst.accuracy, bias=bias)
        found.append(measured(level=level, sigma=sigma, noise=noise))
    return found


def _see(problem: Problem, x: Tensor, z: Tensor, sigma: float, noise: str) -> Seen:
    return Seen(read(problem, z, sigma, noise), noisy_accuracy(problem, x, sigma, noise))


def read(problem: Problem, z: Tensor, sigma: float, noise: str = "gaussian") -> ChannelReading:
    """Information of representations of all samples, clean or moved, seen through noise.

    :param problem: Gives labels and seed.
    :param z: Representations `(n, d)`.
    :param sigma: Standard deviation of the noise in the units of the representation.
    :param noise: `"gaussian"` or `"uniform"`.
    """
    # Other blocks and other noise than the attack's, the same for clean and moved inputs
    fresh = torch.Generator(z.device).manual_seed(problem.random_state + 1)
    return read_channel(z, sigma, noise=noise, y=problem.y, generator=fresh, block=BLOCK)


def noise_for(problem: Problem, z: Tensor, nats: float | None = None) -> float:
    """The noise through which representations of clean inputs say so much.

    Without noise they say log n where no two of the n samples are equal, whatever their width and scale. Half of that,
    neither that ceiling nor the noise hides what an attack takes away, and layers are comparable: each starts with as
    much. Half is found from a few samples' mixtures over all, within a few per cent.

    :param problem: Gives the seed.
    :param z: Representations `(n, d)` of the clean inputs.
    :param nats: What they are to say, in nats; by default half of what they say without noise.
    :return: Standard deviation in the units of the representation.
    :raises ValueError: If they do not say as much without noise, or say more through any.
    """
    generator = torch.Generator(z.device).manual_seed(problem.random_state)
    scale = overall_std(z)
    z = z[torch.randperm(len(z), generator=generator, device=z.device)[:BLOCK]].double() / scale
    few, nb_noise = (FEW, 1) if nats is None else (BLOCK, 4)
    draws = [draw_noise("gaussian", z[:few].shape, generator, z) for _ in range(nb_noise)]
    still, tilts = gaussian_parts(z, draws, few)

    def information(log_level: float) -> float:
        level = math.exp(log_level)
        signed = (still / level**2 + sign * tilt / level for tilt in tilts for sign in (1, -1))
        return float(torch.stack([lower_bound(ratios).mean() for ratios in signed]).mean())

    most = information(-LOG_LEVELS)
    wanted = most / 2 if nats is None else nats
    least = max(0.0, information(LOG_LEVELS))
    if not least < wanted < most:
        raise ValueError(
            f"`noise_nats` must be above {least:.1g} and below the {most:.3g} nats said without noise, got {nats}."
        )
    log_level: float = brentq(lambda level: information(level) - wanted, -LOG_LEVELS, LOG_LEVELS, xtol=1e-3)
    return math.exp(log_level) * scale


def says_less(reading: ChannelReading, other: ChannelReading) -> bool:
    """Whether one reading is a worse case than another.

    :param reading: The one.
    :param other: The other.
    """
    return (reading.upper, reading.lower) < (other.upper, other.lower)


def measurement(
    problem: Problem,
    normal: ChannelReading,
    worst: ChannelReading,
    accuracy: float | None,
    *,
    level: float,
    sigma: float,
    noise: str = "gaussian",
    bias: str = BIAS,
) -> Measurement:
    """What two readings of the same samples amount to.

    :param problem: What was measured.
    :param normal: Reading on the clean inputs.
    :param worst: Reading on the worst inputs found; `normal` itself where none were worse.
    :param accuracy: That on those inputs, from :func:`noisy_accuracy`.
    :param level: Noise level relative to the clean representation.
    :param sigma: Standard deviation of the noise in the units of the representation.
    :param noise: `"gaussian"` or `"uniform"`.
    :param bias: Known biases of the vulnerability, in words.
    """
    clean = moved = estimate(problem, normal)
    if worst is not normal:
        moved = estimate(problem, worst)
    return Measurement(
        normal=clean,
        worst_case=moved,
        vulnerability=difference(clean, moved, bias, attacked=problem.ball.eps > 0),
        ceiling_information=worst.upper,
        ceiling_direction=CEILING,
        label_information=worst.label,
        label_entropy=worst.label_entropy,
        measured_accuracy=accuracy,
        settings={"noise": noise, "noise_std": level, "noise_std_absolute": sigma},
    )


def noisy_accuracy(problem: Problem, x: Tensor, sigma: float, noise: str = "gaussian") -> float | None:
    """Accuracy of the classifier when noise is added to the representation; None without labels.

    :param problem: Gives classifier, layer, labels and seed.
    :param x: Inputs `(n, ...)`, clean or moved.
    :param sigma: Standard deviation of the noise in the units of the representation.
    :param noise: `"gaussian"` or `"uniform"`.
    """
    if problem.y is None:
        return None
    draw = partial(_scaled_noise, noise, sigma, problem.generator())
    with noisy_outputs(problem.classifier, problem.layer, draw) as noisy:
        predicted = in_batches(noisy, x, problem.batch_size).argmax(1)
    return float((predicted == problem.y).float().mean())


def worst_inputs(problem: Problem, sigma: float, *, start: Tensor | None = None) -> Tensor:
    """Perturbed inputs `(n, ...)` on which the representation seen through Gaussian noise says least.

    :param problem: What to attack.
    :param sigma: Standard deviation of the noise in the units of the representation.
    :param start: Where to start inside the balls; the clean inputs by default.
    """
    generator = problem.generator()
    objective = noisy_information(problem.joint, sigma, generator)
    x_adv = problem.x.clone()
    for index in problem.progress(blocks(problem, generator), f"worst case at sigma {sigma:.3g}"):
        first = None if start is None else start[index]
        x_adv[index] = problem.attack(objective, problem.x[index], generator, start=first)
    return x_adv


def blocks(problem: Problem, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Numbers of the samples that move jointly, in random order.

    :param problem: Gives the samples.
    :param generator: Source of the order.
    """
    n = len(problem.x)
    return torch.randperm(n, generator=generator, device=problem.x.device).tensor_split(math.ceil(n / BLOCK))


def _scaled_noise(noise: str, sigma: float, generator: torch.Generator, z: Tensor) -> Tensor:
    return sigma * draw_noise(noise, z.shape, generator, z)


def estimate(problem: Problem, reading: ChannelReading) -> MIEstimate:
    """A reading with its interval and its flags.

    :param problem: Gives the seed.
    :param reading: What was read.
    """
    n = len(reading.lower_influence)
    replicates = bootstrap(reading.lower, reading.lower_influence, random_state=problem.random_state)
    high = math.inf
    if math.isfinite(reading.upper):
        above = bootstrap(reading.upper, reading.upper_influence, random_state=problem.random_state)
        high = percentile_interval(above)[1]
    flags = []
    if reading.lower > 0.8 * reading.ceiling:
        flags.append(Flag.SATURATED)
    if n < ENOUGH_PAIRS or reading.upper - reading.lower > WIDE:
        flags.append(Flag.UNDERSAMPLED)
    return MIEstimate(
        value=reading.lower,
        confidence_interval=(percentile_interval(replicates)[0], high),
        estimator="noisy channel",
        bias="between its lower and its upper bound for these inputs, in expectation over the noise",
        nb_samples=n,
        random_state=problem.random_state,
        lower=reading.lower,
        upper=reading.upper,
        ceiling=reading.ceiling,
        flags=tuple(flags),
        replicates=replicates,
    )
