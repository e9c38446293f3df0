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
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from art_mi.evaluation.accuracy import undisturbed
from art_mi.evaluation.attacks import no_square, pgd, square
from art_mi.evaluation.target import Target
from art_mi.gradients import differing
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
    checks: dict[str, Callable[[], Check]] = {
        "same answer": lambda: same_answer(few),
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
    """The classifier answers the same inputs alike in two calls: all but a hundredth of them.

    An attack on one that draws at random follows single draws, and any accuracy is that of single draws.

    :param target: Classifier and samples.
    """
    with undisturbed(target.classifier, target.random_state):
        first, second = (
            torch.from_numpy(target.classifier.predict(target.x, batch_size=target.batch_size)) for _ in range(2)
        )
    changed, n = int(differing(first, second).sum()), len(first)
    return Check(
        changed <= MISSED * n, f"of {n} samples {changed} have other logits in a second call", Flag.RANDOM_OUTPUT
    )


def large_ball(target: Target) -> Check:
    """Accuracy falls to about chance where the ball reaches every image.

    PGD with 50 steps of a quarter of the radius, from the inputs themselves: from random ones, which most classifiers
    get wrong anyway, it would pass without any gradient. Chance is the share of the most frequent label, and at least
    that of one class in `nb_classes`; the check passes if the lower end of the 95 % interval is not above it.

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
    return Check(passed, finding, Flag.ABOVE_CHANCE)


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
