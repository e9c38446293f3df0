"""What the sampler moves and where to; how it behaves as an ART attack is in test_tensor_attack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import LangevinMonteCarlo
from art_mi.losses import kl_divergence, log_error_probability

PGD: dict[str, Any] = {"temperature": 0, "potential": "cross_entropy", "verbose": False}


def network(nb_classes: int = 3, scale: float = 1.0) -> nn.Sequential:
    """A smooth network of fixed weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, nb_classes))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def classifier(model: nn.Module | None = None, shape: tuple[int, ...] = (2, 3), **options: Any) -> PyTorchClassifier:
    model = network() if model is None else model
    options = {"nb_classes": 3, "clip_values": (0.0, 1.0), "device_type": "cpu", **options}
    return PyTorchClassifier(model=model, loss=nn.CrossEntropyLoss(), input_shape=shape, **options)


def samples(n: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, 2, 3), dtype=np.float32)


def labels(n: int = 40, nb_classes: int = 3) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, nb_classes, n)


# --- without noise it is ART's projected gradient descent ---


def test_without_noise_the_batch_size_does_not_matter() -> None:
    options: dict[str, Any] = {"temperature": 0, "max_iter": 3, "verbose": False}
    art, x, y = classifier(), samples(), labels()
    whole, parts = (LangevinMonteCarlo(art, batch_size=size, **options).generate(x, y) for size in (128, 7))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "clip_values"), [(np.inf, (0.0, 1.0)), (np.inf, None), (2, None), ("inf", None)])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("potential", ["cross_entropy", "log_error"])
def test_cold_signed_steps_equal_projected_gradient_descent(
    norm: float | str, clip_values: Any, labelled: bool, potential: str
) -> None:
    art, x, y = classifier(clip_values=clip_values), samples(), labels() if labelled else None
    numbers: dict[str, Any] = {"norm": norm, "eps": 0.2, "eps_step": 0.07, "max_iter": 5, "verbose": False}
    expected = ProjectedGradientDescentPyTorch(art, **numbers).generate(x, y)
    found = LangevinMonteCarlo(art, **numbers, temperature=0, potential=potential).generate(x, y)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(expected - x).max() > 0.1


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_one_cold_step_equals_the_fast_gradient_method(norm: float, noise: str) -> None:
    art, x, y = classifier(clip_values=None), samples(), labels()
    expected = FastGradientMethod(art, norm=norm, eps=0.1).generate(x, y)
    found = LangevinMonteCarlo(art, norm=norm, eps=0.1, eps_step=0.1, max_iter=1, noise=noise, **PGD).generate(x, y)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("mask_shape", [(2, 3), (3,), (40, 2, 3), (40, 1, 1)])
def test_masked_cold_steps_equal_those_of_projected_gradient_descent(norm: float, mask_shape: tuple[int, ...]) -> None:
    art, x, y = classifier(clip_values=None), samples(), labels()
    mask = (np.random.default_rng(4).random(mask_shape) < 0.6).astype(np.float32)
    numbers: dict[str, Any] = {"norm": norm, "eps": 0.2, "eps_step": 0.07, "max_iter": 5, "batch_size": 16}
    expected = ProjectedGradientDescentPyTorch(art, **numbers, verbose=False).generate(
        x, y, mask=np.broadcast_to(mask, x.shape)
    )
    found = LangevinMonteCarlo(art, **numbers, **PGD).generate(x, y, mask=mask)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


# --- the potentials ---


@pytest.mark.parametrize("potential", ["log_error", "cross_entropy", "kl"])
@pytest.mark.parametrize("options", [{}, {"noise": "laplace"}, {"step": "gradient", "max_iter": 50}, {"norm": 2}])
def test_every_potential_rises(potential: str, options: dict[str, Any]) -> None:
    art, x, y = classifier(), torch.from_numpy(samples()), torch.from_numpy(labels())
    attack = LangevinMonteCarlo(art, potential=potential, random_state=0, verbose=False, **options)
    x_adv = attack.generate(x, y)
    with torch.no_grad():
        clean, moved = art.model(x), art.model(x_adv)
    if potential == "kl":
        assert kl_divergence(moved, clean).mean() > 0.01
    else:
        assert log_error_probability(moved, y).mean() > log_error_probability(clean, y).mean() + 0.1


def test_the_divergence_needs_no_labels_and_a_start_beside_the_input() -> None:
    art, x, y = classifier(), samples(), labels()
    attack = LangevinMonteCarlo(art, potential="kl", temperature=0, random_state=0, verbose=False)
    unlabelled = attack.generate(x)
    attack.set_params(random_state=0)
    np.testing.assert_array_equal(attack.generate(x, y), unlabelled)
    assert np.abs(unlabelled - x).mean() > 0.2
    attack.set_params(start_std=0, step="gradient", max_iter=1)
    np.testing.assert_allclose(attack.generate(x), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("gap", "others"), [(40, ["cross_entropy"]), (120, [])])
