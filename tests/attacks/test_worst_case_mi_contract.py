"""The label-free attack as an ART attack: any input form works, everything is left as it was, trainers can use it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.defences.trainer import AdversarialTrainer
from art.estimators.classification import PyTorchClassifier
from art.metrics import adversarial_accuracy
from art.summary_writer import SummaryWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import art_mi
from art_mi import WorstCaseMIAttack
from art_mi.trainers import MadryPGDTrainer


def drawn(module: nn.Module, seed: int) -> None:
    """Weights that do not depend on global random state."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Network(nn.Module):
    """Batch normalisation and dropout, so that a changed mode shows; stops at one of its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(12, 3)
        self.calls, self.stop_at = 0, math.inf
        drawn(self, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.stop_at:
            raise RuntimeError("stopped on purpose")
        out: Tensor = self.head(self.body(x))
        return out


class PairCritic(nn.Module):
    """No :class:`art_mi.critics.Critic`, and with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.x_side, self.z_side, self.drop = nn.Linear(5, 4), nn.Linear(3, 4), nn.Dropout(0.5)
        drawn(self, 4)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        out: Tensor = self.drop(self.x_side(x)) @ self.z_side(z).mT
        return out.tanh()


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


def attack(art: PyTorchClassifier | None = None, **options: Any) -> WorstCaseMIAttack:
    options = {"max_iter": 3, "random_state": 0, "verbose": False, **options}
    return WorstCaseMIAttack(classifier() if art is None else art, **options)


# --- input and output ---


def test_it_is_an_art_attack_that_the_package_offers() -> None:
    found = attack()
    assert isinstance(found, EvasionAttack)
    assert art_mi.WorstCaseMIAttack is art_mi.attacks.WorstCaseMIAttack is WorstCaseMIAttack
    assert found.targeted is False
    assert all(f"{name}=" in repr(found) for name in WorstCaseMIAttack.attack_params)


@pytest.mark.parametrize("critic", [None, PairCritic()])
def test_arrays_and_tensors_give_the_same_perturbed_inputs_and_labels_do_not_matter(critic: nn.Module | None) -> None:
    x = samples()
    expected = attack(critic=critic).generate(x)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float32
    for form in (x.astype(np.float64), x.tolist()):
        assert np.array_equal(attack(critic=critic).generate(form), expected)
    for labels in (np.zeros(30), np.eye(3)[:1].repeat(30, 0), "anything"):
        assert np.array_equal(attack(critic=critic).generate(x, labels), expected)
    for tensor in (torch.from_numpy(x), torch.from_numpy(x).double().requires_grad_()):
        found = attack(critic=critic).generate(tensor)
        assert isinstance(found, Tensor)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert np.array_equal(found.numpy(), expected)


def test_a_batch_of_tensors_is_perturbed_on_its_device_as_generate_does() -> None:
    x = torch.from_numpy(samples())
    expected = attack().generate(x)
    assert torch.equal(attack().perturb(x), expected)
    assert torch.equal(attack(random_state=5).perturb(x, torch.zeros(30), torch.Generator().manual_seed(0)), expected)
    mask = torch.tensor([1.0, 0, 1, 0, 1])
    assert torch.equal(attack().perturb(x, mask=mask), attack().generate(x, mask=mask))
    assert attack().perturb(x.requires_grad_()).requires_grad is False
    assert attack(classifier(Network().double())).perturb(x.detach().double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (2, 2, [2]),
        (3, 2, [3]),
        (5, 2, [3, 2]),
        (4, 3, [2, 2]),
        (30, 29, [15, 15]),
        (30, 8, [8, 8, 7, 7]),
        (9, 128, [9]),
    ],
)
def test_batches_are_of_nearly_equal_size_and_none_of_one(n: int, batch_size: int, sizes: list[int]) -> None:
    writer = Recorder()
    attack(summary_writer=writer, batch_size=batch_size, max_iter=1).generate(samples(n))
    assert [len(update["x"]) for update in writer.updates] == sizes


