"""What the attacks share as ART attacks: any input form works, everything is left as it was, ART's machinery runs."""

from __future__ import annotations

import copy
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
from art_mi import LangevinMonteCarlo, WorstCaseMIAttack, evaluate_robustness
from art_mi.attacks import MarginAttack
from art_mi.evaluation import attacked_accuracy
from art_mi.trainers import MadryPGDTrainer

KINDS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "log_error": (LangevinMonteCarlo, {"temperature": 0.01}),
    "kl": (LangevinMonteCarlo, {"temperature": 0.01, "potential": "kl"}),
    "laplace": (LangevinMonteCarlo, {"temperature": 0.01, "noise": "laplace"}),
    "noisy": (WorstCaseMIAttack, {}),
    "critic": (WorstCaseMIAttack, {}),
}
LABEL_FREE = ("noisy", "critic")
each_kind = pytest.mark.parametrize("kind", KINDS)


def drawn(module: nn.Module, seed: int) -> None:
    """Weights that do not depend on global random state."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Network(nn.Module):
    """Batch normalisation and dropout, so that a changed mode shows; counts passes and stops at one of them."""

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


def labels(n: int = 30) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, 3, n)


def attack(kind: str, art: PyTorchClassifier | None = None, **options: Any) -> Any:
    made, own = KINDS[kind]
    own = {**own, "critic": PairCritic()} if kind == "critic" else own
    options = {"max_iter": 3, "random_state": 0, "verbose": False, **own, **options}
    return made(classifier() if art is None else art, **options)


# --- input and output ---


@each_kind
def test_it_is_an_art_attack_that_the_package_offers(kind: str) -> None:
    found = attack(kind)
    assert isinstance(found, EvasionAttack)
    assert getattr(art_mi, type(found).__name__) is getattr(art_mi.attacks, type(found).__name__) is type(found)
    assert found.targeted is False
    assert all(f"{name}=" in repr(found) for name in found.attack_params)


@each_kind
def test_arrays_and_tensors_give_the_same_perturbed_inputs(kind: str) -> None:
    x, y = samples(), labels()
    expected = attack(kind).generate(x, y)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float32
    assert np.array_equal(attack(kind).generate(x.tolist(), y), expected)
    found = attack(kind).generate(torch.from_numpy(x).requires_grad_(), torch.from_numpy(y))
    assert isinstance(found, Tensor)
    assert not found.requires_grad
    assert np.array_equal(found.numpy(), expected)


@each_kind
@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_perturbed_inputs_keep_the_dtype_of_floats_and_in_it_ball_and_mask(kind: str, norm: float) -> None:
    """In 64 bits: of a width that 32 do not hold, in 16 bits of one that they round off."""
    fine, y, mask = 0.8 * np.random.default_rng(2).random((6, 5)) + 0.1, labels(6), np.array([1, 0, 1, 1, 0])
    made, still = attack(kind, norm=norm, eps=0.05), attack(kind, norm=norm, eps=0.0)
    order = np.inf if norm == math.inf else norm
    for x in (fine, fine.astype(np.float16), fine.astype(">f8"), *map(torch.from_numpy, (fine, fine.astype("f2")))):
        found = made.generate(x, y, mask=mask)
        assert type(found) is type(x)
        assert found.dtype == (x.dtype if isinstance(x, Tensor) else x.dtype.newbyteorder("="))
        moved = np.asarray(found).astype(np.longdouble) - np.asarray(x).astype(np.longdouble)
        assert (moved[:, mask == 0] == 0).all()
        assert np.abs(moved).max() > 0.01
        if norm != math.inf or found.dtype in (np.float64, torch.float64):
            assert (np.linalg.norm(moved.astype(np.float64), order, axis=1) <= 0.05).all()
        assert np.array_equal(np.asarray(still.generate(x, y)), np.asarray(x))
    narrow = torch.from_numpy(fine).bfloat16()
    assert made.generate(narrow, y).dtype == torch.bfloat16
    assert torch.equal(still.generate(narrow, y), narrow)


@each_kind
def test_inputs_that_are_no_floats_are_perturbed_in_32_bits(kind: str) -> None:
    x, y = samples().round().astype(np.int64), labels()
    assert attack(kind).generate(x, y).dtype == np.float32
    assert attack(kind).generate(torch.from_numpy(x), y).dtype == torch.float32


@each_kind
def test_labels_of_any_form_agree_and_predictions_stand_in_for_missing_ones(kind: str) -> None:
    art, x, y = classifier(), samples(), labels()
    predicted = art.predict(x).argmax(1)
    assert not np.array_equal(predicted, y)
    expected = attack(kind, art).generate(x, y)
    for form in (y[:, None], y.astype(np.float32), np.eye(3)[y], torch.eye(3)[y], y.tolist()):
        assert np.array_equal(attack(kind, art).generate(x, form), expected)
    assert np.array_equal(attack(kind, art).generate(x), attack(kind, art).generate(x, predicted))
    if kind in LABEL_FREE:
        for form in (predicted, "anything"):
            assert np.array_equal(attack(kind, art).generate(x, form), expected)


@each_kind
def test_a_batch_of_tensors_is_perturbed_on_its_device_as_generate_does(kind: str) -> None:
    x, y = torch.from_numpy(samples()), torch.from_numpy(labels())
    expected = attack(kind).generate(x, y)
    assert torch.equal(attack(kind).perturb(x, y), expected)
    assert torch.equal(attack(kind, random_state=5).perturb(x, y, torch.Generator().manual_seed(0)), expected)
    mask = torch.tensor([1.0, 0, 1, 0, 1])
    assert torch.equal(attack(kind).perturb(x, y, mask=mask), attack(kind).generate(x, y, mask=mask))
    assert attack(kind).perturb(x.requires_grad_(), y).requires_grad is False
    double = {"critic": PairCritic().double()} if kind == "critic" else {}
    assert attack(kind, classifier(Network().double()), **double).perturb(x.detach().double(), y).dtype == torch.float64


@each_kind
@pytest.mark.parametrize("mask", [[1, 0, 1, 1, 0], [[True, False, True, True, False]], [1.0, 0.0, 0.5, 2.0, 0.0]])
def test_masks_of_any_form_are_exact(kind: str, mask: Any) -> None:
    x = samples()
    for form in (mask, np.array(mask), torch.tensor(mask)):
        moved = attack(kind, num_random_init=1).generate(x, labels(), mask=form) - x
        assert (moved[:, [1, 4]] == 0).all()
        assert (np.abs(moved[:, [0, 2, 3]]).max(0) > 0.1).all()


@each_kind
def test_a_mask_a_sample_is_split_with_the_samples(kind: str) -> None:
    x, mask = samples(), np.random.default_rng(5).random((30, 5)) < 0.5
    moved = attack(kind, classifier(clip_values=None), batch_size=7).generate(x, labels(), mask=mask) - x
    assert (moved[~mask] == 0).all()
    assert (moved[mask] != 0).mean() > 0.9


@each_kind
def test_preprocessing_equals_standardisation_inside_the_model(kind: str) -> None:
    x, y = samples(), labels()
    outside = classifier(preprocessing=(np.array(0.4), np.array(0.5)))
    inside = classifier(Standardised(Network(), 0.4, 0.5))
    found, expected = (attack(kind, art).generate(x, y) for art in (outside, inside))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not np.allclose(found, attack(kind).generate(x, y), rtol=0, atol=1e-3)


def test_a_layer_of_any_depth_can_be_the_representation() -> None:
    found = {layer: attack("noisy", layer=layer).generate(samples()) for layer in (None, "head", "body.0")}
    assert np.array_equal(found[None], found["head"])
    assert not np.array_equal(found[None], found["body.0"])


@given(
    kind=st.sampled_from([*KINDS]),
    norm=st.sampled_from([math.inf, 2, 1]),
    eps=st.sampled_from([0.0, 1e-6, 0.1, 5.0]),
    step=st.sampled_from([{}, {"eps_step": 0.2}]),
    max_iter=st.integers(0, 3),
    nb_starts=st.integers(0, 2),
    box=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_perturbed_inputs_lie_in_ball_box_and_mask(
    kind: str,
    norm: float,
    eps: float,
    step: dict[str, float],
    max_iter: int,
    nb_starts: int,
    box: bool,
    masked: bool,
    seed: int,
) -> None:
    numbers: dict[str, Any] = {"norm": norm, "eps": eps, "max_iter": max_iter, "num_random_init": nb_starts, **step}
    art = classifier(clip_values=(0.0, 1.0) if box else None)
    x, mask = samples(7), np.array([1, 0, 1, 1, 0]) if masked else None
    moved = attack(kind, art, batch_size=3, random_state=seed, **numbers).generate(x, labels(7), mask=mask)
    assert np.isfinite(moved).all()
    assert (np.linalg.norm((moved - x).astype(float), ord=norm, axis=1) <= eps * (1 + 1e-6)).all()
    if box:
        assert moved.min() >= 0
        assert moved.max() <= 1
    if mask is not None:
        assert np.array_equal(moved[:, mask == 0], x[:, mask == 0])


# --- randomness ---


@each_kind
def test_seeds_repeat_and_differ_and_the_generator_runs_on_until_it_is_seeded_again(kind: str) -> None:
    x, y, options = samples(), labels(), {"num_random_init": int(kind in LABEL_FREE), "eps_step": 0.02}

    def run(seed: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = attack(kind, random_state=seed, **options).generate(x, y)
        return found

    assert np.array_equal(run(0), run(0))
    assert np.array_equal(run(np.int64(1)), run(1))
    for one, other in ((0, 1), (None, None), (None, 0)):
        assert not np.array_equal(run(one), run(other))
    running = attack(kind, **options)
    first, twin = running.generate(x, y), copy.deepcopy(running)
    running.set_params(verbose=False, eps=0.3)
    second = running.generate(x, y)
    assert not np.array_equal(first, second)
    assert np.array_equal(twin.generate(x, y), second)
    running.set_params(random_state=0)
    assert np.array_equal(running.generate(x, y), first)


# --- what is left as it was ---


def state(*modules: nn.Module) -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return (
        [(name, m.training, dict(m._forward_hooks)) for module in modules for name, m in module.named_modules()],
        [(p.requires_grad, p.detach().numpy().tobytes(), p.grad is None or p.grad.tolist()) for p in parameters],
        [buffer.numpy().tobytes() for module in modules for buffer in module.buffers()],
        (torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], torch.is_grad_enabled()),
    )


@each_kind
@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("stop_at", [math.inf, 1, 3])
def test_everything_is_bit_identical_afterwards(kind: str, random_state: int | None, stop_at: float) -> None:
    model, critic = Network().train(), PairCritic().train()
    model.body[1].eval()
    critic.drop.eval()
    model.head.weight.requires_grad_(False)
    critic.x_side.weight.requires_grad_(False)
    model.head.bias.grad = torch.full((3,), 0.25)
    critic.z_side.bias.grad = torch.full((4,), 0.5)
    model.body.register_forward_hook(lambda *call: None)
    x, y = samples(), labels()
    inputs = x.copy(), y.copy()
    used = {"critic": critic} if kind == "critic" else {}
    found = attack(kind, classifier(model), random_state=random_state, num_random_init=2, **used)
    model.stop_at = stop_at
    before = state(model, critic)
    with nullcontext() if stop_at == math.inf else pytest.raises(RuntimeError, match="stopped on purpose"):
        found.generate(x, y)
    assert state(model, critic) == before
    # Steps, comparison, and once the clean predictions or the noise level
    assert model.calls == min(stop_at, 6 + 2 + (kind in ("kl", "noisy")))
    assert np.array_equal(x, inputs[0])
    assert np.array_equal(y, inputs[1])


@each_kind
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_gradient_and_training_modes_around_do_not_matter(kind: str, mode: Any) -> None:
    expected = attack(kind).generate(samples(), labels())
    with mode():
        enabled = torch.is_grad_enabled()
        assert np.array_equal(attack(kind).generate(samples(), labels()), expected)
        assert torch.is_grad_enabled() == enabled
    used = {"critic": PairCritic().eval()} if kind == "critic" else {}
    assert np.array_equal(attack(kind, classifier(Network().eval()), **used).generate(samples(), labels()), expected)


# --- inside ART, and in training ---


@each_kind
def test_parameters_are_set_as_in_art(kind: str) -> None:
    art, x, y, found = classifier(), samples(), labels(), attack(kind)
    own = {"noise_std": 0.3, "bound": "nwj"} if kind in LABEL_FREE else {"temperature": 0.5}
    options = {"norm": 2, "eps": 0.5, "eps_step": 0.2, "max_iter": 4, **own}
    found.set_params(**options, random_state=0, targeted=False)
    assert np.array_equal(found.generate(x, y), attack(kind, art, **options).generate(x, y))


@each_kind
def test_a_progress_bar_is_shown_where_it_is_asked_for(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        found = attack(kind, verbose=verbose)
        found.generate(samples(), labels())
        shown = capsys.readouterr().err
        assert type(found).__name__ in shown if verbose else shown == ""


class Recorder(SummaryWriter):  # type: ignore[misc]
    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.resets = 0

    def update(self, batch_id: int, global_step: int, **kwargs: Any) -> None:
        self.updates.append({"batch_id": batch_id, "global_step": global_step, **kwargs})

    def reset(self) -> None:
        self.resets += 1


@each_kind
def test_a_summary_writer_hears_of_every_step(kind: str) -> None:
    writer, art, x, y = Recorder(), classifier(), samples(), labels()
    expected = attack(kind, art, batch_size=20).generate(x, y)
    heard = attack(kind, art, summary_writer=writer, batch_size=20).generate(x, y)
    assert np.array_equal(heard, expected)
    assert [(u["batch_id"], u["global_step"]) for u in writer.updates] == [(b, k) for b in range(2) for k in range(3)]
    for update in writer.updates:
        assert update["estimator"] is art
        assert update["targeted"] is False
        assert update["grad"].shape == update["x"].shape == (15, 5)
    first = {name: np.concatenate([update[name] for update in writer.updates[::3]]) for name in ("x", "y")}
    assert np.array_equal(first["x"], x) == (kind != "kl")
    assert np.array_equal(first["y"], art.predict(x).argmax(1) if kind in LABEL_FREE else y)
    assert writer.resets == 1
    with pytest.raises(ValueError, match="`num_random_init` must be at most 1 with a summary writer, got 2"):
        attack(kind, art, summary_writer=writer, num_random_init=2)


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
def test_batches_are_of_nearly_equal_size_and_joint_ones_not_of_one(n: int, batch_size: int, sizes: list[int]) -> None:
    writer = Recorder()
    attack("noisy", summary_writer=writer, batch_size=batch_size, max_iter=1).generate(samples(n))
    assert [len(update["x"]) for update in writer.updates] == sizes


def linear() -> PyTorchClassifier:
    model = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(10 * torch.eye(3, 5))
    return classifier(model, optimizer=torch.optim.SGD(model.parameters(), 0.1))


@pytest.mark.parametrize(("kind", "most"), [("log_error", 0.05), ("noisy", 0.9)])
def test_art_measures_with_it_beside_an_attack_that_knows_the_labels(kind: str, most: float) -> None:
    art, x = linear(), samples(120)
    y = x[:, :3].argmax(1)

    def accuracy(crafter: EvasionAttack) -> float:
        return float(adversarial_accuracy(art, x, y, attack_crafter=crafter))

    weak, strong = (accuracy(attack(kind, art, eps=eps, max_iter=20)) for eps in (1e-6, 0.5))
    known = accuracy(ProjectedGradientDescentPyTorch(art, eps=0.5, eps_step=0.1, max_iter=20, verbose=False))
    assert weak == pytest.approx(1.0, abs=0.01)
    assert known <= strong < most


@each_kind
def test_trainers_train_against_it(kind: str) -> None:
    x = samples(120)
    y = x[:, :3].argmax(1)
    before = 10 * torch.eye(3, 5)
    art = linear()
    AdversarialTrainer(art, attack(kind, art, eps=0.05), ratio=0.5).fit(x, np.eye(3)[y], batch_size=40, nb_epochs=1)
    assert not torch.equal(art.model.weight.detach(), before)
    art = linear()
    MadryPGDTrainer(art, attack=attack(kind, art, eps=0.05), verbose=False).fit(x, y, batch_size=40, nb_epochs=1)
    assert not torch.equal(art.model.weight.detach(), before)
    assert art.model.weight.isfinite().all()


# --- a model that draws when it predicts ---


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.randn_like(x)


def drawing() -> PyTorchClassifier:
    linear = nn.Linear(4, 3)
    drawn(linear, 0)
    return PyTorchClassifier(nn.Sequential(Drawing(), linear), nn.CrossEntropyLoss(), (4,), 3, device_type="cpu")


@pytest.mark.parametrize("num_random_init", [0, 1])
def test_what_a_model_draws_follows_the_attacks_seed_and_is_fresh_without_one(num_random_init: int) -> None:
    x, y = np.random.default_rng(0).random((40, 4), dtype=np.float32), np.arange(40) % 3
    art = drawing()

    def runs(random_state: int | None) -> list[NDArray[np.float32]]:
        options: dict[str, Any] = {"eps": 0.1, "max_iter": 3, "num_random_init": num_random_init, "verbose": False}
        attack = MarginAttack(art, random_state=random_state, **options)
        return [attack.generate(x, y) for _ in range(2)]

    before = torch.get_rng_state()
    first = runs(0)
    torch.rand(1)
    again = runs(0)
    torch.set_rng_state(before)
    assert np.array_equal(first, again)
    others = [*first, *runs(1), *runs(None), *runs(None)]
    assert len({found.tobytes() for found in others}) == len(others)
    assert torch.equal(torch.get_rng_state(), before)


class Both(EvasionAttack):  # type: ignore[misc]
    """As ART's AutoAttack, a list of others."""

    _estimator_requirements = (PyTorchClassifier,)

    def __init__(self, attacks: list[EvasionAttack]) -> None:
        super().__init__(estimator=attacks[0].estimator)
        self.attacks = attacks

    def generate(self, x: Any, y: Any = None, **_: Any) -> Any:
        return self.attacks[-1].generate(x, y)


