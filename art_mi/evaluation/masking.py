"""Checks for masked gradients: do the attacks fail for a reason that a better attack would not have?

Attacks are compared sample by sample, and a check speaks up only beyond what sampling explains. That none does is no
proof.

| Paper link: https://arxiv.org/abs/1802.00420 (section 3.1)
| Paper link: https://arxiv.org/abs/1902.06705 (section 5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from art_mi.bridge import outputs
from art_mi.evaluation.accuracy import undisturbed
from art_mi.evaluation.attacks import no_square, pgd, square
from art_mi.evaluation.target import Target
from art_mi.gradients import GradientCheck, check_gradients, differing
from art_mi.results import Accuracy, Check, Flag

MOST_SAMPLES = 1000
LEVEL = 0.01  # of the tests, one-sided
MISSED = 0.01  # share of samples that an attack without gradients may break alone
SQUARE_QUERIES = 100
NOISE_DRAWS = 10

Correct = NDArray[np.bool_]


def planned_checks(
    target: Target, under_attack: Mapping[str, Correct], gradient: Correct | None
) -> tuple[dict[str, Callable[[], Check]], dict[str, str]]:
    """The checks that can be made, and why others were left out. They see at most 1,000 samples, evenly spaced.

    :param target: Classifier, samples and threat model.
    :param under_attack: Whether each sample stays correct, by the names of attacks; FGSM, PGD-20 and PGD-50 are read.
    :param gradient: Whether each sample stays correct under all attacks with gradients in the ball of the threat model;
        None if there were none.
    :return: Functions that make a check, by its name, and reasons by name.
    """
    step = -(-len(target.x) // MOST_SAMPLES)
    few = target.every(step)
    slopes = lru_cache(lambda: _slopes(few))
    checks: dict[str, Callable[[], Check]] = {
        "same answer": lambda: same_answer(few),
        "gradients": lambda: gradients(slopes()),
        "moves": lambda: moves(slopes()),
        "large ball": lambda: large_ball(few),
    }
    left_out = {}
    ladder = {name: under_attack[name][::step] for name in ("FGSM", "PGD-20", "PGD-50") if name in under_attack}
    if len(ladder) >= 2:
        checks["more steps"] = lambda: more_steps(ladder)
    else:
        left_out["more steps"] = "it compares two of FGSM, PGD-20 and PGD-50"
    if gradient is None:
        left_out |= dict.fromkeys(("black box", "noise"), "no attack with gradients was run in this ball")
        return checks, left_out
    held = gradient[::step]
    checks["noise"] = lambda: noise(few, held)
    unfit = "the norm is not inf" if few.ball.norm != math.inf else no_square(few.classifier)
    if unfit is None:
        checks["black box"] = lambda: black_box(few, held)
    else:
        left_out["black box"] = unfit
    return checks, left_out


def same_answer(target: Target) -> Check:
    """The classifier answers the same inputs alike in a second call, in other company: all but a hundredth of them.

    An attack on one that draws at random follows single draws, and any accuracy is that of single draws.

    :param target: Classifier and samples.
    """
    n = len(target.x)
    order = np.random.default_rng(target.random_state).permutation(n)
    with undisturbed(target.classifier, target.random_state):
        first, second = (
            torch.from_numpy(target.classifier.predict(x, batch_size=size))
            for x, size in ((target.x, target.batch_size), (target.x[order], 2 * min(n, target.batch_size) // 3 + 1))
        )
    changed = int(differing(first[order], second).sum())
    return Check(
        changed <= MISSED * n, f"of {n} samples {changed} have other logits in a second call", Flag.RANDOM_OUTPUT
    )


def gradients(found: GradientCheck) -> Check:
    """A gradient of the logits reaches the inputs, and random points of their balls: of all but a hundredth of them.

    :param found: What :func:`.check_gradients` found of the logits.
    """
    finding = f"of {found.nb_samples} samples {found.blind} have no gradient at the input or a random point of its ball"
    return Check(Flag.ZERO_GRADIENT not in found.flags, finding, Flag.ZERO_GRADIENT)


def moves(found: GradientCheck) -> Check:
    """The logits move as their gradient foresees: small random moves, and no random ones across the ball far more.

    :param found: What :func:`.check_gradients` found of the logits.
    """
    finding = (
        f"of {found.foreseen + found.misled} small random moves the gradient foresees {found.foreseen}; random moves "
        f"across the ball do far more than its own on {found.outdone} of {found.nb_samples} samples"
    )
    return Check(Flag.MISLEADING_GRADIENT not in found.flags, finding, Flag.MISLEADING_GRADIENT)


def _slopes(target: Target) -> GradientCheck:
    classifier, x = target.classifier, torch.from_numpy(target.x).to(target.classifier.device)
    with undisturbed(classifier, target.random_state):
        return check_gradients(partial(outputs, classifier), x, target.ball, target.batch_size, target.random_state)


def large_ball(target: Target) -> Check:
    """Accuracy falls to about chance where the ball reaches every image: that of all, and that of each class.

    PGD with 50 steps of a quarter of the radius, from the inputs themselves: from random ones, which most classifiers
    get wrong anyway, it would pass without any gradient. Chance is the share of the most frequent label, and at least
    that of one class in `nb_classes`; the check passes if the lower end of the 95 % interval is not above it. Of a
    single class it is the latter, where more than one class was right at first.

    ART's steps in l_1 are far from the steepest: there this check speaks up on honest classifiers too, and rightly says
    that the attacks are weak.

    :param target: Classifier, samples and threat model, whose norm counts.
    """
    low, high = (target.x.min(), target.x.max()) if target.ball.clip_values is None else target.ball.clip_values
    features = math.prod(target.x.shape[1:])
    eps = float(np.max(np.subtract(high, low))) * features ** (1 / float(target.ball.norm))
    attack = pgd(
        target.classifier,
        float(target.ball.norm),
        eps,
        max_iter=50,
        batch_size=target.batch_size,
        num_random_init=0,
    )
    found = replace(target, ball=replace(target.ball, eps=eps)).under(attack).accuracy
    share = float(np.bincount(target.y).max()) / len(target.y)
    chance = max(share, 1 / target.classifier.nb_classes)
    passed = found.confidence_interval[0] <= chance
    reach = f"PGD-50 in a ball of radius {eps:g}, which reaches every image,"
    finding = f"{reach} leaves {_percent(found)}; chance is {chance:.1%}"
    known = np.unique(target.y[target.correct(target.x)])
    by_class = {int(label): Accuracy.of(found.correct[target.y == label]) for label in known if len(known) > 1}
    if by_class:
        label, most = max(by_class.items(), key=lambda item: item[1].confidence_interval[0])
        passed &= most.confidence_interval[0] <= 1 / target.classifier.nb_classes
        finding += f"; of class {label} {_percent(most)}"
    return Check(bool(passed), finding, Flag.ABOVE_CHANCE)


def more_steps(correct: Mapping[str, Correct]) -> Check:
    """More steps of an attack never help the model: no step up the ladder leaves more samples right, beyond noise.

    Of the samples that two attacks judge differently, at least about half must go to the longer one (a one-sided sign
    test at level 0.01).

    :param correct: Whether each sample stays correct, by attack, from fewest steps to most.
    """
    passed, findings = True, []
    names = list(correct)
    for fewer, more in pairwise(names):
        helped = int((correct[more] & ~correct[fewer]).sum())
        hurt = int((correct[fewer] & ~correct[more]).sum())
        if helped and binomtest(helped, helped + hurt, alternative="greater").pvalue < LEVEL:
            passed = False
        findings.append(f"{more} breaks {hurt} that {fewer} does not, and does not break {helped} that {fewer} does")
    return Check(passed, f"of {len(correct[names[0]])} samples {'; '.join(findings)}", Flag.STEPS_HELP_THE_MODEL)


def black_box(target: Target, gradient: Correct) -> Check:
    """A black-box attack is not stronger: Square (100 queries, few on purpose) breaks hardly any that gradients do not.

    :param target: Classifier, samples and threat model.
    :param gradient: Whether each sample stays correct under all attacks with gradients.
    """
    attack = square(
        target.classifier,
        float(target.ball.norm),
        target.ball.eps,
        max_iter=SQUARE_QUERIES,
        batch_size=target.batch_size,
    )
    broken = ~target.under(attack).accuracy.correct
    return _compared(target, broken, gradient, f"Square with {SQUARE_QUERIES} queries", Flag.BLACK_BOX_STRONGER)


def noise(target: Target, gradient: Correct) -> Check:
    """Random noise is not worse than the attacks: of ten draws from the ball hardly any breaks what gradients do not.

    In l_inf the draws are corners of the ball, otherwise points of it.

    :param target: Classifier, samples and threat model.
    :param gradient: Whether each sample stays correct under all attacks with gradients.
    """
    generator = torch.Generator().manual_seed(target.random_state)
    x = torch.from_numpy(target.x)
    broken = np.zeros(len(x), dtype=bool)
    for _ in range(NOISE_DRAWS):
        moved = target.ball.random_start(x, generator)
        if target.ball.norm == math.inf:
            moved = target.ball.project(x + target.ball.eps * torch.sign(moved - x), x)
        broken |= ~target.correct(moved.numpy())
    return _compared(target, broken, gradient, f"the worst of {NOISE_DRAWS} random draws", Flag.NOISE_STRONGER)


def _compared(target: Target, broken: Correct, gradient: Correct, name: str, flag: Flag) -> Check:
    """Passed if what is broken alone is not more than a hundredth of the samples, beyond noise (a test at LEVEL)."""
    lone = np.flatnonzero(broken & gradient)
    alone, n = len(lone), len(broken)
    finding = (
        f"of {n} samples {name} breaks {int(broken.sum())}, the attacks with gradients {int((~gradient).sum())}; "
        f"{alone} are broken without gradients only"
    )
    passed = alone == 0 or binomtest(alone, n, MISSED, alternative="greater").pvalue >= LEVEL
    return Check(bool(passed), finding, flag, tuple(int(index) * target.step for index in lone))


def _percent(accuracy: Accuracy) -> str:
    low, high = accuracy.confidence_interval
    return f"{accuracy.value:.1%} [{low:.1%}, {high:.1%}] of {accuracy.nb_samples} samples right"