@pytest.mark.parametrize("mask", [[1, 0, 1, 1, 0], [True, False, True, True, False], [1.0, 0.0, 0.5, 2.0, 0.0]])
def test_masks_are_exact(mask: Any) -> None:
    x = samples()
    moved = attack(num_random_init=1).generate(x, mask=mask) - x
    assert (moved[:, [1, 4]] == 0).all()
    assert (np.abs(moved[:, [0, 2, 3]]).max(0) > 0.1).all()
    each = np.random.default_rng(5).random((30, 5)) < 0.5
    moved = attack(classifier(clip_values=None), batch_size=8).generate(x, mask=each) - x
    assert (moved[~each] == 0).all()
    assert (moved[each] != 0).mean() > 0.9


@pytest.mark.parametrize("critic", [None, PairCritic()])
def test_preprocessing_equals_standardisation_inside_the_model(critic: nn.Module | None) -> None:
    outside = classifier(preprocessing=(np.array(0.4), np.array(0.5)))
    inside = classifier(Standardised(Network(), 0.4, 0.5))
    found, expected = (attack(art, critic=critic).generate(samples()) for art in (outside, inside))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not np.allclose(found, attack(critic=critic).generate(samples()), rtol=0, atol=1e-3)


def test_a_layer_of_any_depth_can_be_the_representation() -> None:
    x = samples()
    found = {layer: attack(layer=layer).generate(x) for layer in (None, "head", "body.0")}
    assert np.array_equal(found[None], found["head"])
    assert not np.array_equal(found[None], found["body.0"])