@pytest.mark.parametrize("random_state", [0, 5, None])
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_evaluation_seeds_an_attack_of_this_package_and_puts_its_generator_back(
    random_state: int | None, wrapped: bool
) -> None:
    art = drawing()
    x, y = np.random.default_rng(0).random((200, 4), dtype=np.float32), np.arange(200) % 3
    options: dict[str, Any] = {"eps": 0.3, "eps_step": 0.1, "max_iter": 2, "temperature": 1.0, "num_random_init": 1}
    own = LangevinMonteCarlo(art, random_state=random_state, verbose=False, **options)
    attack, before = Both([own, own]) if wrapped else own, own._generator.get_state()
    seeds = (0, 0, 1, 0)
    found = [attacked_accuracy(art, attack, x, y, random_state=seed).correct.tobytes() for seed in seeds]
    assert found[0] == found[1] == found[3] != found[2]
    assert torch.equal(own._generator.get_state(), before)
    robust: dict[str, Any] = {"checks": False, "verbose": False}
    twice = evaluate_robustness(art, x, y, eps=0.3, attacks={"one": attack, "same": attack}, **robust)
    correct = [outcome.accuracy.correct for outcome in twice.attacks.values()]
    assert np.array_equal(*correct)
    assert torch.equal(own._generator.get_state(), before)
