"""The sampler as an ART attack: any input form works, everything is left as it was, ART's own machinery can use it."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from art.metrics import adversarial_accuracy
from art.summary_writer import SummaryWriter
from numpy.typing import NDArray
from torch import Tensor, nn

import art_mi
from art_mi import LangevinMonteCarlo


class Network(nn.Module):
    """Batch normalisation and dropout, so that a changed mode shows; counts passes and stops at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(12, 3)
        self.calls, self.stop_at = 0, math.inf
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise RuntimeError("stopped on purpose")
        out: Tensor = self.head(self.body(x))
        return out


class Standardised(nn.Module):
    def __init__(self, model: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model((x - self.mean) / self.std)
        return out


def classifier(model: nn.Module | None = None, **options: Any) -> PyTorchClassifier:
    model = Network() if model is None else model
    options = {"clip_values": (0.0, 1.0), "nb_classes": 3, "input_shape": (5,), "device_type": "cpu", **options}
    return PyTorchClassifier(model=model, loss=nn.CrossEntropyLoss(), **options)


def samples(n: int = 30) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, 5), dtype=np.float32)


def labels(n: int = 30) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, 3, n)


def attack(art: PyTorchClassifier | None = None, **options: Any) -> LangevinMonteCarlo:
    options = {"max_iter": 3, "random_state": 0, "verbose": False, **options}
    return LangevinMonteCarlo(classifier() if art is None else art, **options)


# --- input and output ---


def test_it_is_an_art_attack_that_the_package_offers() -> None:
    langevin = attack()
    assert isinstance(langevin, EvasionAttack)
    assert art_mi.LangevinMonteCarlo is LangevinMonteCarlo
    assert langevin.targeted is False
    assert all(f"{name}=" in repr(langevin) for name in LangevinMonteCarlo.attack_params)


def test_arrays_and_tensors_give_the_same_perturbed_inputs() -> None:
    x, y = samples(), labels()
    expected = attack().generate(x, y)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float32
    for form in (x.astype(np.float64), x.tolist()):
        assert np.array_equal(attack().generate(form, y), expected)
    for tensor in (torch.from_numpy(x), torch.from_numpy(x).double().requires_grad_()):
        found = attack().generate(tensor, torch.from_numpy(y))
        assert isinstance(found, Tensor)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert np.array_equal(found.numpy(), expected)


def test_index_and_one_hot_labels_agree_and_predictions_stand_in_for_missing_ones() -> None:
    x, y = samples(), labels()
    expected = attack().generate(x, y)
    for form in (y[:, None], y.astype(np.float32), np.eye(3)[y], torch.eye(3)[y], y.tolist()):
        assert np.array_equal(attack().generate(x, form), expected)
    art = classifier()
    predicted = art.predict(x).argmax(1)
    assert not np.array_equal(predicted, y)
    assert np.array_equal(attack(art).generate(x), attack(art).generate(x, predicted))


def test_a_batch_of_tensors_is_perturbed_on_its_device_as_generate_does() -> None:
    x, y = torch.from_numpy(samples()), torch.from_numpy(labels())
    expected = attack().generate(x, y)
    assert torch.equal(attack().perturb(x, y), expected)
    own = torch.Generator().manual_seed(0)
    assert torch.equal(attack(random_state=5).perturb(x, y, own), expected)
    mask = torch.tensor([1.0, 0, 1, 0, 1])
    assert torch.equal(attack().perturb(x, y, mask=mask), attack().generate(x, y, mask=mask))
    assert attack().perturb(x.requires_grad_(), y).requires_grad is False
    assert attack(classifier(Network().double())).perturb(x.detach().double(), y).dtype == torch.float64


def test_without_noise_the_batch_size_does_not_matter() -> None:
    x, y = samples(), labels()
    whole, parts = (attack(temperature=0, batch_size=size).generate(x, y) for size in (128, 7))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mask", [[1, 0, 1, 1, 0], [[True, False, True, True, False]], [1.0, 0.0, 0.5, 2.0, 0.0]])
@pytest.mark.parametrize("as_type", [np.array, torch.tensor, list])
def test_masks_of_any_form_are_exact(mask: Any, as_type: Any) -> None:
    x = samples()
    moved = attack(temperature=1.0, num_random_init=1).generate(x, labels(), mask=as_type(mask)) - x
    assert (moved[:, [1, 4]] == 0).all()
    assert (np.abs(moved[:, [0, 2, 3]]).max(0) > 0.1).all()


def test_a_mask_a_sample_is_split_with_the_samples() -> None:
    x, mask = samples(), np.random.default_rng(5).random((30, 5)) < 0.5
    moved = attack(temperature=1.0, batch_size=7).generate(x, labels(), mask=mask) - x
    assert (moved[~mask] == 0).all()
    assert (moved[mask] != 0).mean() > 0.9


def test_preprocessing_equals_standardisation_inside_the_model() -> None:
    x, y = samples(), labels()
    outside = classifier(preprocessing=(np.array(0.4), np.array(0.5)))
    inside = classifier(Standardised(Network(), 0.4, 0.5))
    found, expected = (attack(art).generate(x, y) for art in (outside, inside))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not np.allclose(found, attack().generate(x, y), rtol=0, atol=1e-3)


# --- randomness ---