def test_saturated_networks_are_attacked(gap: float, others: list[str]) -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[gap / 2], [-gap / 2]]))  # logits differ by gap times the sum of x
        model.bias.zero_()
    art = classifier(model, (4,), nb_classes=2, clip_values=None)
    x = torch.full((20, 4), 0.25)
    x[10:] = -x[10:]
    y = torch.arange(20) // 10
    clean = art.model(x)
    assert (clean.gather(1, y[:, None])[:, 0] - clean.gather(1, 1 - y[:, None])[:, 0]).min() >= 0.999 * gap
    assert (clean.softmax(1).gather(1, y[:, None]) == 1).all()
    for potential in ("log_error", *others):
        attack = LangevinMonteCarlo(art, eps=0.3, eps_step=0.1, potential=potential, random_state=0, verbose=False)
        x_adv = attack.generate(x, y)
        assert (x_adv - x).abs().mean() > 0.29
        assert (art.model(x_adv).argmax(1) != y).all()
    if not others:  # the gradient of the cross-entropy is zero here
        assert np.array_equal(LangevinMonteCarlo(art, **PGD).generate(x.numpy(), y), x.numpy())


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
@pytest.mark.parametrize("options", [{}, {"noise": "laplace"}, {"step": "gradient"}])
def test_noise_hotter_than_any_number_leaves_masked_features_where_they_are(norm: float, options: Any) -> None:
    x, mask = samples(), np.array([1, 0, 1])
    attack = LangevinMonteCarlo(classifier(), norm=norm, temperature=1e300, eps_step=1e300, random_state=0, **options)
    attack.set_params(verbose=False)
    moved = attack.generate(x, labels(), mask=mask) - x
    assert (moved[..., 1] == 0).all()
    assert (moved[..., [0, 2]] != 0).any()
    assert np.isfinite(moved).all()


# --- the law ---


def logistic(slope: float) -> PyTorchClassifier:
    """On one input x the probability of class 1, the error of class 0, is logistic in slope x."""
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [slope]]))
        model.bias.zero_()
    return classifier(model, (1,), nb_classes=2, clip_values=None)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_unsigned_steps_on_an_interval_sample_the_loss_itself(temperature: float) -> None:
    """On [-1, 1] the density is that of exp(U / T) = l^(1/T), l = 1 - p_y, to 3 % in total variation."""
    slope, n, nb_bins = 3.0, 10000, 10
    law: dict[str, Any] = {"eps": 1.0, "step": "gradient", "temperature": temperature, "num_random_init": 1}
    steps: dict[str, Any] = {"eps_step": 5e-4 / temperature, "max_iter": 2000, "batch_size": n}
    attack = LangevinMonteCarlo(logistic(slope), **law, **steps, random_state=0, verbose=False)
    x_adv = attack.generate(np.zeros((n, 1), np.float32), np.zeros(n, np.int64))
    found = np.histogram(x_adv, bins=nb_bins, range=(-1, 1))[0] / n
    grid = (np.arange(100 * nb_bins) + 0.5) / (50 * nb_bins) - 1
    loss = 1 / (1 + np.exp(-slope * grid))
    expected = (loss ** (1 / temperature)).reshape(nb_bins, 100).sum(1)
    expected /= expected.sum()
    assert np.abs(found - expected).sum() / 2 < 0.03
    assert np.abs(1 / nb_bins - expected).sum() / 2 > 0.25  # which plain noise would be away from it


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_laplace_noise_turns_a_sign_as_often_as_its_tail_says(ratio: float) -> None:
    n, slope, eps_step = 20000, 2.0, 0.1
    gradient = slope / 2  # of log(1 - p_0) at x = 0
    temperature = (gradient / ratio) ** 2 / (2 * eps_step)
    attack = LangevinMonteCarlo(
        logistic(slope), eps_step=eps_step, max_iter=1, noise="laplace", temperature=temperature, random_state=0
    )
    moved = attack.generate(np.zeros((n, 1), np.float32), np.zeros(n, np.int64))
    np.testing.assert_allclose(np.abs(moved), eps_step, rtol=0, atol=1e-6)
    assert (moved < 0).mean() == pytest.approx(math.exp(-ratio) / 2, abs=0.01)


