"""AutoAttack by its authors' package, by ART's, or an error that says what to install."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import AutoAttack
from art.estimators.classification import PyTorchClassifier

from art_mi.evaluation import auto_attack as module
from art_mi.evaluation import evaluate_robustness
from art_mi.evaluation.auto_attack import StandardAutoAttack, auto_attack

EPS = 0.02
OPTIONS: dict[str, Any] = {"norm": np.inf, "eps": EPS, "batch_size": 64, "random_state": 0}


@pytest.fixture
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square's 5,000 queries are most of the time."""
    package = pytest.importorskip("pyautoattack")
    whole = package.AutoAttack

    def short(*args: Any, **kwargs: Any) -> Any:
        official = whole(*args, **kwargs)
        official.square.n_queries = 20
        return official

    monkeypatch.setattr(package, "AutoAttack", short)


@pytest.mark.parametrize("nb_classes", [2, 3, 4])
@pytest.mark.usefixtures("few_queries")
def test_with_few_classes_it_breaks_what_can_be_broken(nb_classes: int, toy: Any) -> None:
    art = toy.classifier(nb_classes=nb_classes)
    found = evaluate_robustness(
        art, toy.x(), toy.y(), eps=EPS, attacks=("AutoAttack",), checks=False, verbose=False
    ).attacks["AutoAttack"]
    assert found.settings["attack"] == "StandardAutoAttack"
    assert np.array_equal(found.accuracy.correct, toy.robust(EPS))


@pytest.mark.usefixtures("few_queries")
def test_a_box_other_than_0_to_1_is_moved_there_and_back(toy: Any) -> None:
    art = toy.classifier(toy.through(toy.classifier().model, lambda x: (x + 1) / 4), clip_values=(-1.0, 3.0))
    x = 4 * toy.x() - 1
    x_adv = StandardAutoAttack(art, **{**OPTIONS, "eps": 4 * EPS}).generate(x, toy.y())
    assert np.array_equal(art.predict(x_adv).argmax(1) == toy.y(), toy.robust(EPS))
    assert np.abs(x_adv - x).max() <= 4 * EPS * (1 + 1e-4)
    kept = toy.robust(EPS)
    assert np.array_equal(x_adv[kept], x[kept])


@pytest.mark.usefixtures("few_queries")
def test_without_labels_it_takes_the_predictions_and_it_leaves_tracers_alone(toy: Any) -> None:
    art = toy.classifier()
    x, before = toy.x()[:6], sys.gettrace()

    def tracer(*_: Any) -> None:
        return None

    sys.settrace(tracer)
    try:
        x_adv = StandardAutoAttack(art, **OPTIONS).generate(x)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    labels = art.predict(x).argmax(1)
    assert np.array_equal(x_adv, StandardAutoAttack(art, **OPTIONS).generate(x, labels))


def test_vectors_are_attacked_without_square(toy: Any) -> None:
    pytest.importorskip("pyautoattack")
    model = torch.nn.Linear(5, 3)
    art = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), (5,), 3, clip_values=(0.0, 1.0))
    official = StandardAutoAttack(art, **OPTIONS)._official(0.0, 1.0)
    assert official.attacks_to_run == ["apgd-ce", "apgd-dlr", "fab-t"]


def _installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object() if name in packages else None)


def test_arts_own_is_taken_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch, toy: Any) -> None:
    _installed(monkeypatch, "multiprocess")
    attack = auto_attack(toy.classifier(), **OPTIONS)
    assert type(attack) is AutoAttack
    assert (attack.norm, attack.eps, attack.batch_size) == (np.inf, EPS, 64)


def test_arts_own_is_taken_where_the_box_differs_between_features(monkeypatch: pytest.MonkeyPatch, toy: Any) -> None:
    _installed(monkeypatch, "multiprocess", "pyautoattack")
    per_feature = (np.zeros((1, 6, 6)), np.ones((1, 6, 6)))
    assert type(auto_attack(toy.classifier(clip_values=per_feature), **OPTIONS)) is AutoAttack


def test_where_neither_can_run_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, toy: Any) -> None:
    _installed(monkeypatch)
    with pytest.raises(ValueError, match=r"needs the package pyautoattack .* or for ART's the package multiprocess"):
        auto_attack(toy.classifier(), **OPTIONS)
