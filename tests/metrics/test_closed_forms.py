"""Worst cases that are known exactly, found by the whole metric from an ART classifier."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import Flag, WorstCaseMIEstimator, estimate_mutual_information
from art_mi.distributions import (
    binary_entropy,
    empirical_sign_worst_case,
    linear_sign_worst_case,
    two_point_gaussian_information,
    two_point_uniform_information,
)


class Score(nn.Module):
    """Two logits +-s of a linear map s, named `score`, plus noise where wanted."""

    def __init__(self, weight, bias=0.0, noise=None):
        super().__init__()
        weight = torch.as_tensor(np.atleast_2d(weight), dtype=torch.float32)
        self.score = nn.Linear(weight.shape[1], weight.shape[0])
        self.score.weight.data.copy_(weight)
        self.score.bias.data.fill_(bias)
        self.channel = nn.Identity()
        self.noise = noise

    def forward(self, x):
        z = self.score(x)
        z = self.channel(z if self.noise is None else z + self.noise(z.shape))
        return torch.cat([z[:, :1], -z[:, :1]], dim=1)


def classifier_of(model, dim, clip_values=None):
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (dim,), 2, clip_values=clip_values, preprocessing=None, device_type="cpu"
    )


def measure(classifier, x, eps, **settings):
    return WorstCaseMIEstimator(eps, verbose=False, **settings).evaluate(classifier, x)


def gaussian_mixture(n, dim, seed=0):
    generator = np.random.default_rng(seed)
    y = generator.choice([-1.0, 1.0], n)
    w = generator.normal(size=dim)
    w /= np.linalg.norm(w)
    theta = generator.normal(size=dim) / math.sqrt(dim)
    return (y[:, None] * theta + generator.normal(size=(n, dim))).astype(np.float32), w, theta


def dual_norm(w, norm):
    return np.linalg.norm(w, {math.inf: 1, 2: 2, 1: math.inf}[norm])


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_linear_sign_codes_reach_the_exact_worst_case_of_the_sample_and_the_closed_form(norm, bias):
    x, w, theta = gaussian_mixture(4000, 6)
    eps = 0.3 if norm != math.inf else 0.1
    reach = eps * dual_norm(w, norm)
    result = measure(
        classifier_of(Score(w, bias), 6), x, eps, norm=norm, method="quantised", codes="sign", layer="score"
    )
    exact = empirical_sign_worst_case(x.astype(float) @ w + bias, reach)
    truth = linear_sign_worst_case(float(w @ theta), 1.0, float(reach), bias=bias)
    assert result.worst_case.value == pytest.approx(exact, abs=1e-3)
    assert result.vulnerability.value == pytest.approx(truth.vulnerability, abs=0.01)
    assert result.worst_case.value >= exact - 1e-6, "less than the exact worst case: the ball is violated"


@pytest.mark.parametrize("norm", [math.inf, 1])
def test_a_box_takes_reach_from_samples_near_its_faces(norm):
    generator = np.random.default_rng(1)
    x = generator.uniform(0, 1, (2000, 5)).astype(np.float32)
    w = np.array([0.7, -0.4, 0.3, 0.45, -0.2])
    bias = -float((x @ w).mean())
    eps = 0.15 if norm == math.inf else 0.6
    up = np.where(w > 0, 1 - x, x)  # room in the direction that raises the score
    down = np.where(w > 0, x, 1 - x)

    def reach(room):
        if norm == math.inf:
            return np.abs(w) @ np.minimum(eps, room).T
        order = np.argsort(-np.abs(w))  # the largest weights first, each up to its room: a fractional knapsack
        left, total = np.full(len(room), eps), np.zeros(len(room))
        for j in order:
            step = np.minimum(left, room[:, j])
            total += step * abs(w[j])
            left = left - step
        return total

    score = x.astype(float) @ w + bias
    n = len(x)
    low, high = ((score - reach(down) >= 0).sum() / n, (score + reach(up) >= 0).sum() / n)
    truth = min(binary_entropy(low), binary_entropy(high))
    result = measure(
        classifier_of(Score(w, bias), 5, (0.0, 1.0)),
        x,
        eps,
        norm=norm,
        method="quantised",
        codes="sign",
        layer="score",
        max_iter=100,
    )
    assert result.worst_case.value == pytest.approx(truth, abs=0.01 if norm == 1 else 1e-3)
    assert result.worst_case.value >= truth - 1e-6


def hypercube(dim, delta=0.5):
    points = np.array(list(itertools.product([-delta, delta], repeat=dim)), dtype=np.float32)
    return np.tile(points, (-(-128 // len(points)), 1))


@pytest.mark.parametrize(
    ("dim", "flips", "truth"),
    [(3, 1, math.log(2)), (5, 2, math.log(2)), (7, 1, 4 * math.log(2)), (7, 3, math.log(2))],
)
def test_hypercube_codes_fall_to_the_perfect_code_and_not_below(dim, flips, truth):
    x = hypercube(dim)
    classifier = classifier_of(Score(np.eye(dim)), dim)
    settings = {"norm": 2, "method": "quantised", "codes": "sign", "layer": "score"}
    just_enough = measure(classifier, x, 1.01 * math.sqrt(flips) * 0.5, **settings)
    assert just_enough.worst_case.value == pytest.approx(truth, abs=1e-9)
    assert just_enough.worst_case.lower == pytest.approx(truth, abs=1e-9)
    too_little = measure(classifier, x, 0.99 * 0.5, **settings)
    assert too_little.vulnerability.value == 0.0


def test_an_infinity_ball_flips_every_bit_of_the_hypercube_or_none():
    x, classifier = hypercube(4), classifier_of(Score(np.eye(4)), 4)
    settings = {"method": "quantised", "codes": "sign", "layer": "score"}
    assert measure(classifier, x, 0.499, **settings).vulnerability.value == 0.0
    assert measure(classifier, x, 0.505, **settings).worst_case.value == pytest.approx(0.0, abs=1e-12)


def test_floor_codes_reach_the_enumerated_worst_case():
    x = np.random.default_rng(0).uniform(0, 3, (4000, 1)).astype(np.float32)
    result = measure(
        classifier_of(Score([[1.0]]), 1), x, 0.25, method="quantised", codes=lambda z: z.floor().long(), layer="score"
    )
    assert result.worst_case.value == pytest.approx(1.02818, abs=0.02)


def two_points(n, dim, mu=1.5, seed=0):
    generator = np.random.default_rng(seed)
    w = generator.normal(size=dim)
    w /= np.linalg.norm(w)
    x = generator.normal(size=(n, dim))
    sign = np.tile([-1.0, 1.0], n // 2)
    return (x - np.outer(x @ w, w) + np.outer(mu * sign, w)).astype(np.float32), w


@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.1), (math.inf, 0.2), (2, 0.6), (1, 1.0), (2, 2.5)])
def test_noisy_two_point_gaussian_channel_reaches_its_exact_worst_case(norm, eps):
    x, w = two_points(800, 20)
    left = max(0.0, 1.5 - eps * dual_norm(w, norm))
    result = measure(classifier_of(Score(w), 20), x, eps, norm=norm, noise_std=1 / 1.5, layer="score")
    assert result.normal.value == pytest.approx(two_point_gaussian_information(1.5), abs=0.015)
    assert result.worst_case.value == pytest.approx(two_point_gaussian_information(left), abs=0.015)
    assert result.worst_case.lower <= result.worst_case.upper


@pytest.mark.parametrize(("m", "eps"), [(0.6, 0.25), (0.6, 0.6), (1.5, 0.25)])
def test_noisy_two_point_uniform_channel_reaches_its_exact_worst_case(m, eps):
    x, w = two_points(800, 6, mu=m)
    level = 1 / math.sqrt(3) / m  # U(-1, 1)
    result = measure(classifier_of(Score(w), 6), x, eps, norm=2, noise="uniform", noise_std=level, layer="score")
    assert result.normal.value == pytest.approx(two_point_uniform_information(m, 1.0), abs=0.03)
    assert result.worst_case.value == pytest.approx(two_point_uniform_information(max(0.0, m - eps), 1.0), abs=0.03)


@pytest.mark.parametrize("channel", ["gaussian", "uniform"])
def test_critic_reaches_the_exact_worst_case_of_a_noisy_two_point_channel(channel):
    generator = torch.Generator().manual_seed(0)
    m, eps, dim = (1.5, 0.5, 4) if channel == "gaussian" else (0.6, 0.25, 4)
    if channel == "gaussian":
        truth, clean = two_point_gaussian_information(m - eps), two_point_gaussian_information(m)
    else:
        truth, clean = two_point_uniform_information(m - eps, 1.0), two_point_uniform_information(m, 1.0)

    def noise(shape):
        if channel == "gaussian":
            return torch.randn(shape, generator=generator)
        return 2 * torch.rand(shape, generator=generator) - 1

    x, w = two_points(5000, dim, mu=m)
    result = measure(
        classifier_of(Score(w, noise=noise), dim), x, eps, norm=2, method="critic", layer="channel", max_iter=20
    )
    assert result.normal.value == pytest.approx(clean, abs=0.05)
    assert result.worst_case.value == pytest.approx(truth, abs=0.05)


def test_information_never_rises_with_the_radius():
    x, w = two_points(400, 5)
    values = [
        measure(classifier_of(Score(w), 5), x, eps, norm=2, noise_std=0.7, layer="score").worst_case.value
        for eps in (0.0, 0.2, 0.5, 1.0, 1.6)
    ]
    assert all(after <= before + 1e-3 for before, after in itertools.pairwise(values))


def test_a_sign_in_the_network_is_called_blind_not_robust():
    class Hidden(Score):
        def forward(self, x):
            z = self.score(x).sign()
            return torch.cat([z, -z], dim=1)

    x, w, _ = gaussian_mixture(400, 6)
    result = measure(classifier_of(Hidden(w), 6), x, 0.1, method="quantised", codes="sign")
    assert result.vulnerability.value == 0.0
    assert Flag.ZERO_GRADIENT in result.flags


def test_linear_maps_of_mixture_obey_the_corrected_theorem_3_2():
    from art_mi.distributions import theorem_3_2_bounds

    x, w, theta = gaussian_mixture(4000, 6, seed=3)
    if w @ theta < 0:
        w = -w
    reach = 0.1 * dual_norm(w, math.inf)
    truth = linear_sign_worst_case(float(w @ theta), 1.0, float(reach))
    low, high = theorem_3_2_bounds(truth.adversarial_gap)
    result = measure(classifier_of(Score(w), 6), x, 0.1, method="quantised", codes="sign", layer="score")
    assert low - 1e-9 <= truth.vulnerability <= high + 1e-9
    assert low - 0.01 <= result.vulnerability.value <= high + 0.01


def test_a_universal_shift_leaves_the_information_unchanged():
    """The worst case over one perturbation for all samples is the clean case: I(X + d; W (X + d)) = I(X; W X)."""
    x, w, _ = gaussian_mixture(1200, 5)
    shift = 0.5 * np.sign(w).astype(np.float32)
    classifier = classifier_of(Score(w), 5)
    noisy = [measure(classifier, inputs, 0, layer="score").normal for inputs in (x, x + shift)]
    assert noisy[1].value == pytest.approx(noisy[0].value, abs=1e-4)
    assert noisy[1].upper == pytest.approx(noisy[0].upper, abs=1e-4)
    z = x @ w + 0.5 * np.random.default_rng(0).normal(size=len(x))
    read = [
        estimate_mutual_information(x + move, z + float(move @ w), max_steps=50).value
        for move in (np.zeros_like(shift), shift)
    ]
    assert read[1] == pytest.approx(read[0], abs=0.05)  # float32 inputs round anew, and fitting amplifies it


@pytest.mark.parametrize("noise_std", [0.5, 1.0])
def test_a_function_of_the_representation_knows_no_more(noise_std):
    """Data processing: the first logit, behind the same absolute noise, says no more than both."""
    x, w, _ = gaussian_mixture(800, 5)
    other = np.roll(w, 2)
    both = measure(classifier_of(Score(np.stack([w, other])), 5), x, 0.2, layer="score", noise_std=noise_std)
    sigma = both.settings["noise_std_absolute"]
    scale = float(np.std(x @ w))
    one = measure(classifier_of(Score(w), 5), x, 0.2, layer="score", noise_std=sigma / scale)
    assert one.normal.lower <= both.normal.upper
    assert one.normal.value < both.normal.value