def test_noise_grows_as_the_root_of_step_and_temperature() -> None:
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    art, x = classifier(nn.Sequential(nn.Flatten(), model), clip_values=None), np.zeros((2000, 2, 3), np.float32)
    for step in ("sign", "gradient"):
        for eps_step, temperature in ((0.1, 5e-6), (0.01, 0.3)):
            sizes: dict[str, Any] = {"eps": 10, "eps_step": eps_step, "max_iter": 1, "temperature": temperature}
            attack = LangevinMonteCarlo(art, **sizes, step=step, random_state=0, verbose=False)
            moved = attack.generate(x, np.zeros(2000, np.int64))
            assert moved.std() == pytest.approx(math.sqrt(2 * eps_step * temperature), rel=0.03)
            assert abs(moved.mean()) < 0.05 * moved.std()


@pytest.mark.parametrize("norm", [2, 1])
def test_laplace_noise_spends_no_step_on_masked_features(norm: float) -> None:
    art, x, mask = classifier(clip_values=None), samples(), np.array([[0, 0, 1], [0, 0, 0]])
    options: dict[str, Any] = {**PGD, "norm": norm, "max_iter": 1, "temperature": 1e6, "noise": "laplace"}
    moved = LangevinMonteCarlo(art, **options, eps_step=0.1).generate(x, labels(), mask=mask) - x
    np.testing.assert_allclose(np.abs(moved[:, 0, 2]), 0.1, rtol=0, atol=1e-6)


# --- ball, box and restarts ---


class Rooted(nn.Module):
    """Its gradient at an input of 0 is 0 times infinity."""

    def forward(self, x: Tensor) -> Tensor:
        rooted = x * x.sqrt()
        return torch.stack([rooted.sum(1), -rooted.sum(1)], 1)


@pytest.mark.parametrize("options", [{"step": "gradient"}, {"step": "sign"}, {"norm": 2}, {"noise": "laplace"}])
def test_a_gradient_that_is_not_a_number_moves_nothing(options: dict[str, Any]) -> None:
    art, x = classifier(Rooted(), (3,), nb_classes=2), np.array([[0.0, 0.5, 0.2]], np.float32)
    moved = LangevinMonteCarlo(art, **{"max_iter": 1, **PGD, **options}).generate(x, np.array([0])) - x
    assert moved[0, 0] == 0
    assert (moved[0, 1:] < 0).all()


@given(
    norm=st.sampled_from([math.inf, 2, 1]),
    eps=st.sampled_from([0.0, 1e-6, 0.1, 5.0]),
    kind=st.sampled_from([("gaussian", "sign"), ("laplace", "sign"), ("gaussian", "gradient")]),
    temperature=st.sampled_from([0.0, 5e-6, 1.0, 1e6]),
    potential=st.sampled_from(["log_error", "cross_entropy", "kl"]),
    start_std=st.sampled_from([None, 0.0, 3.0]),
    nb_starts=st.integers(0, 2),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    box=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_perturbed_inputs_lie_in_ball_box_and_mask(
    norm: float,
    eps: float,
    kind: tuple[str, str],
    temperature: float,
    potential: str,
    start_std: float | None,
    nb_starts: int,
    scale: float,
    box: bool,
    masked: bool,
    seed: int,
) -> None:
    art = classifier(network(scale=scale), clip_values=(0.0, 1.0) if box else None)
    mask = np.array([[1, 0, 1], [0, 1, 1]]) if masked else None
    attack = LangevinMonteCarlo(
        art,
        norm=norm,
        eps=eps,
        max_iter=3,
        noise=kind[0],
        step=kind[1],
        temperature=temperature,
        potential=potential,
        start_std=start_std,
        num_random_init=nb_starts,
        batch_size=3,
        random_state=seed,
        verbose=False,
    )
    x = samples(5)
    moved = attack.generate(x, labels(5), mask=mask)
    assert np.isfinite(moved).all()
    assert (np.linalg.norm((moved - x).reshape(5, -1).astype(float), ord=norm, axis=1) <= eps * (1 + 1e-6)).all()
    if box:
        assert moved.min() >= 0
        assert moved.max() <= 1
    if mask is not None:
        assert np.array_equal(moved[:, mask == 0], x[:, mask == 0])


def test_of_several_random_starts_each_sample_keeps_the_one_of_highest_potential() -> None:
    art, x, y = classifier(), torch.from_numpy(samples()), torch.from_numpy(labels())

    def potential(x: Tensor) -> Tensor:
        with torch.no_grad():
            return log_error_probability(art.model(x), y)

    def attack(nb_starts: int) -> LangevinMonteCarlo:
        return LangevinMonteCarlo(art, max_iter=1, num_random_init=nb_starts, random_state=0, verbose=False)

    one, three = attack(1), attack(3)
    runs = torch.stack([potential(one.generate(x, y)) for _ in range(3)])
    assert torch.equal(potential(three.generate(x, y)), runs.amax(0))
    assert len(runs.argmax(0).unique()) == 3
