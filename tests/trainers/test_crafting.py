"""An ART attack does the same inside a trainer as outside, and comes out unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import (
    AdversarialPatchPyTorch,
    AutoProjectedGradientDescent,
    BasicIterativeMethod,
    CarliniL2Method,
    FastGradientMethod,
    MomentumIterativeMethod,
    ProjectedGradientDescent,
    ProjectedGradientDescentNumpy,
    ProjectedGradientDescentPyTorch,
    SquareAttack,
)
from art.attacks.poisoning import PoisoningAttackBackdoor
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from art_mi.attacks import LangevinMonteCarlo
from art_mi.threat import NormBall
from art_mi.trainers import DALETrainer, MadryPGDTrainer, MIMAETrainer, TRADESTrainer, WorstCaseMITrainer, crafting

NUMBERS: dict[str, Any] = {"eps": 0.2, "eps_step": 0.05, "max_iter": 7, "verbose": False}
PLAIN = (ProjectedGradientDescent, ProjectedGradientDescentPyTorch)


def pair(toy: Any, n: int = 24) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(toy.x(n)), torch.from_numpy(toy.y(n))


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the fast path ---


def test_an_attack_of_ones_own_is_run_by_generate_whatever_its_methods_are_called(toy: Any) -> None:
    class Own(FastGradientMethod):
        def perturb(self, x: Any, eps: float = 0.1) -> Any:
            raise AssertionError("not this one")

    art = toy.classifier()
    x, y = pair(toy)
    found = toy.trainer(MadryPGDTrainer, art, attack=Own(art, eps=0.2)).craft(x, y)
    np.testing.assert_allclose(found.numpy(), FastGradientMethod(art, eps=0.2).generate(x.numpy(), y.numpy()))


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize(("norm", "clip"), [(np.inf, None), ("inf", (0.0, 1.0)), (2, None), (2.0, None)])
def test_projected_gradients_on_tensors_equal_those_of_art(toy: Any, kind: type[Any], norm: Any, clip: Any) -> None:
    art = toy.classifier(clip_values=clip)
    attack = kind(art, norm=norm, **NUMBERS)
    assert crafting.projected_gradient(art, attack) is not None
    x, y = pair(toy)
    found = toy.trainer(MadryPGDTrainer, art, attack=attack).craft(x, y)
    expected = attack.generate(x.numpy(), y.numpy())
    assert np.abs(expected - x.numpy()).max() > 0.05
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def test_the_basic_iterative_method_is_a_projected_gradient_of_as_many_steps(toy: Any) -> None:
    art = toy.classifier()
    attack = BasicIterativeMethod(art, eps=0.2, eps_step=0.05, max_iter=3, verbose=False)
    assert crafting.projected_gradient(art, attack) is not None
    x, y = pair(toy)
    found = crafting.craft(art, attack, x, y, None)
    np.testing.assert_allclose(found.numpy(), attack.generate(x.numpy(), y.numpy()), rtol=0, atol=1e-6)


def test_the_fast_path_sees_preprocessing_once(toy: Any) -> None:
    art = toy.classifier(preprocessing=(0.4, 0.3))
    attack = ProjectedGradientDescent(art, **NUMBERS)
    x, y = pair(toy)
    found = toy.trainer(MadryPGDTrainer, art, attack=attack).craft(x, y)
    np.testing.assert_allclose(found.numpy(), attack.generate(x.numpy(), y.numpy()), rtol=0, atol=1e-6)


BOXES = [(0.0, 1.0), (np.full(4, 0.1, np.float32), np.full(4, 0.9, np.float32)), None]


@pytest.mark.parametrize(
    ("norm", "starts", "clip", "start_std"),  # each value meets each other one
    [
        (norm, starts, BOXES[(i + j) % 3], 0.5 * (i == j))
        for i, norm in enumerate((np.inf, 2, 1))
        for j, starts in enumerate((0, 1, 3))
    ],
)
def test_crafted_inputs_lie_inside_ball_and_box(toy: Any, norm: Any, starts: int, clip: Any, start_std: float) -> None:
    art = toy.classifier(clip_values=clip)
    x, y = pair(toy)
    x = x if clip is None else x.clamp(float(np.min(clip[0])), float(np.max(clip[1])))
    attack = ProjectedGradientDescent(art, norm=norm, num_random_init=starts, **NUMBERS)
    seen: list[Tensor] = []
    art.model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    moved = crafting.craft(art, attack, x, y, generator(), start_std=start_std)
    ball = NormBall(norm, 0.2, clip)
    for point in (*seen, moved):
        torch.testing.assert_close(ball.project(point, x), point, rtol=0, atol=1e-6)
        assert float((point - x).flatten(1).norm(p=norm, dim=1).max()) <= 0.2 + 1e-6
    assert not torch.equal(moved, x)
    assert not moved.requires_grad


def test_of_several_starts_each_sample_keeps_the_one_of_highest_loss(toy: Any) -> None:
    art = toy.classifier()
    x, y = pair(toy)

    def crafted(starts: int, source: torch.Generator) -> Tensor:
        attack = ProjectedGradientDescent(art, num_random_init=starts, **{**NUMBERS, "max_iter": 2})
        return crafting.craft(art, attack, x, y, source)

    one_source = generator()
    runs = torch.stack([crafted(1, one_source) for _ in range(3)])
    with torch.no_grad():
        losses = torch.stack([cross_entropy(art.model(run), y, reduction="none") for run in runs])
    expected = runs[losses.argmax(0), torch.arange(len(x))]
    assert len(set(losses.argmax(0).tolist())) > 1
    torch.testing.assert_close(crafted(3, generator()), expected, rtol=0, atol=0)
    assert torch.equal(crafted(1, generator()), runs[0])
    assert not torch.equal(crafted(1, generator(6)), runs[0])


def test_a_radius_of_zero_moves_nothing(toy: Any) -> None:
    art, (x, y) = toy.classifier(), pair(toy)
    for starts in (0, 1, 3):
        attack = ProjectedGradientDescent(art, eps=0.0, eps_step=0.1, max_iter=2, num_random_init=starts, verbose=False)
        assert torch.equal(crafting.craft(art, attack, x, y, generator(), start_std=0.1), x)


def test_the_divergence_has_no_gradient_at_the_clean_input_and_rises_from_noise(toy: Any) -> None:
    art, (x, y) = toy.classifier(), pair(toy)
    objective = crafting.divergence(art, x, y)
    start = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(start).sum(), start)
    assert float(gradient.abs().max()) < 1e-6
    attack = ProjectedGradientDescent(art, **NUMBERS)
    moved = crafting.craft(art, attack, x, y, generator(), target=crafting.divergence, start_std=0.001)
    noise = NormBall(np.inf, 0.2, (0.0, 1.0)).random_start(x, generator())
    with torch.no_grad():
        assert float(objective(moved).mean()) > 2 * float(objective(noise).mean())


def test_weights_take_no_part_in_an_attack(toy: Any) -> None:
    seen: list[tuple[bool, bool]] = []
    art = toy.classifier(toy.network(nn.Dropout(0.5)))
    gradient = torch.full_like(art.model[0].weight, 0.25)
    art.model[0].weight.grad = gradient.clone()
    wanted = lambda module: any(p.requires_grad for p in module.parameters())  # noqa: E731
    art.model.register_forward_pre_hook(lambda module, _: seen.append((wanted(module), module.training)))
    trainer = toy.trainer(MadryPGDTrainer, art)
    art.model.train()
    trainer.craft(*pair(toy))
    assert seen == [(False, False)] * 3
    assert torch.equal(art.model[0].weight.grad, gradient)
    assert all(p.grad is None for name, p in art.model.named_parameters() if name != "0.weight")
    assert all(module.training for module in art.model.modules())
    assert all(p.requires_grad for p in art.model.parameters())


def test_weights_receive_no_gradient_from_an_attack_of_art(toy: Any) -> None:
    art = toy.classifier()
    trainer = toy.trainer(MadryPGDTrainer, art, attack=FastGradientMethod(art, eps=0.1))
    trainer.craft(*pair(toy))
    assert all(p.grad is None and p.requires_grad for p in art.model.parameters())


# --- the compatible path ---


OTHERS: dict[str, Any] = {
    "fast_gradient": lambda art: FastGradientMethod(art, eps=0.2),
    "auto_pgd": lambda art: AutoProjectedGradientDescent(
        art, eps=0.2, eps_step=0.1, max_iter=4, nb_random_init=1, loss_type="cross_entropy", verbose=False
    ),
    "carlini_l2": lambda art: CarliniL2Method(art, max_iter=3, binary_search_steps=2, verbose=False),
    "square": lambda art: SquareAttack(art, eps=0.2, max_iter=5, verbose=False),
    "momentum": lambda art: ProjectedGradientDescent(art, decay=0.9, **NUMBERS),
    "momentum_torch": lambda art: ProjectedGradientDescentPyTorch(art, decay=0.9, **NUMBERS),
    "momentum_method": lambda art: MomentumIterativeMethod(art, eps=0.2, eps_step=0.05, max_iter=3, verbose=False),
    "random_radius": lambda art: ProjectedGradientDescent(art, random_eps=True, **NUMBERS),
    "radius_of_each_feature": lambda art: ProjectedGradientDescent(
        art, **{**NUMBERS, "eps": np.full(4, 0.2), "eps_step": np.full(4, 0.05)}
    ),
    "norm_3": lambda art: ProjectedGradientDescent(art, norm=3, **NUMBERS),
    "numpy": lambda art: ProjectedGradientDescentNumpy(art, **NUMBERS),
}


def picture_classifier(toy: Any) -> Any:
    model = toy.seeded(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))
    return toy.classifier(model, input_shape=(1, 6, 6))


def pictures(n: int = 8) -> tuple[Tensor, Tensor]:
    source = np.random.default_rng(4)
    return torch.from_numpy(source.random((n, 1, 6, 6), dtype=np.float32)), torch.from_numpy(source.integers(0, 3, n))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_any_other_attack_is_run_as_it_is(toy: Any, name: str) -> None:
    art = picture_classifier(toy) if name == "square" else toy.classifier()
    x, y = pictures() if name == "square" else pair(toy)
    state: Any = np.random.get_state()  # noqa: NPY002
    try:
        moved = []
        for run in range(2):
            attack = OTHERS[name](art)
            assert crafting.projected_gradient(art, attack) is None
            np.random.seed(3)  # noqa: NPY002
            trainer = toy.trainer(MadryPGDTrainer, art, attack=attack)
            moved.append(trainer.craft(x, y).numpy() if run else attack.generate(x.numpy(), y.numpy()))
    finally:
        np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(moved[1], moved[0])
    assert name == "carlini_l2" or np.abs(moved[0] - x.numpy()).max() > 0.05


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["fast_gradient", "auto_pgd", "carlini_l2", "square"])
def test_training_against_any_attack_goes_to_the_end(toy: Any, name: str) -> None:
    art = picture_classifier(toy) if name == "square" else toy.classifier()
    x, y = pictures() if name == "square" else pair(toy)
    trainer = toy.trainer(MIMAETrainer, art, attack=OTHERS[name](art))
    before = toy.weights(art)
    trainer.fit(x, y, validation_data=(x, y), batch_size=12, nb_epochs=1)
    assert toy.weights(art) != before
    assert trainer.history[0]["robust_accuracy"] <= trainer.history[0]["clean_accuracy"]


def test_a_subclass_of_projected_gradient_descent_is_run_as_it_is(toy: Any) -> None:
    class Still(ProjectedGradientDescentPyTorch):  # type: ignore[misc]
        def generate(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
            return x + np.float32(0.01)

    art, (x, y) = toy.classifier(clip_values=None), pair(toy)
    torch.testing.assert_close(crafting.craft(art, Still(art, **NUMBERS), x, y, None), x + 0.01)


def test_langevin_stays_on_tensors_and_draws_from_the_trainers_generator(toy: Any) -> None:
    art, (x, y) = toy.classifier(), pair(toy)
    attack = LangevinMonteCarlo(art, eps=0.2, eps_step=0.1, max_iter=3, temperature=1e-2, random_state=1, verbose=False)
    state = attack._generator.get_state()
    trainer = toy.trainer(DALETrainer, art, attack=attack, random_state=9)
    found = trainer.craft(x, y)
    assert torch.equal(found, attack.perturb(x, y, generator(9)))
    assert not torch.equal(trainer.craft(x, y), found)
    assert torch.equal(attack._generator.get_state(), state)


@pytest.mark.parametrize("name", ["plain", "fast_gradient", "langevin"])
@pytest.mark.parametrize("kind", [MadryPGDTrainer, TRADESTrainer, DALETrainer])
def test_an_attack_comes_out_unmodified(toy: Any, kind: type[Any], name: str) -> None:
    art = toy.classifier()
    attacks = {
        "plain": toy.attack,
        "langevin": lambda art: LangevinMonteCarlo(art, max_iter=2, verbose=False),
        **OTHERS,
    }
    attack = attacks[name](art)
    before = dict(vars(attack)), dict(vars(getattr(attack, "_attack", attack)))
    trainer = toy.trainer(kind, art, attack=attack)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=12, nb_epochs=1)
    assert (vars(attack), vars(getattr(attack, "_attack", attack))) == before
    assert trainer.attack is attack


def test_one_hot_and_index_labels_reach_an_attack_as_indices(toy: Any) -> None:
    labels = []

    class Noting(FastGradientMethod):  # type: ignore[misc]
        def generate(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
            labels.append(y)
            return super().generate(x, y, **kwargs)

    art = toy.classifier()
    trainer = toy.trainer(MadryPGDTrainer, art, attack=Noting(art, eps=0.1))
    for y in (toy.y(), np.eye(3)[toy.y()]):
        trainer.fit(toy.x(), y, batch_size=24, nb_epochs=1)
    np.testing.assert_array_equal(labels[0], labels[1])
    assert labels[0].shape == (24,)


# --- bad input ---


def test_attacks_that_cannot_be_trained_against_are_refused(toy: Any) -> None:
    art, other = toy.classifier(), toy.classifier()
    with pytest.raises(ValueError, match=r"`attack` must be untargeted, got a targeted ProjectedGradientDescent"):
        MadryPGDTrainer(art, toy.attack(art, targeted=True))
    with pytest.raises(ValueError, match=r"`attack` must attack the model of `classifier`, got a Projected.* on anoth"):
        MadryPGDTrainer(art, toy.attack(other))
    with pytest.raises(TypeError, match=r"`attack` must be an ART EvasionAttack, got PoisoningAttackBackdoor"):
        MadryPGDTrainer(art, PoisoningAttackBackdoor(lambda x: x))
    with pytest.raises(TypeError, match=r"`attack` must be an ART EvasionAttack, got list"):
        TRADESTrainer(art, [toy.attack(art)])
    with pytest.raises(TypeError, match=r"`attack` must be an ART EvasionAttack, got NoneType"):
        TRADESTrainer(art, None)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'attack'"):
        DALETrainer(art)


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "square"])
def test_worst_case_information_needs_a_plain_projected_gradient(toy: Any, name: str) -> None:
    art = toy.classifier()
    with pytest.raises(TypeError, match=r"`attack` must be a plain ART ProjectedGradientDescent of norm inf, 2 or 1"):
        WorstCaseMITrainer(art, OTHERS[name](art), layer="0")


def test_an_attack_must_keep_the_shape_of_its_inputs(toy: Any) -> None:
    art, (x, y) = picture_classifier(toy), pictures()
    attack = AdversarialPatchPyTorch(art, patch_shape=(1, 3, 3), max_iter=1, targeted=False, verbose=False)
    trainer = toy.trainer(MadryPGDTrainer, art, attack=attack)
    with pytest.raises(ValueError, match=r"`attack` must keep the shape \(8, 1, 6, 6\) of its inputs"):
        trainer.fit(x, one_hot(y, 3), nb_epochs=1)
