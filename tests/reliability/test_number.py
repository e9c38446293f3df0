"""The number: what intervals cover, what masked gradients are called, and where the answer is 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from scipy.stats import binom, norm
from torch import Tensor, nn

from art_mi import Flag, WorstCaseMIEstimator, estimate_mutual_information, evaluate_robustness
from art_mi.distributions import (
    binary_entropy,
    linear_sign_worst_case,
    problems,
    two_point_gaussian_information,
    vulnerability_problems,
)
from art_mi.estimation import split_samples
from art_mi.intervals import percentile_interval

AREA = "The number"
Interval = tuple[float, float]
Held = list[tuple[str, Interval, float]]  # what, interval and truth of one repetition


def linear(weight: Any, bias: float = 0.0) -> PyTorchClassifier:
    """A classifier whose output is W x + b."""
    rows = torch.as_tensor(np.atleast_2d(weight), dtype=torch.float32)
    layer = nn.Linear(rows.shape[1], len(rows))
    layer.weight.data.copy_(rows)
    layer.bias.data.fill_(bias)
    return PyTorchClassifier(layer, nn.CrossEntropyLoss(), (rows.shape[1],), max(2, len(rows)), device_type="cpu")


def measured(classifier: PyTorchClassifier, x: Any, eps: float = 0.0, **settings: Any) -> Any:
    return WorstCaseMIEstimator(eps, verbose=False, **settings).evaluate(classifier, np.asarray(x, dtype=np.float32))


# --- truths ---


@pytest.mark.parametrize("seeds", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_known_vulnerabilities_are_found(seeds: int, tally: Any) -> None:
    """Readings of 1,000 samples lie within four of their own standard errors of the truth, and 0.01 nats.

    The hundredth is for what is no sampling: counted codes read low, a weak attack leaves too much, and one that suits
    these samples leaves less than there is in their distribution.
    """
    errors, off = {}, {}
    for problem in vulnerability_problems():
        settings = {**problem.settings, "max_iter": 20}
        for seed in range(seeds if len(problem.weight) < 7 or seeds > 1 else 0):  # 128 codes take long
            x = problem.sample(1000, seed)
            found = measured(linear(problem.weight, problem.bias), x, **settings, random_state=seed)
            readings = {"normal": (found.normal, problem.normal), "worst case": (found.worst_case, problem.worst_case)}
            for which, (reading, truth) in readings.items():
                name = problem.name, seed, which
                errors[name] = reading.value - truth
                if abs(errors[name]) > 4 * reading.replicates.std() + 0.01:
                    off[name] = errors[name]
    assert off == {}
    mean = np.abs(list(errors.values())).mean()
    assert mean < 0.02
    outcome = f"mean absolute error {mean:.4f} nats, largest {max(map(abs, errors.values())):.3f}"
    tally(AREA, "readings of known normal and worst-case information", len(errors), outcome)


@pytest.mark.slow
def test_known_information_is_estimated_and_not_exceeded(tally: Any) -> None:
    errors, above = [], {}
    for problem in problems():
        for seed in range(2):
            found = estimate_mutual_information(*problem.sample(2000, seed), random_state=seed, max_steps=60)
            errors.append(found.value - problem.mi)
            if found.confidence_interval[0] - problem.mi > 0.05:
                above[problem.name, seed] = found.confidence_interval
    assert above == {}, "a lower bound lies above the truth, and its interval with it"
    assert np.abs(errors).mean() < 0.1
    tally(AREA, "estimates of known information", len(errors), f"mean absolute error {np.abs(errors).mean():.3f} nats")


# --- intervals ---


def of_accuracy(seed: int) -> Held:
    """A linear classifier of two Gaussians, against which one step of FGSM is the best attack."""
    random = np.random.default_rng(seed)
    y, w = random.integers(0, 2, 150), np.array([0.6, 0.8])
    x = ((1 - 2 * y)[:, None] * w + random.normal(size=(150, 2))).astype(np.float32)
    found = evaluate_robustness(
        linear([w, -w]), x, y, eps=0.2, attacks=["FGSM"], checks=False, verbose=False, random_state=seed
    )
    clean, robust = norm.cdf(1.0), norm.cdf(1.0 - 0.2 * 1.4)
    return [
        ("clean accuracy", found.clean.confidence_interval, clean),
        ("accuracy in the worst case", found.worst_case.confidence_interval, robust),
        ("adversarial gap", found.gap_interval, clean - robust),
    ]


def of_a_gaussian_channel(seed: int) -> Held:
    """The truth is that of the noise that was used, as the result says it."""
    x = np.random.default_rng(seed).normal(size=(300, 2))
    found = measured(linear([0.6, 0.8]), x, random_state=seed)
    truth = 0.5 * math.log1p(1 / found.settings["noise_std_absolute"] ** 2)
    return [("normal, noisy", found.normal.confidence_interval, truth)]


def of_two_points(seed: int) -> Held:
    """Points on two planes, not equally many on each: 1,000 so that sampling outweighs the distance of the bounds."""
    random = np.random.default_rng(seed)
    sign = random.choice([-1.0, 1.0], 1000)
    x = np.stack([sign, *random.normal(size=(2, 1000))], axis=1)
    found = measured(linear([1.0, 0.0, 0.0]), x, 0.3, norm=2, noise_std=1 / sign.std(), max_iter=10, random_state=seed)
    normal, worst = two_point_gaussian_information(1.0), two_point_gaussian_information(0.7)
    return [
        ("normal, noisy, two points", found.normal.confidence_interval, normal),
        ("worst case, noisy, two points", found.worst_case.confidence_interval, worst),
        ("vulnerability, noisy, two points", found.vulnerability.confidence_interval, normal - worst),
    ]


def of_many_codes(seed: int) -> Held:
    """Forty codes of unequal frequency, of which counting 500 samples misses a twenty-fifth of a nat."""
    p = np.arange(5, 45) / np.arange(5, 45).sum()
    x = np.random.default_rng(seed).choice(len(p), (500, 1), p=p)
    found = measured(linear(1.0), x, method="quantised", codes=lambda z: z.round().long(), random_state=seed)
    return [("normal, 40 codes", found.normal.confidence_interval, float(-(p * np.log(p)).sum()))]


def of_sign_bits(seed: int) -> Held:
    means = np.array([0.2, 0.4, 0.6, 0.8])
    x = np.random.default_rng(seed).normal(size=(400, 4)) + means
    found = measured(linear(np.eye(4)), x, method="quantised", codes="sign", random_state=seed)
    truth = sum(binary_entropy(float(norm.cdf(mean))) for mean in means)
    return [("normal, four sign bits", found.normal.confidence_interval, truth)]


def of_the_sign_of_a_score(seed: int) -> Held:
    random = np.random.default_rng(seed)
    w = np.array([0.6, 0.8])
    x = random.choice([-1.0, 1.0], 400)[:, None] * w + random.normal(size=(400, 2))
    found = measured(linear(w, 0.4), x, 0.3, norm=2, method="quantised", codes="sign", max_iter=10, random_state=seed)
    truth = linear_sign_worst_case(1.0, 1.0, 0.3, bias=0.4)
    return [
        ("normal, sign", found.normal.confidence_interval, truth.normal),
        ("worst case, sign", found.worst_case.confidence_interval, truth.worst_case),
        ("vulnerability, sign", found.vulnerability.confidence_interval, truth.vulnerability),
    ]


def of_an_estimate(seed: int) -> Held:
    """Of Gaussian pairs the critic's start is the answer: without a step there is sampling and next to nothing else."""
    (problem,) = (problem for problem in problems() if problem.name == "bivariate 0.5")
    found = estimate_mutual_information(*problem.sample(1000, seed), max_steps=0, random_state=seed)
    return [("of Gaussian pairs, whose critic is exact and not trained", found.confidence_interval, problem.mi)]