@pytest.mark.parametrize("options", [{}, {"noise": "laplace"}, {"num_random_init": 1}, {"potential": "kl"}])
def test_seeds_repeat_and_differ(options: dict[str, Any]) -> None:
    x, y = samples(), labels()
    options = {"temperature": 0.01, "eps_step": 0.02, **options}

    def run(seed: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = attack(random_state=seed, **options).generate(x, y)
        return found

    assert np.array_equal(run(0), run(0))
    assert np.array_equal(run(np.int64(1)), run(1))
    for one, other in ((0, 1), (None, None), (None, 0)):
        assert not np.array_equal(run(one), run(other))


def test_the_generator_runs_on_until_it_is_seeded_again() -> None:
    x, y, langevin = samples(), labels(), attack(temperature=0.01)
    first, twin = langevin.generate(x, y), copy.deepcopy(langevin)
    langevin.set_params(verbose=False, eps=0.3)
    second = langevin.generate(x, y)
    assert not np.array_equal(first, second)
    assert np.array_equal(twin.generate(x, y), second)
    langevin.set_params(random_state=0)
    assert np.array_equal(langevin.generate(x, y), first)


# --- what is left as it was ---


def state(model: nn.Module) -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return (
        [(name, module.training, dict(module._forward_hooks)) for name, module in model.named_modules()],
        [
            (p.requires_grad, p.detach().numpy().tobytes(), p.grad is None or p.grad.tolist())
            for p in model.parameters()
        ],
        [buffer.numpy().tobytes() for buffer in model.buffers()],
        (torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], torch.is_grad_enabled()),
    )


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("potential", ["log_error", "kl"])
@pytest.mark.parametrize("stop_at", [math.inf, 1, 3])
def test_everything_is_bit_identical_afterwards(random_state: int | None, potential: str, stop_at: float) -> None:
    model = Network().train()
    model.body[1].eval()
    model.head.weight.requires_grad_(False)
    model.head.bias.grad = torch.full((3,), 0.25)
    model.body.register_forward_hook(lambda *call: None)
    art, x, y = classifier(model), samples(), labels()
    inputs = x.copy(), y.copy()
    langevin = attack(art, random_state=random_state, potential=potential, num_random_init=2)
    model.stop_at = stop_at
    before = state(model)
    with nullcontext() if stop_at == math.inf else pytest.raises(RuntimeError, match="stopped on purpose"):
        langevin.generate(x, y)
    assert state(model) == before
    assert model.calls == min(stop_at, 6 + 2 + (potential == "kl"))  # steps, comparison, clean predictions
    assert np.array_equal(x, inputs[0])
    assert np.array_equal(y, inputs[1])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_the_gradient_mode_around_does_not_matter(mode: Any) -> None:
    expected = attack().generate(samples(), labels())
    with mode():
        enabled = torch.is_grad_enabled()
        assert np.array_equal(attack().generate(samples(), labels()), expected)
        assert torch.is_grad_enabled() == enabled


def test_a_training_mode_does_not_leak_into_the_attack() -> None:
    x, y = samples(), labels()
    training, evaluation = (attack(classifier(Network().train(mode))) for mode in (True, False))
    assert np.array_equal(training.generate(x, y), evaluation.generate(x, y))


# --- inside ART ---


def test_parameters_are_set_as_in_art() -> None:
    art, x, y = classifier(), samples(), labels()
    options = {"norm": 2, "eps": 0.5, "eps_step": 0.2, "step": "gradient", "temperature": 0.01, "max_iter": 4}
    langevin = attack(art)
    langevin.set_params(**options, random_state=0, targeted=False)
    assert np.array_equal(langevin.generate(x, y), attack(art, **options).generate(x, y))


class Recorder(SummaryWriter):  # type: ignore[misc]
    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.resets = 0

    def update(self, batch_id: int, global_step: int, **kwargs: Any) -> None:
        self.updates.append({"batch_id": batch_id, "global_step": global_step, **kwargs})

    def reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("potential", ["log_error", "kl"])
def test_a_summary_writer_hears_of_every_step(potential: str) -> None:
    writer, art, x, y = Recorder(), classifier(), samples(), labels()
    expected = attack(art, potential=potential).generate(x, y)
    heard = attack(art, potential=potential, summary_writer=writer, batch_size=128).generate(x, y)
    assert np.array_equal(heard, expected)
    assert [(u["batch_id"], u["global_step"]) for u in writer.updates] == [(0, 0), (0, 1), (0, 2)]
    for update in writer.updates:
        assert update["estimator"] is art
        assert update["targeted"] is False
        assert update["grad"].shape == update["x"].shape == x.shape
        assert update["y"].shape == y.shape
    assert (writer.updates[0]["x"] == x).all() == (potential != "kl")
    attack(art, summary_writer=writer, batch_size=20).generate(x, y)
    assert [u["batch_id"] for u in writer.updates[3:]] == [0, 0, 0, 1, 1, 1]
    assert writer.resets == 2
    with pytest.raises(ValueError, match="`num_random_init` must be at most 1 with a summary writer, got 2"):
        attack(art, summary_writer=writer, num_random_init=2)


def test_art_measures_with_it_and_trains_against_it() -> None:
    model = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(10 * torch.eye(3, 5))
    art = classifier(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    x = samples(120)
    y = x[:, :3].argmax(1)
    weak, strong = (
        adversarial_accuracy(art, x, y, attack_crafter=attack(art, eps=eps, eps_step=eps / 2)) for eps in (1e-6, 0.5)
    )
    assert weak == pytest.approx(1.0, abs=0.01)
    assert strong < 0.05
    langevin = LangevinMonteCarlo(art, eps=0.05, eps_step=0.02, max_iter=2, random_state=0)
    AdversarialTrainer(art, langevin, ratio=0.5).fit(x, np.eye(3)[y], batch_size=40, nb_epochs=1)
    assert not torch.equal(model.weight.detach(), 10 * torch.eye(3, 5))
    assert model.weight.isfinite().all()
