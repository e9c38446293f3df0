"""Do the defences defend? Real images, ART's PGD-20, three seeds; the table is printed with `pytest -s`."""

from __future__ import annotations

import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi.attacks import LangevinMonteCarlo
from art_mi.datasets import load
from art_mi.evaluation import accuracy, attacked_accuracy, standard_attacks
from art_mi.models import small_cnn
from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MARTTrainer,
    MIMAETrainer,
    StandardTrainer,
    TRADESTrainer,
    WorstCaseMITrainer,
)

DATA = load("digits")
EPS = 0.12

seeds = pytest.mark.parametrize("seed", [0, 1, 2])


def pgd(classifier, eps):
    return ProjectedGradientDescentPyTorch(
        classifier, eps=eps, eps_step=eps / 4, max_iter=5, num_random_init=1, verbose=False
    )


def langevin(classifier, eps):
    return LangevinMonteCarlo(classifier, eps=eps, eps_step=eps / 4, max_iter=5, num_random_init=1, verbose=False)


def trained(kind, seed, eps=EPS, attack=pgd, nb_epochs=20, **options):
    model = small_cnn((1, 8, 8), 10, random_state=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )
    trainer = kind(classifier, attack(classifier, eps), random_state=seed, verbose=False, **options)
    trainer.fit(DATA.x_train, DATA.y_train, nb_epochs=nb_epochs)
    return trainer


def rates(trainer, eps=EPS):
    """Clean and PGD-20 accuracy of 500 test images."""
    classifier = trainer.classifier
    attack = standard_attacks(classifier, eps)["PGD-20"]
    clean = accuracy(classifier, DATA.x_test, DATA.y_test)
    robust = attacked_accuracy(classifier, attack, DATA.x_test, DATA.y_test)
    low, high = robust.confidence_interval
    name, seed = type(trainer).__name__, trainer.random_state
    print(
        f"\n{name:<20} seed {seed} eps {eps} clean {clean.value:.1%} PGD-20 {robust.value:.1%} [{low:.1%}, {high:.1%}]"
    )
    return clean.value, robust.value


@pytest.mark.slow
@seeds
def test_every_defence_beats_standard_training_under_attack_and_ours_keep_up_with_madry(seed):
    _, standard = rates(trained(StandardTrainer, seed))
    clean, madry = rates(trained(MadryPGDTrainer, seed))
    assert madry > standard + 0.3
    for kind in (TRADESTrainer, MARTTrainer):
        assert rates(trained(kind, seed))[1] > standard + 0.3
    assert rates(trained(MIMAETrainer, seed))[1] >= madry - 0.02
    # A margin wide enough to be slack: DALE's clean accuracy is then Madry's
    dale_clean, dale = rates(trained(DALETrainer, seed, attack=langevin, rho=1.0, dual_step="batch", dual_lr=0.01))
    assert dale_clean == pytest.approx(clean, abs=0.02)
    assert dale >= madry - 0.02


@pytest.mark.slow
@seeds
def test_the_dual_variable_of_dale_holds_the_clean_loss_at_its_margin(seed):
    trainer = trained(DALETrainer, seed, eps=0.2, attack=langevin, rho=0.1, dual_step="batch", dual_lr=0.01)
    assert trainer.history[-1]["clean"] == pytest.approx(0.1, abs=0.02)
    assert trainer.duals["nu"] > 0.1


@pytest.mark.slow
@seeds
def test_at_a_tight_margin_dale_keeps_the_clean_accuracy_that_madry_loses(seed):
    madry, _ = rates(trained(MadryPGDTrainer, seed, eps=0.3), eps=0.3)
    dale, _ = rates(
        trained(DALETrainer, seed, eps=0.3, attack=langevin, rho=0.2, dual_step="batch", dual_lr=0.05), eps=0.3
    )
    assert dale > madry + 0.02


@pytest.mark.slow
@seeds
def test_a_worst_case_encoder_lets_a_robust_head_stand_twenty_points_higher_than_a_normal_one(seed):
    options = {"layer": "features", "head": "robust", "critic_lr": 1e-3, "nb_epochs": 30, "head_epochs": 10}
    _, worst_case = rates(trained(WorstCaseMITrainer, seed, beta=1.0, **options))
    _, normal = rates(trained(WorstCaseMITrainer, seed, beta=0.0, **options))
    assert worst_case >= normal + 0.2