COVERED: dict[Callable[[int], Held], tuple[int, int]] = {  # repetitions, a few and many
    of_accuracy: (200, 2000),
    of_a_gaussian_channel: (60, 300),
    of_two_points: (10, 200),
    of_many_codes: (200, 2000),
    of_sign_bits: (200, 2000),
    of_the_sign_of_a_score: (40, 300),
    of_an_estimate: (10, 200),
}


@pytest.mark.parametrize(
    ("repetition", "repeats"),
    [
        pytest.param(case, count, id=f"{case.__name__}-{count}", marks=[pytest.mark.slow] * (count == many))
        for case, (few, many) in COVERED.items()
        for count in (few, many)
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    repetition: Callable[[int], Held], repeats: int, tally: Any
) -> None:
    """Of many 90 to 98 %. Of few, no fewer than one set in a thousand would by chance.

    Intervals that hold 85 % pass 300 or more repetitions in less than one set of a hundred, and 200 in four; but 60 in
    59, 40 in 76 and 10 in 99: those only show that nothing is far off.
    """
    held: dict[str, int] = {}
    for seed in range(repeats):
        for what, (low, high), truth in repetition(seed):
            held[what] = held.get(what, 0) + (low <= truth <= high)
    if repeats == COVERED[repetition][1]:
        fewest, most = 0.9 * repeats, 0.98 * repeats
    else:
        fewest, most = binom.ppf(0.001, repeats, 0.95), repeats
    assert {what: count / repeats for what, count in held.items() if not fewest <= count <= most} == {}
    for what, count in held.items():
        tally(AREA, f"95 % intervals: {what}", repeats, f"{count / repeats:.1%} hold the truth")


@pytest.mark.parametrize("seeds", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_intervals_of_trained_critics_do_not_lie_above_the_truth(seeds: int, tally: Any) -> None:
    """They are intervals of the bound that was read: how many hold the information depends on what the critic misses.

    Asserted is what a lower bound owes: no more of them above than the 2.5 % of an exact critic, but for one set in a
    thousand by chance. One seed only shows that it runs.
    """
    (problem,) = (problem for problem in problems() if problem.name == "bivariate 0.5")
    above = below = 0
    for seed in range(seeds):
        low, high = estimate_mutual_information(*problem.sample(1000, seed), random_state=seed).confidence_interval
        above, below = above + (low > problem.mi), below + (high < problem.mi)
    assert above <= binom.ppf(0.999, seeds, 0.025)
    held = seeds - above - below
    outcome = f"{held / seeds:.0%} hold the information, {below / seeds:.0%} lie below it, {above / seeds:.0%} above"
    tally(AREA, "95 % intervals of the bound: of the same pairs, with critics trained by default", seeds, outcome)


# --- masked gradients ---

EPS = 0.03


class Base(nn.Module):
    """Logits +-m of a linear score m of images 6 x 6."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(36, generator=torch.Generator().manual_seed(0)))
        self.bias = -0.5 * float(self.weight.detach().sum())

    def score(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias

    def forward(self, x: Tensor) -> Tensor:
        m = self.masked(x)
        return torch.stack([m, -m], 1)

    def masked(self, x: Tensor) -> Tensor:
        return self.score(x)


def straight_through(value: Tensor, gradient: Tensor) -> Tensor:
    """A value with the gradient of another."""
    return value.detach() + gradient - gradient.detach()


MASKS: dict[str, tuple[Callable[[Base, Tensor], Tensor], Flag | None]] = {
    "sign activations": (lambda base, x: base.score(x).sign(), Flag.ZERO_GRADIENT),
    "saturated activations": (lambda base, x: 10 * torch.tanh(100 * base.score(x)), Flag.ZERO_GRADIENT),
    "logits times 10,000": (lambda base, x: 1e4 * base.score(x), None),  # masks the loss, not the representation
    "quantised inputs": (lambda base, x: base.score((x * 15).round() / 15), Flag.ZERO_GRADIENT),
    "dropout when predicting": (lambda base, x: base.score(0.5 + nn.functional.dropout(x - 0.5)), Flag.RANDOM_OUTPUT),
    "noise when predicting": (lambda base, x: base.score(x + 0.2 * torch.randn_like(x)), Flag.RANDOM_OUTPUT),
    "a detached layer": (lambda base, x: base.score(x.detach()) + 0 * base.score(x), Flag.ZERO_GRADIENT),
    "a detached layer beside another path": (
        lambda base, x: base.score(x.detach()) + 1e-3 * base.score(x.flip(1, 2)),
        Flag.MISLEADING_GRADIENT,
    ),
    "a gradient of the wrong sign": (lambda base, x: base.score(2 * x.detach() - x), Flag.MISLEADING_GRADIENT),
    "that on a fifth of the samples": (
        lambda base, x: torch.where(x[:, 0, 0, 0] < 0.38, base.score(2 * x.detach() - x), base.score(x)),
        Flag.MISLEADING_GRADIENT,
    ),
    "half of the pixels detached": (
        lambda base, x: base.score(torch.cat([x[:, :, :3].detach(), x[:, :, 3:]], 2)),
        Flag.MISLEADING_GRADIENT,
    ),
    "signs beside a faint path": (
        lambda base, x: base.score(x).sign() + 1e-3 * base.score(x.flip(1, 2)),
        Flag.MISLEADING_GRADIENT,
    ),
    "saturated activations beside a faint path": (
        lambda base, x: 10 * torch.tanh(100 * base.score(x)) + 1e-2 * base.score(x.flip(1, 2)),
        Flag.MISLEADING_GRADIENT,
    ),
    "signs with the gradient of the score's negative": (
        lambda base, x: straight_through(base.score(x).sign(), -base.score(x)),
        Flag.MISLEADING_GRADIENT,
    ),
    "signs with the gradient of another score": (
        lambda base, x: straight_through(base.score(x).sign(), base.score(x.flip(1, 2))),
        Flag.MISLEADING_GRADIENT,
    ),
    "saturated activations for one class": (
        lambda base, x: torch.where(base.score(x) > 0, 10 * torch.tanh(100 * base.score(x)), base.score(x)),
        Flag.ZERO_GRADIENT,
    ),
    "the same noise in every call": (
        lambda base, x: base.score(x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))),
        Flag.RANDOM_OUTPUT,
    ),
    "batch normalisation by the batch": (
        lambda base, x: base.score(0.5 + 0.1 * nn.functional.batch_norm(x, None, None, training=True)),
        Flag.RANDOM_OUTPUT,
    ),
}
FEW = ("sign activations", "logits times 10,000", "noise when predicting", "a gradient of the wrong sign")
TRAINED = [pytest.param(mask, "critic", marks=() if mask in FEW else pytest.mark.slow) for mask in MASKS]
MILD = {"that on a fifth of the samples", "batch normalisation by the batch"}  # attacks of whole batches break most


def images(mask: str | None, n: int = 100) -> tuple[PyTorchClassifier, Any, Any]:
    """A classifier behind a mask, images, and its unmasked predictions as labels but for every tenth."""
    model = Base()
    x = np.random.default_rng(0).uniform(0.3, 0.7, (n, 1, 6, 6)).astype(np.float32)
    y = (model.score(torch.from_numpy(x)).detach().numpy() < 0).astype(int)
    y[::10] = 1 - y[::10]
    if mask is not None:
        model.masked = lambda x: MASKS[mask][0](model, x)  # type: ignore[method-assign]
    art = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 6, 6), 2, clip_values=(0.0, 1.0), device_type="cpu")
    return art, x, y


@pytest.mark.parametrize("mask", MASKS)
def test_masked_gradients_are_not_called_robust_under_attack(mask: str, tally: Any) -> None:
    attacks = ("FGSM", "PGD-20", "PGD-50")
    found, bare = (evaluate_robustness(*images(m), eps=EPS, attacks=attacks, verbose=False) for m in (mask, None))
    assert bare.flags == ()
    left, left_of_bare = (result.worst_case.value / result.clean.value for result in (found, bare))
    assert mask in MILD or left > left_of_bare + 0.1, "this mask masks nothing"
    flag = MASKS[mask][1]
    assert ({Flag.BLACK_BOX_STRONGER, Flag.NOISE_STRONGER} if flag is None else {flag}) <= set(found.flags)
    assert (Flag.RANDOM_OUTPUT in found.flags) is (flag is Flag.RANDOM_OUTPUT)
    tally(AREA, "masked gradients, accuracy under attack", 1, "each raised its flag")


@pytest.mark.parametrize(("mask", "method"), [*product(MASKS, ("noisy", "quantised")), *TRAINED])
def test_masked_gradients_are_not_called_invulnerable(mask: str, method: str, tally: Any) -> None:
    n, few = (100, {}) if method != "critic" else (400, {"max_steps": 2, "attack_steps": 1})
    settings = {"method": method, "max_iter": 10 if method != "critic" else 2, **few}
    found, bare = (measured(*images(m, n)[:2], EPS, **settings) for m in (mask, None))
    doubts = {Flag.ZERO_GRADIENT, Flag.MISLEADING_GRADIENT, Flag.RANDOM_OUTPUT}
    assert not doubts & set(bare.flags)
    if (flag := MASKS[mask][1]) is not None:
        assert flag in found.flags
    else:
        assert found.worst_case.value == pytest.approx(bare.worst_case.value, abs=0.02 if method != "critic" else 0.1)
        assert not doubts & set(found.flags)
    tally(AREA, "masked gradients, vulnerability", 1, "each raised its flag, or read as without the mask")


# --- where the answer is 0 ---


@pytest.mark.parametrize("seeds", [4, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["independent 1x1", "independent 5x5"])
def test_independent_pairs_share_nothing(name: str, seeds: int, tally: Any) -> None:
    (problem,) = (problem for problem in problems() if problem.name == name)
    found = [
        estimate_mutual_information(*problem.sample(600, seed), max_steps=20, random_state=seed)
        for seed in range(seeds)
    ]
    held = sum(low <= 0 <= high for low, high in (estimate.confidence_interval for estimate in found))
    assert held >= binom.ppf(0.001, seeds, 0.95)
    assert max(estimate.value for estimate in found) < 0.05
    tally(AREA, "independent pairs", seeds, f"{held / seeds:.0%} of the intervals hold 0")


CRITIC_FREE = {
    "noisy": {},
    "quantised": {"codes": lambda z: z >= z.mean(0)},  # codes that an invertible map of z does not change
}


class Alike(nn.Module):
    """Lets through inputs at whole numbers, and of moves by less than a half their mean over all inputs."""

    def forward(self, x: Tensor) -> Tensor:
        whole = x.round()
        return whole + (x - whole).mean(0)


@pytest.mark.parametrize("method", CRITIC_FREE)
def test_moves_that_reach_all_inputs_alike_make_nothing_vulnerable(method: str, tally: Any) -> None:
    """A shift is a bijection; the same attack takes much where each move reaches its own input."""
    random = np.random.default_rng(0)
    own, x = linear(random.normal(size=(2, 4))), random.integers(-3, 4, (600, 4))
    alike = PyTorchClassifier(nn.Sequential(Alike(), own.model), nn.CrossEntropyLoss(), (4,), 2, device_type="cpu")
    settings = {"eps": 0.4, "method": method, "max_iter": 5, "batch_size": len(x), **CRITIC_FREE[method]}
    assert measured(own, x, **settings).vulnerability.confidence_interval[0] > 0.05
    assert measured(alike, x, **settings).vulnerability.value == pytest.approx(0.0, abs=1e-6)
    tally(AREA, "moves that shift all representations alike", 1, "vulnerability 0")


@pytest.mark.parametrize("method", CRITIC_FREE)
@pytest.mark.parametrize("shifts", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_shift_of_all_inputs_alike_changes_no_reading(method: str, shifts: int, tally: Any) -> None:
    random = np.random.default_rng(0)
    classifier, x = linear(random.normal(size=(2, 4))), random.normal(size=(1200, 4))
    before = measured(classifier, x, method=method, **CRITIC_FREE[method]).normal
    assert before.confidence_interval[0] > 0.3
    for _ in range(shifts):
        after = measured(classifier, x + random.normal(size=4), method=method, **CRITIC_FREE[method]).normal
        assert after.value == pytest.approx(before.value, abs=1e-4)
    tally(AREA, f"shifts of all inputs alike, {method}", shifts, "information unchanged")


@pytest.mark.parametrize("shifts", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_critics_read_the_same_on_shifted_inputs(shifts: int, tally: Any) -> None:
    """On one split, as equal rows are looked for in their order; critics standardise, and only rounding is left."""
    random = np.random.default_rng(0)
    w, x = random.normal(size=(4, 2)), random.normal(size=(1200, 4))
    z = x @ w + random.normal(size=(1200, 2))
    split = split_samples(x, random_state=0)
    before = estimate_mutual_information(x, z, split=split, max_steps=20)
    assert before.confidence_interval[0] > 0.3
    for _ in range(shifts):
        shift = random.normal(size=4)
        after = estimate_mutual_information(x + shift, z + shift @ w, split=split, max_steps=20)
        low, high = percentile_interval(after.replicates - before.replicates)
        assert low <= 0.0 <= high or abs(after.value - before.value) < 1e-3
        assert abs(after.value - before.value) < 0.02
    tally(AREA, "shifts of all inputs alike, critic", shifts, "information unchanged, over the same resamples")


@pytest.mark.parametrize("method", ["noisy", "quantised", "critic"])
def test_where_nothing_may_move_nothing_is_lost(method: str) -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    found = measured(linear(np.eye(3)), x, method=method, max_steps=2)
    assert found.vulnerability.value == 0.0
    assert found.vulnerability.confidence_interval == (0.0, 0.0)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("settings", [{}, {"noise_std": (0.5, 1.0)}, {"method": "quantised"}, {"method": "critic"}])
def test_a_constant_network_says_nothing(settings: dict[str, Any], labelled: bool, tally: Any) -> None:
    x, y = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32), np.arange(400) % 2
    estimator = WorstCaseMIEstimator(0.1, verbose=False, **settings)
    found = estimator.evaluate(linear(np.zeros((2, 3)), 1.0), x, y if labelled else None)
    for level in (found, *found.sweep):
        for estimate in (level.normal, level.worst_case, level.vulnerability):
            assert (estimate.value, estimate.confidence_interval) == (0.0, (0.0, 0.0))
        assert level.accuracy_ceiling == pytest.approx(0.5)
    assert len(found.sweep) == len(settings.get("noise_std", ()))
    assert Flag.ZERO_GRADIENT in found.flags
    assert "0.0000 nats" in str(found)
    tally(AREA, "constant networks", 1, "0 nats, and accuracy no better than chance")


class Rounded(nn.Module):
    """One value for all inputs, but for rounding."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scores, self.function = nn.Linear(3, 5), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.scores(x)).expand(-1, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z.softmax(1).sum(1, keepdim=True),
        lambda z: nn.functional.normalize(z).norm(dim=1, keepdim=True),
        lambda z: 1 + nn.functional.layer_norm(z, (5,)).mean(1, keepdim=True),
        lambda z: 1 + z[:, :1] - 0.3 * z[:, :1] - 0.7 * z[:, :1],
    ],
)
def test_a_network_that_is_constant_up_to_rounding_says_nothing(function: Any, tally: Any) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    classifier = PyTorchClassifier(Rounded(function), nn.CrossEntropyLoss(), (3,), 2, device_type="cpu")
    found = WorstCaseMIEstimator(0.1, verbose=False).evaluate(classifier, x)
    assert (found.normal.value, found.worst_case.value) == (0.0, 0.0)
    tally(AREA, "constant networks", 1, "0 nats, and accuracy no better than chance")
