"""Every script of `examples/` runs as it is printed, and what it computed is as it should be."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


def _a_defence_and_its_vulnerability(found: dict[str, Any]) -> None:
    measured = {r["epoch"]: r["vulnerability"] for r in found["trainer"].history if "vulnerability" in r}
    assert list(measured) == [5, 10]
    assert all(0 < value < math.log(250) for value in measured.values())
    assert 0.5 < found["accuracies"]["PGD-5"] < found["accuracies"]["clean"]


def _dale_with_a_margin(found: dict[str, Any]) -> None:
    history, rho = found["trainer"].history, found["rho"]
    assert history[-1]["clean"] < 1.1 * rho < history[2]["clean"]
    assert history[1]["nu"] == pytest.approx(0.2), "it waits for two epochs"
    assert max(record["nu"] for record in history) > 0.2
    assert (found["predicted"] == found["data"].y_test).mean() > 0.9


def _langevin_as_an_attack(found: dict[str, Any]) -> None:
    accuracies = found["accuracies"]
    assert abs(accuracies["Langevin, no noise"] - accuracies["PGD-10"]) < 0.05
    assert accuracies["Langevin, no noise"] < accuracies["Langevin, T 1"] - 0.05
    assert all(0.119 < size < 0.12 + 1e-6 for size in found["sizes"].values())


def _robustness_card(found: dict[str, Any]) -> None:
    record = found["record"]
    attacked = [attack.accuracy.value for attack in record.robustness.attacks.values()]
    assert len(attacked) == 2
    assert record.robustness.worst_case.value <= min(attacked) < record.robustness.clean.value
    assert record.representation.worst_case.upper < record.representation.normal.lower
    assert f"{100 * record.robustness.worst_case.value:.1f}" in Path("card.html").read_text(encoding="utf-8")


def _vulnerability_beside_art_metrics(found: dict[str, Any]) -> None:
    assert 0.02 < found["smallest"] < 0.5
    assert all(0.1 < value < math.log(500) for value in found["vulnerability"].values())
    assert set(found["vulnerability"]) == {"features", "logits"}


def _vulnerability_of_a_classifier(found: dict[str, Any]) -> None:
    result = found["result"]
    assert result.worst_case.upper < result.normal.lower
    noisier, quieter = result.sweep
    assert noisier.normal.value < quieter.normal.value
    assert result.layer == "6"


def _worst_case_mi_encoder(found: dict[str, Any]) -> None:
    encoder, head = found["encoder"], found["head"]
    assert encoder[-1]["worst_case"] > encoder[0]["worst_case"] + 0.5
    assert len(head) == 10
    assert head[-1]["loss"] < head[0]["loss"]
    assert 0.2 < found["accuracies"]["PGD-5"] < found["accuracies"]["clean"]


RELATIONS = {
    check.__name__.removeprefix("_"): check
    for check in (
        _a_defence_and_its_vulnerability,
        _dale_with_a_margin,
        _langevin_as_an_attack,
        _robustness_card,
        _vulnerability_beside_art_metrics,
        _vulnerability_of_a_classifier,
        _worst_case_mi_encoder,
    )
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_computes_what_it_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out
    RELATIONS[name](found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_at_most_60_lines(name):
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_printed_in_the_documentation(name):
    assert f"../examples/{name}.py" in (FOLDER.parent / "docs/scripts.md").read_text(encoding="utf-8")


def test_every_relation_is_of_a_script():
    assert sorted(RELATIONS) == SCRIPTS