@given(
    norm=st.sampled_from([math.inf, 2, 1]),
    eps=st.sampled_from([0.0, 1e-6, 0.1, 5.0]),
    eps_step=st.sampled_from([None, 0.1]),
    max_iter=st.integers(0, 3),
    under_critic=st.booleans(),
    nb_starts=st.integers(0, 2),
    box=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_perturbed_inputs_lie_in_ball_box_and_mask(
    norm: float,
    eps: float,
    eps_step: float | None,
    max_iter: int,
    under_critic: bool,
    nb_starts: int,
    box: bool,
    masked: bool,
    seed: int,
) -> None:
    numbers: dict[str, Any] = {"norm": norm, "eps": eps, "eps_step": eps_step, "max_iter": max_iter}
    options = {"critic": PairCritic() if under_critic else None, "num_random_init": nb_starts, "random_state": seed}
    art = classifier(clip_values=(0.0, 1.0) if box else None)
    x, mask = samples(7), np.array([1, 0, 1, 1, 0]) if masked else None
    moved = attack(art, batch_size=3, **numbers, **options).generate(x, mask=mask)
    assert np.isfinite(moved).all()
    assert (np.linalg.norm((moved - x).astype(float), ord=norm, axis=1) <= eps * (1 + 1e-6)).all()
    if box:
        assert moved.min() >= 0
        assert moved.max() <= 1
    if mask is not None:
        assert np.array_equal(moved[:, mask == 0], x[:, mask == 0])


# --- randomness ---


def test_seeds_repeat_and_differ_and_the_generator_runs_on() -> None:
    x = samples()

    def run(seed: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = attack(random_state=seed, num_random_init=1).generate(x)
        return found

    assert np.array_equal(run(0), run(0))
    assert np.array_equal(run(np.int64(1)), run(1))
    for one, other in ((0, 1), (None, None), (None, 0)):
        assert not np.array_equal(run(one), run(other))
    running = attack(num_random_init=1)
    first, second = running.generate(x), running.generate(x)
    assert not np.array_equal(first, second)
    running.set_params(random_state=0)
    assert np.array_equal(running.generate(x), first)


def state(*modules: nn.Module) -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return (
        [(name, m.training, dict(m._forward_hooks)) for module in modules for name, m in module.named_modules()],
        [
            (p.requires_grad, p.detach().numpy().tobytes(), p.grad is None or p.grad.tolist())
            for module in modules
            for p in module.parameters()
        ],
        [buffer.numpy().tobytes() for module in modules for buffer in module.buffers()],
        (torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], torch.is_grad_enabled()),
    )


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("under_critic", [False, True])
@pytest.mark.parametrize("stop_at", [math.inf, 1, 3])
def test_everything_is_bit_identical_afterwards(random_state: int | None, under_critic: bool, stop_at: float) -> None:
    model, critic = Network().train(), PairCritic().train()
    model.body[1].eval()
    critic.drop.eval()
    model.head.weight.requires_grad_(False)
    critic.x_side.weight.requires_grad_(False)
    model.head.bias.grad = torch.full((3,), 0.25)
    critic.z_side.bias.grad = torch.full((4,), 0.5)
    model.body.register_forward_hook(lambda *call: None)
    x = samples()
    inputs = x.copy()
    used = critic if under_critic else None
    found = attack(classifier(model), critic=used, random_state=random_state, num_random_init=2)
    model.stop_at = stop_at
    before = state(model, critic)
    with nullcontext() if stop_at == math.inf else pytest.raises(RuntimeError, match="stopped on purpose"):
        found.generate(x)
    assert state(model, critic) == before
    assert model.calls == min(stop_at, 6 + 2 + (not under_critic))  # steps, comparison, noise level
    assert np.array_equal(x, inputs)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("critic", [None, PairCritic()])
def test_gradient_and_training_modes_around_do_not_matter(mode: Any, critic: nn.Module | None) -> None:
    expected = attack(critic=critic).generate(samples())
    with mode():
        enabled = torch.is_grad_enabled()
        assert np.array_equal(attack(critic=critic).generate(samples()), expected)
        assert torch.is_grad_enabled() == enabled
    art = classifier(Network().eval())
    evaluated = None if critic is None else PairCritic().eval()
    assert np.array_equal(attack(art, critic=evaluated).generate(samples()), expected)


# --- inside ART, and in training ---


class Recorder(SummaryWriter):  # type: ignore[misc]
    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.resets = 0

    def update(self, batch_id: int, global_step: int, **kwargs: Any) -> None:
        self.updates.append({"batch_id": batch_id, "global_step": global_step, **kwargs})

    def reset(self) -> None:
        self.resets += 1


def test_a_summary_writer_hears_of_every_step() -> None:
    writer, art, x = Recorder(), classifier(), samples()
    expected = attack(art, batch_size=20).generate(x)
    assert np.array_equal(attack(art, summary_writer=writer, batch_size=20).generate(x), expected)
    assert [(u["batch_id"], u["global_step"]) for u in writer.updates] == [(b, k) for b in range(2) for k in range(3)]
    for update in writer.updates:
        assert update["estimator"] is art
        assert update["targeted"] is False
        assert update["grad"].shape == update["x"].shape == (15, 5)
    assert np.array_equal(np.concatenate([u["y"] for u in writer.updates[::3]]), art.predict(x).argmax(1))
    assert writer.resets == 1


def linear() -> PyTorchClassifier:
    model = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(10 * torch.eye(3, 5))
    return classifier(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))


def test_art_measures_with_it_beside_an_attack_that_knows_the_labels() -> None:
    art, x = linear(), samples(120)
    y = x[:, :3].argmax(1)

    def accuracy(crafter: EvasionAttack) -> float:
        return float(adversarial_accuracy(art, x, y, attack_crafter=crafter))

    weak, strong = (accuracy(attack(art, eps=eps, max_iter=20)) for eps in (1e-6, 0.5))
    known = accuracy(ProjectedGradientDescentPyTorch(art, eps=0.5, eps_step=0.1, max_iter=20, verbose=False))
    assert weak == pytest.approx(1.0, abs=0.01)
    assert known <= strong < 0.9


def test_trainers_train_against_it() -> None:
    x = samples(120)
    y = x[:, :3].argmax(1)
    before = 10 * torch.eye(3, 5)
    art = linear()
    AdversarialTrainer(art, attack(art, eps=0.05), ratio=0.5).fit(x, np.eye(3)[y], batch_size=40, nb_epochs=1)
    assert not torch.equal(art.model.weight.detach(), before)
    art = linear()
    MadryPGDTrainer(art, attack=attack(art, eps=0.05), verbose=False).fit(x, y, batch_size=40, nb_epochs=1)
    assert not torch.equal(art.model.weight.detach(), before)
    assert art.model.weight.isfinite().all()
