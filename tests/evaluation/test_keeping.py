"""An interrupted evaluation goes on from the attacks it finished, and ends as an uninterrupted one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_mi.evaluation import evaluate_robustness
from art_mi.results import RobustnessResult

EPS = 0.02


def evaluated(toy: Any, art: Any, out: Path | None, **options: Any) -> RobustnessResult:
    options = {"eps": EPS, "checks": False, "verbose": False, **options}
    return evaluate_robustness(art, options.pop("x", toy.x()), toy.y(), out=out, **options)


def timeless(result: RobustnessResult) -> RobustnessResult:
    return replace(result, attacks={name: replace(found, seconds=0.0) for name, found in result.attacks.items()})


def two(toy: Any, art: Any) -> dict[str, Any]:
    halves = (np.arange(40) % 2 == 0, np.arange(40) % 2 == 1)
    return {name: toy.told(art, half, eps=1.0) for name, half in zip(("first", "second"), halves, strict=True)}


def test_an_interrupted_evaluation_goes_on_and_ends_as_an_uninterrupted_one(tmp_path: Path, toy: Any) -> None:
    art = toy.classifier()
    attacks = two(toy, art)
    attacks["second"].interrupted = True
    with pytest.raises(KeyboardInterrupt):
        evaluated(toy, art, tmp_path, attacks=attacks, eps=1.0)
    attacks["second"].interrupted = False
    resumed = evaluated(toy, art, tmp_path, attacks=attacks, eps=1.0)
    assert (attacks["first"].calls, attacks["second"].calls) == (1, 2)
    whole = evaluated(toy, art, None, attacks=two(toy, art), eps=1.0)
    assert timeless(resumed) == timeless(whole)
    for name in attacks:
        assert np.array_equal(resumed.attacks[name].accuracy.correct, whole.attacks[name].accuracy.correct)
    assert np.array_equal(resumed.worst_case.correct, whole.worst_case.correct)


def test_a_second_call_runs_nothing_and_gives_the_same_with_its_checks(tmp_path: Path, toy: Any) -> None:
    art = toy.classifier()
    options: dict[str, Any] = {"attacks": ("FGSM", "PGD-20"), "checks": True}
    first = evaluated(toy, art, tmp_path, **options)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert evaluated(toy, art, tmp_path, **options) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == files


def test_one_more_attack_runs_alone(tmp_path: Path, toy: Any) -> None:
    art = toy.classifier()
    attacks = two(toy, art)
    evaluated(toy, art, tmp_path, attacks={"first": attacks["first"]})
    evaluated(toy, art, tmp_path, attacks=attacks)
    assert (attacks["first"].calls, attacks["second"].calls) == (1, 1)


def test_checks_are_made_anew_after_other_attacks(tmp_path: Path, toy: Any) -> None:
    art = toy.classifier()
    before = evaluated(toy, art, tmp_path, attacks=("FGSM",), checks=True)
    after = evaluated(toy, art, tmp_path, attacks=("FGSM", "PGD-20"), checks=True)
    assert "more steps" not in before.checks
    assert "more steps" in after.checks


@pytest.mark.parametrize("change", ["weights", "inputs", "eps", "seed", "parameter"])
def test_another_piece_of_work_starts_anew(change: str, tmp_path: Path, toy: Any) -> None:
    art, options = toy.classifier(), {}
    attack = two(toy, art)["first"]
    evaluated(toy, art, tmp_path, attacks={"first": attack})
    if change == "weights":
        with torch.no_grad():
            art.model.weight += 1e-3
    if change == "parameter":
        attack.label = "another"
    if change == "inputs":
        options["x"] = toy.x() * np.float32(0.999)
    options |= {"eps": {"eps": 0.03}, "seed": {"random_state": 1}}.get(change, {})
    evaluated(toy, art, tmp_path, attacks={"first": attack}, **options)
    assert attack.calls == 2
