"""What the label-free attack finds; how it behaves as an ART attack is in test_tensor_attack."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import WorstCaseMIAttack, WorstCaseMIEstimator
from art_mi.attacks.information import critic_information, noisy_information
from art_mi.bounds import BOUNDS, donsker_varadhan, jensen_shannon
from art_mi.channels import read_channel
from art_mi.critics import Critic, SeparableCritic, separable_critic
from art_mi.distributions import two_point_gaussian_information
from art_mi.estimation import fit_critic, split_samples

DUAL = {math.inf: 1.0, 2: 2.0, 1: math.inf}
DISTANCE = 1.5


class Score(nn.Module):
    """Two logits +-s of a linear map s, named `score`."""

    def __init__(self, weight: NDArray[np.float64]) -> None:
        super().__init__()
        self.score = nn.Linear(len(weight), 1, bias=False)
        self.score.weight.data.copy_(torch.from_numpy(weight[None]))

    def forward(self, x: Tensor) -> Tensor:
        s: Tensor = self.score(x)
        return torch.cat([s, -s], 1)


def classifier(model: nn.Module, dim: int, **options: Any) -> PyTorchClassifier:
    options = {"nb_classes": 2, "clip_values": None, "device_type": "cpu", **options}
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (dim,), **options)


def two_points(n: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Normal inputs whose product with a unit vector w is +-1.5."""
    generator = np.random.default_rng(0)
    w = generator.normal(size=dim)
    w /= np.linalg.norm(w)
    x = generator.normal(size=(n, dim))
    sign = np.tile([-1.0, 1.0], n // 2)
    return (x - np.outer(x @ w, w) + np.outer(DISTANCE * sign, w)).astype(np.float32), w


def attack(art: PyTorchClassifier, **options: Any) -> WorstCaseMIAttack:
    return WorstCaseMIAttack(art, **{"random_state": 0, "verbose": False, **options})


def read(x: NDArray[np.float32], w: NDArray[np.float64], sigma: float = 1.0) -> float:
    """Information of w.x behind fresh noise of standard deviation `sigma`."""
    z = torch.from_numpy(x @ w)[:, None]
    return read_channel(z, sigma, generator=torch.Generator().manual_seed(1)).lower


# --- without a critic ---


@pytest.mark.parametrize(("norm", "eps"), [(math.inf, 0.1), (math.inf, 0.2), (2, 0.6), (1, 1.0), (2, 2.5)])
@pytest.mark.parametrize("options", [{"noise_std": 1 / DISTANCE}, {"sigma": 1.0, "noise_std": 9.0}])
def test_a_noisy_two_point_channel_reaches_its_exact_worst_case(
    norm: float, eps: float, options: dict[str, Any]
) -> None:
    x, w = two_points(800, 20)
    left = max(0.0, DISTANCE - eps * float(np.linalg.norm(w, DUAL[norm])))
    x_adv = attack(classifier(Score(w), 20), layer="score", norm=norm, eps=eps, batch_size=800, **options).generate(x)
    assert read(x, w) == pytest.approx(two_point_gaussian_information(DISTANCE), abs=0.015)
    assert read(x_adv, w) == pytest.approx(two_point_gaussian_information(left), abs=0.015)


@pytest.mark.parametrize("options", [{"batch_size": 128}, {"batch_size": 50}, {"num_random_init": 2}])
def test_batches_and_random_starts_reach_it_too(options: dict[str, Any]) -> None:
    x, w = two_points(800, 20)
    truth = two_point_gaussian_information(DISTANCE - 0.2 * float(np.abs(w).sum()))
    x_adv = attack(classifier(Score(w), 20), layer="score", sigma=1.0, eps=0.2, **options).generate(x)
    assert read(x_adv, w) == pytest.approx(truth, abs=0.015)


def test_information_falls_and_never_rises_with_the_radius() -> None:
    x, w = two_points(400, 5)
    found = attack(classifier(Score(w), 5), layer="score", norm=2, sigma=1.0, batch_size=400)
    values = []
    for eps in (0.0, 0.2, 0.5, 1.0, 1.6):
        found.set_params(eps=eps, random_state=0)
        values.append(read(found.generate(x), w))
    assert all(after <= before + 1e-3 for before, after in itertools.pairwise(values))
    assert values[0] == read(x, w) > values[1] + 0.05
    assert values[-1] < 0.01


def test_the_noise_level_is_that_of_the_clean_batch() -> None:
    x, w = two_points(100, 5)
    art = classifier(Score(w), 5)
    std = float(np.std(x @ w))
    relative, absolute = ({"noise_std": 0.7}, {"sigma": 0.7 * std})
    one, other = (attack(art, layer="score", max_iter=5, **options).generate(x) for options in (relative, absolute))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_it_finds_what_the_metric_finds() -> None:
    x, w = two_points(400, 5)
    art = classifier(Score(w), 5)
    metric = WorstCaseMIEstimator(0.3, layer="score", random_state=3, verbose=False).evaluate(art, x)
    sigma = metric.settings["noise_std_absolute"]
    x_adv = attack(art, layer="score", eps=0.3, sigma=sigma, batch_size=400).generate(x)
    assert read(x_adv, w, sigma) == pytest.approx(metric.worst_case.value, abs=0.01)


def test_samples_of_a_batch_move_together() -> None:
    """Two clusters close in on each other; a cluster of its own has no reason to move."""
    art = classifier(Score(np.ones(1)), 1)
    x = np.repeat(np.array([[-1.0], [1.0]], np.float32), 20, axis=0)
    together, apart = (attack(art, eps=0.5, sigma=2.0, batch_size=size).generate(x) for size in (40, 20))
    np.testing.assert_allclose(together, 0.5 * x, rtol=0, atol=1e-3)
    np.testing.assert_allclose(apart, x, rtol=0, atol=0.1)


def test_the_noisy_objective_is_minus_the_upper_bound() -> None:
    """For two samples u apart in noise units that is u^2 / 2 in expectation, and exactly so antithetically."""
    generator = torch.Generator().manual_seed(0)
    objective = noisy_information(lambda x: 3 * x, 2.0, generator)
    x = torch.tensor([[0.1], [1.3]], dtype=torch.float64)
    assert objective(x).item() == pytest.approx(-((3 * 1.2 / 2) ** 2) / 2)


# --- under a critic ---


class Plain(nn.Module):
    """A critic that does not know its sides."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        out: Tensor = self.critic(x, z)
        return out


@pytest.fixture(scope="module")
def fitted() -> Critic:
    """A critic fitted to x and w.x + noise."""
    x, w = (torch.from_numpy(part) for part in two_points(600, 4))
    generator = torch.Generator().manual_seed(0)
    z = (x.double() @ w)[:, None].float()
    z = z + 0.5 * torch.randn(z.shape, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        critic = separable_critic(4, 1, width=32, dim=8)
    fit_critic(critic, x, z, split_samples(x, random_state=0), max_steps=200)
    return critic


@pytest.mark.parametrize("bound", [*BOUNDS, "jensen_shannon"])
@pytest.mark.parametrize("detach_input", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_the_bound_of_a_given_critic_falls(fitted: Critic, bound: str, detach_input: bool, plain: bool) -> None:
    x, w = two_points(200, 4)
    art = classifier(Score(w), 4)
    critic: nn.Module = Plain(fitted) if plain else fitted
    value = {**BOUNDS, "jensen_shannon": jensen_shannon}[bound]

    def bound_of(x_adv: NDArray[np.float32]) -> float:
        z = torch.from_numpy(x_adv @ w).float()[:, None]
        with torch.no_grad():
            return float(value(critic(torch.from_numpy(x if detach_input else x_adv), z)))

    options: dict[str, Any] = {"layer": "score", "critic": critic, "bound": bound, "detach_input": detach_input}
    found = attack(art, batch_size=200, **options)
    values = []
    for eps in (0.0, 0.1, 0.3, 1.0):
        found.set_params(eps=eps)
        values.append(bound_of(found.generate(x)))
    assert all(after < before for before, after in itertools.pairwise(values))
    assert values[-1] < values[0] - 0.05


def smooth() -> tuple[PyTorchClassifier, Critic]:
    """A classifier and a critic of float64 without kinks, whose finite differences can be trusted."""
    generator = torch.Generator().manual_seed(0)
    model, x_side, z_side = (
        nn.Sequential(nn.Linear(dim_in, 6), nn.Tanh(), nn.Linear(6, dim_out)).double()
        for dim_in, dim_out in ((4, 2), (4, 5), (2, 5))
    )
    critic = SeparableCritic(x_side, z_side)
    with torch.no_grad():
        for parameter in (*model.parameters(), *critic.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return classifier(model, 4), critic


def finite_differences(function: Any, x: Tensor, step: float = 1e-5) -> Tensor:
    slopes = torch.empty_like(x)
    for index in itertools.product(*map(range, x.shape)):
        nudge = torch.zeros_like(x)
        nudge[index] = step
        slopes[index] = (function(x + nudge) - function(x - nudge)) / (2 * step)
    return slopes


@pytest.mark.parametrize("detach_input", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_a_step_follows_the_finite_differences_of_the_whole_or_the_half_objective(
    detach_input: bool, plain: bool
) -> None:
    art, critic = smooth()
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def information(x_adv: Tensor) -> Tensor:
        with torch.no_grad():
            return donsker_varadhan(critic(x if detach_input else x_adv, art.model(x_adv)))

    slopes = finite_differences(information, x)
    used = Plain(critic) if plain else critic
    at = x.clone().requires_grad_()
    objective = critic_information(art.model, used, x, detach_input=detach_input)
    (grad,) = torch.autograd.grad(objective(at), at)
    torch.testing.assert_close(grad, -slopes, rtol=1e-5, atol=1e-8)
    options: dict[str, Any] = {"norm": 2, "eps": 1.0, "eps_step": 0.1, "max_iter": 1}
    moved = attack(art, critic=used, detach_input=detach_input, **options).perturb(x) - x
    torch.testing.assert_close(moved, -0.1 * slopes / slopes.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-8)


def test_of_several_random_starts_a_batch_keeps_the_one_that_leaves_least() -> None:
    art, critic = smooth()
    x = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def left(x_adv: Tensor) -> float:
        with torch.no_grad():
            return float(donsker_varadhan(critic(x_adv, art.model(x_adv))))

    one, four = (attack(art, critic=critic, eps=2.0, max_iter=2, num_random_init=n) for n in (1, 4))
    runs = [left(one.perturb(x)) for _ in range(4)]
    assert left(four.perturb(x)) == min(runs) < max(runs)
