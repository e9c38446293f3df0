"""Validated accuracies are those that ART measures by hand; the best weights are kept, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import (
    DeepFool,
    FastGradientMethod,
    ProjectedGradientDescent,
    ProjectedGradientDescentPyTorch,
)
from torch import nn

from art_mi.attacks import LangevinMonteCarlo
from art_mi.trainers import DALETrainer, MadryPGDTrainer, MIMAETrainer, StandardTrainer, TRADESTrainer, loop
from art_mi.trainers.validation import Validation

N = 60


def data(toy: Any) -> tuple[Any, Any]:
    return toy.x(N), toy.y(N)


def by_hand(toy: Any, art: Any, attack: Any) -> dict[str, float]:
    x, y = data(toy)
    clean = art.predict(x).argmax(1) == y
    robust = clean & (art.predict(attack.generate(x, y)).argmax(1) == y)
    return {"clean_accuracy": float(clean.mean()), "robust_accuracy": float(robust.mean())}


def twenty_steps(art: Any, norm: Any, eps: float) -> Any:
    return ProjectedGradientDescent(art, norm=norm, eps=eps, eps_step=eps / 8, max_iter=20, verbose=False)


# --- what is measured ---


@pytest.mark.parametrize(("norm", "eps"), [(np.inf, 0.05), ("inf", 0.1), (2, 0.2)])
def test_accuracies_are_those_of_arts_own_prediction_and_attack(toy: Any, norm: Any, eps: float) -> None:
    art = toy.classifier(toy.network(nn.BatchNorm1d(8), nn.Dropout(0.3)), clip_values=(-1.0, 2.0), lr=0.5)
    trainer = toy.trainer(StandardTrainer, art, attack=toy.attack(art, norm=norm, eps=eps, eps_step=eps))
    trainer.fit(*data(toy), validation_data=data(toy), batch_size=10, nb_epochs=3, restore_best=False)
    found = {name: trainer.history[-1][name] for name in ("clean_accuracy", "robust_accuracy")}
    assert found == pytest.approx(by_hand(toy, art, twenty_steps(art, norm, eps)))
    assert 0 < found["robust_accuracy"] < found["clean_accuracy"]


def test_labels_may_be_one_hot_and_batches_small(toy: Any) -> None:
    trainer = toy.trainer(MadryPGDTrainer)
    x, y = data(toy)
    whole = Validation.of(trainer, (x, y), None)
    one_hot = Validation.of(trainer, [torch.from_numpy(x), np.eye(3)[y]], None)
    small = replace(whole, batch_size=7)
    assert whole.measure() == one_hot.measure() == small.measure()


@pytest.mark.parametrize("factor", [30.0, 1e4])
def test_no_network_looks_more_robust_because_its_logits_grow(toy: Any, factor: float) -> None:
    def rates(factor: float) -> dict[str, float]:
        art = toy.classifier()
        art.model[-1].weight.data *= factor
        art.model[-1].bias.data *= factor
        return Validation.of(toy.trainer(MadryPGDTrainer, art), data(toy), None).measure()

    assert rates(factor)["robust_accuracy"] <= rates(1.0)["robust_accuracy"] < rates(1.0)["clean_accuracy"]


def test_an_attack_of_random_radius_is_validated_at_the_one_it_was_given(toy: Any) -> None:
    art = toy.classifier()
    attack = ProjectedGradientDescentPyTorch(art, eps=0.2, eps_step=0.1, max_iter=2, random_eps=True, verbose=False)
    trainer = MadryPGDTrainer(art, attack, verbose=False)
    trainer.fit(*data(toy), validation_data=data(toy), nb_epochs=2, restore_best=False)
    assert (attack.eps, attack.eps_step) == (0.2, 0.1)
    expected = by_hand(toy, art, twenty_steps(art, np.inf, 0.2))
    assert trainer.history[-1]["robust_accuracy"] == pytest.approx(expected["robust_accuracy"])


def test_an_attack_may_be_chosen_for_validation(toy: Any) -> None:
    art = toy.classifier()
    trainer, weak = toy.trainer(MadryPGDTrainer, art), FastGradientMethod(art, eps=0.02)
    trainer.fit(*data(toy), validation_data=data(toy), validation_attack=weak, nb_epochs=2, restore_best=False)
    expected = by_hand(toy, art, weak)
    assert trainer.history[-1]["robust_accuracy"] == pytest.approx(expected["robust_accuracy"])
    assert expected != by_hand(toy, art, twenty_steps(art, np.inf, 0.1))


def test_the_ball_of_any_attack_that_has_one_is_validated_by_projected_gradients(toy: Any) -> None:
    art = toy.classifier()
    attacks = [
        toy.attack(art, eps=0.1, eps_step=0.1),
        FastGradientMethod(art, eps=0.1, eps_step=0.1),
        LangevinMonteCarlo(art, eps=0.1, verbose=False),
    ]
    found = [Validation.of(toy.trainer(TRADESTrainer, art, attack=a), data(toy), None).measure() for a in attacks]
    assert found[0] == found[1] == found[2] == pytest.approx(by_hand(toy, art, twenty_steps(art, np.inf, 0.1)))


def test_the_default_attack_takes_twenty_steps_of_an_eighth_of_the_radius_from_the_input(toy: Any) -> None:
    art, seen = toy.classifier(clip_values=None), []
    art.model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    x, y = data(toy)
    Validation.of(toy.trainer(MadryPGDTrainer, art), (x, y), None).measure()
    assert len(seen) == 1 + 20 + 1
    np.testing.assert_array_equal(seen[1].numpy(), x)
    np.testing.assert_allclose((seen[2] - seen[1]).abs().numpy(), 0.1 / 8, rtol=1e-4)


def test_an_attack_without_a_ball_is_validated_as_it_is(toy: Any) -> None:
    art = toy.classifier()
    attack = DeepFool(art, max_iter=10, verbose=False)
    found = Validation.of(toy.trainer(MadryPGDTrainer, art, attack=attack), data(toy), None).measure()
    assert found == pytest.approx(by_hand(toy, art, attack))
    assert found["robust_accuracy"] < found["clean_accuracy"]


def test_without_an_attack_the_clean_accuracy_is_all(toy: Any) -> None:
    found = Validation.of(toy.trainer(StandardTrainer, attack=None), data(toy), None).measure()
    assert set(found) == {"clean_accuracy"}


def test_a_sample_that_an_attack_corrects_is_not_robust(toy: Any) -> None:
    class Helping(FastGradientMethod):  # type: ignore[misc]
        def generate(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
            return 2 * x - super().generate(x, y, **kwargs)

    art = toy.classifier(clip_values=None)
    attack = Helping(art, eps=0.5)
    x, y = data(toy)
    found = Validation.of(toy.trainer(MadryPGDTrainer, art, attack=attack), (x, y), attack).measure()
    assert (art.predict(attack.generate(x, y)).argmax(1) == y).mean() > found["clean_accuracy"]
    assert found["robust_accuracy"] <= found["clean_accuracy"]


def test_a_measurement_with_random_starts_is_repeatable_and_leaves_the_trainers_generator(toy: Any) -> None:
    art = toy.classifier()
    attack = toy.attack(art, num_random_init=1, max_iter=1)
    trainer = toy.trainer(MadryPGDTrainer, art, attack=attack)
    validation, state = Validation.of(trainer, data(toy), attack), trainer.generator.get_state()
    assert validation.measure() == validation.measure()
    assert torch.equal(trainer.generator.get_state(), state)


# --- when, and what for ---


def test_records_hold_what_was_measured_in_order(toy: Any) -> None:
    trainer = toy.trainer(TRADESTrainer)
    trainer.fit(*data(toy), validation_data=data(toy), batch_size=20, nb_epochs=5, validate_every=2)
    keys = [list(record) for record in trainer.history]
    plain = ["epoch", "lr", "loss", "clean", "divergence"]
    validated = [*plain, "clean_accuracy", "robust_accuracy"]
    assert keys == [plain, validated, plain, validated, validated]  # the last epoch is always validated
    assert all(isinstance(value, int | float) for record in trainer.history for value in record.values())
    trainer.fit(*data(toy), batch_size=20, nb_epochs=1)
    assert [list(record) for record in trainer.history] == [plain]


@pytest.mark.parametrize(("kind", "term"), [(MIMAETrainer, "mi="), (DALETrainer, "nu=")])
def test_the_progress_bar_shows_terms_and_the_last_accuracies(
    toy: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Any], term: str
) -> None:
    monkeypatch.setattr(loop, "tqdm", partial(loop.tqdm, mininterval=0.0, ncols=300))  # not the terminal's width
    options = {"validation_data": data(toy), "validate_every": 2, "log_every": 1, "batch_size": 20, "nb_epochs": 4}
    for verbose in (False, True):
        art = toy.classifier()
        kind(art, toy.attack(art), verbose=verbose).fit(*data(toy), **options)
        lines = capsys.readouterr().err.split("\r")
        later = [line for line in lines if f"{kind.__name__} 4/4" in line]
        assert (lines == [""]) == (not verbose)
        assert bool(later) == verbose
        assert all(text in line for line in later for text in (term, "robust_accuracy=", "clean_accuracy="))


def test_validation_does_not_change_the_training(toy: Any) -> None:
    weights = []
    for validated in (False, True):
        art = toy.classifier(toy.network(nn.BatchNorm1d(8), nn.Dropout(0.3)))
        trainer = toy.trainer(MadryPGDTrainer, art, attack=toy.attack(art, num_random_init=1))
        attack = FastGradientMethod(art, eps=0.1, num_random_init=2)
        extra = {"validation_data": data(toy), "validation_attack": attack, "restore_best": False}
        trainer.fit(*data(toy), batch_size=20, nb_epochs=3, **(extra if validated else {}))
        weights.append(toy.weights(art))
    assert weights[0] == weights[1]


def worsening(toy: Any, art: Any, **options: Any) -> Any:
    """A run whose third and fourth epochs undo what was learnt."""
    rates = torch.optim.lr_scheduler.LambdaLR(art.optimizer, lambda epoch: 1.0 if epoch < 2 else -5.0)
    trainer = toy.trainer(MadryPGDTrainer, art)
    trainer.fit(*data(toy), validation_data=data(toy), batch_size=10, nb_epochs=4, scheduler=rates, **{**options})
    return trainer


def test_the_weights_of_the_best_validation_come_back(toy: Any) -> None:
    art, last = toy.classifier(lr=0.5), toy.classifier(lr=0.5)
    trainer = worsening(toy, art)
    robust = [record["robust_accuracy"] for record in trainer.history]
    assert robust[-1] < max(robust)
    expected = trainer.history[int(np.argmax(robust))]
    attack = twenty_steps(art, np.inf, 0.1)
    assert by_hand(toy, art, attack) == pytest.approx({k: expected[k] for k in ("clean_accuracy", "robust_accuracy")})
    trainer = worsening(toy, last, restore_best=False)
    found = by_hand(toy, last, twenty_steps(last, np.inf, 0.1))
    assert found["robust_accuracy"] == pytest.approx(robust[-1])


def test_of_equal_validations_the_first_is_kept(toy: Any) -> None:
    art = toy.classifier(lr=1e-6)
    states = []
    trainer = toy.trainer(MadryPGDTrainer, art)
    note = lambda trainer, _: states.append(toy.weights(trainer.classifier))  # noqa: E731
    trainer.fit(*data(toy), validation_data=data(toy), nb_epochs=3, callbacks=[note])
    assert len({record["robust_accuracy"] for record in trainer.history}) == 1
    assert states[0] != states[-1]
    assert toy.weights(art) == states[0]


@pytest.mark.parametrize(("patience", "validate_every", "epochs"), [(1, 1, 2), (2, 1, 3), (1, 2, 4), (9, 1, 6)])
def test_patience_counts_validations_without_improvement(
    toy: Any, patience: int, validate_every: int, epochs: int
) -> None:
    trainer = toy.trainer(MadryPGDTrainer, toy.classifier(lr=0.0))
    options = {"patience": patience, "validate_every": validate_every}
    trainer.fit(*data(toy), validation_data=data(toy), nb_epochs=6, **options)
    assert len(trainer.history) == epochs
