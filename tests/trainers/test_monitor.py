"""Callbacks see every record, may add to it and may end the training; they change nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from art_mi import WorstCaseMIEstimator
from art_mi.trainers import MadryPGDTrainer, RVMonitor, StandardTrainer, TensorBoard

N = 150


def fit(toy: Any, *callbacks: Any, nb_epochs: int = 3, **options: Any) -> Any:
    trainer = toy.trainer(MadryPGDTrainer)
    trainer.fit(toy.x(), toy.y(), batch_size=12, nb_epochs=nb_epochs, callbacks=callbacks, **options)
    return trainer


def test_callbacks_see_every_record_in_turn_and_may_add_to_it(toy: Any) -> None:
    seen: list[tuple[Any, list[str]]] = []

    def first(trainer: Any, record: dict[str, Any]) -> None:
        seen.append((trainer, list(record)))
        record["weight_norm"] = float(trainer.classifier.model[0].weight.detach().norm())

    def second(trainer: Any, record: dict[str, Any]) -> None:
        seen.append((trainer, list(record)))

    trainer = fit(toy, first, second, validation_data=(toy.x(), toy.y()))
    keys = ["epoch", "lr", "loss", "clean_accuracy", "robust_accuracy"]
    assert seen == [(trainer, keys), (trainer, [*keys, "weight_norm"])] * 3
    assert [list(record) for record in trainer.history] == [[*keys, "weight_norm"]] * 3
    assert len({record["weight_norm"] for record in trainer.history}) == 3


def test_a_callback_may_end_the_training(toy: Any) -> None:
    later: list[int] = []
    stop = lambda trainer, record: record["epoch"] == 2  # noqa: E731
    trainer = fit(toy, stop, lambda trainer, record: later.append(record["epoch"]), nb_epochs=5)
    assert [record["epoch"] for record in trainer.history] == later == [1, 2]


def test_an_error_in_a_callback_reaches_the_caller(toy: Any) -> None:
    def broken(trainer: Any, record: dict[str, Any]) -> None:
        raise KeyError("broken on purpose")

    with pytest.raises(KeyError, match="broken on purpose"):
        fit(toy, broken)


def test_the_monitor_records_what_the_estimator_gives(toy: Any) -> None:
    options: dict[str, Any] = {"eps": 0.1, "max_iter": 3, "layer": "1", "random_state": 4}
    expected = []
    estimator = WorstCaseMIEstimator(verbose=False, **options)

    def by_hand(trainer: Any, record: dict[str, Any]) -> None:
        expected.append(estimator.evaluate(trainer.classifier, toy.x(N)))

    trainer = fit(toy, RVMonitor(toy.x(N), every=2, **options), by_hand, nb_epochs=4)
    names = ("normal_information", "worst_case_information", "vulnerability")
    found = [[record.get(name) for name in names] for record in trainer.history]
    values = [[r.normal.value, r.worst_case.value, r.vulnerability.value] for r in expected]
    assert found == [[None] * 3, values[1], [None] * 3, values[3]]
    assert values[1] != values[3]


def test_the_monitor_does_not_change_the_training(toy: Any) -> None:
    watched, alone = fit(toy, RVMonitor(toy.x(N), eps=0.1, max_iter=2)), fit(toy)
    assert toy.weights(watched.classifier) == toy.weights(alone.classifier)


@pytest.mark.parametrize("every", [0, -1, 1.5, "2", True])
def test_the_monitor_refuses_an_interval_that_is_no_count(toy: Any, every: Any) -> None:
    with pytest.raises(ValueError, match=r"`every` must be an integer of at least 1, got"):
        RVMonitor(toy.x(N), every=every, eps=0.1)


def test_the_monitor_refuses_what_the_estimator_refuses(toy: Any) -> None:
    with pytest.raises(ValueError, match=r"`eps` must be a number, or `attack` be given, got None"):
        RVMonitor(toy.x(N))
    with pytest.raises(ValueError, match=r"`x` must hold at least 100 samples, got 24"):
        RVMonitor(toy.x(24), eps=0.1)
    with pytest.raises(TypeError, match="epsilon"):
        RVMonitor(toy.x(N), epsilon=0.1)


def test_tensorboard_reads_back_every_number_of_the_records(toy: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def add(trainer: Any, record: dict[str, Any]) -> None:
        record["note"], record["count"] = "not a number", 7

    trainer = toy.trainer(StandardTrainer)
    trainer.fit(
        toy.x(),
        toy.y(),
        validation_data=(toy.x(), toy.y()),
        validate_every=2,
        nb_epochs=3,
        callbacks=[add, TensorBoard(tmp_path / "events")],
    )
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    names = {"lr", "loss", "count", "clean_accuracy", "robust_accuracy"}
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        found = {event.step: event.value for event in events.Scalars(name)}
        expected = {record["epoch"]: record[name] for record in trainer.history if name in record}
        assert found == pytest.approx(expected)
