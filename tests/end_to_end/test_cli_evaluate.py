"""`art-mi evaluate`: from a model and data to a folder that reports read."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from art_mi import assessment
from art_mi.cli import main
from art_mi.datasets import load
from art_mi.models import small_cnn
from art_mi.results import ModelRecord


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, a function that builds a model, and what a training run left."""
    digits = load("digits")
    np.savez(tmp_path / "data.npz", x=digits.x_test[:120], y=digits.y_test[:120])
    np.save(tmp_path / "inputs.npy", digits.x_test[:120])
    source = "from art_mi.models import small_cnn\ndef build():\n    return small_cnn((1, 8, 8), 10)\n"
    (tmp_path / "built.py").write_text(source)
    run = tmp_path / "my run"
    run.mkdir()
    save_file(small_cnn((1, 8, 8), 10, random_state=5).state_dict(), run / "model.safetensors")
    (run / "history.csv").write_text("epoch,loss,note\n1,2.5,\n2,1.5,best\n")
    (run / "results.json").write_text('{"accuracies": {}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


OPTIONS = ["evaluate", "--model", "built:build", "--data", "data.npz", "--eps", "8/255", "--quiet"]
WEIGHTS = ["--weights", "my run/model.safetensors"]
FEW = ["--attacks", "FGSM,PGD-20", "--checks=false", "--layer-profile=false", "--feature-profile=false", "--curve="]


def test_it_writes_a_record_and_prints_what_it_found(folder: Path, capsys: Any) -> None:
    assert main([*OPTIONS, *WEIGHTS, *FEW, "--layer", "features", "--out", "out"]) == 0
    record = ModelRecord.load(folder / "out")
    assert record.name == "out"
    assert record.robustness is not None
    assert list(record.robustness.attacks) == ["FGSM", "PGD-20"]
    assert record.robustness.eps == pytest.approx(8 / 255)
    assert record.representation is not None
    assert record.representation.layer == "features"
    assert record.history == ({"epoch": 1.0, "loss": 2.5, "note": ""}, {"epoch": 2.0, "loss": 1.5, "note": "best"})
    assert record.settings["samples"] == 120
    assert (record.layers, record.features, record.curve) == (None, None, None)
    out = capsys.readouterr().out
    for name, found in record.robustness.accuracies().items():
        assert f"{name:<20}{found.value:>7.1%} [{found.confidence_interval[0]:.1%}" in out
    assert f"{record.representation.vulnerability.value:.4f}" in out
    assert "UNDERSAMPLED" in out


def test_its_images_are_within_the_radius_and_predicted_by_the_model(folder: Path) -> None:
    assert main([*OPTIONS, *FEW, "--out", "out"]) == 0
    images = ModelRecord.load(folder / "out").images
    assert {name: len(rows) for name, rows in images.items()} == dict.fromkeys(
        ("x", "x_adv", "y", "predicted", "predicted_adv", "saliency_information", "saliency_loss"), 12
    )
    assert 0 < np.abs(images["x_adv"] - images["x"]).max() <= 8 / 255 + 1e-6


def test_the_command_in_the_record_repeats_it(folder: Path) -> None:
    assert main([*OPTIONS, *WEIGHTS, *FEW, "--name", "it's a <model>", "--random-state", "3", "--out", "out"]) == 0
    first = ModelRecord.load(folder / "out")
    assert first.command is not None
    words = shlex.split(first.command)
    assert words[0] == "art-mi"
    assert main([word.replace("--out=out", "--out=again") for word in words[1:]]) == 0
    again = ModelRecord.load(folder / "again")
    assert (again.name, again.representation) == ("it's a <model>", first.representation)
    assert again.robustness is not None
    assert first.robustness is not None
    assert again.robustness.accuracies() == first.robustness.accuracies()


def test_profiles_and_a_curve_are_part_of_it_where_asked_for(folder: Path) -> None:
    profiles = ["--layer", "logits", *FEW[:3], "--curve", "2/255,8/255"]
    assert main([*OPTIONS, *profiles, "--out", "out"]) == 0
    record = ModelRecord.load(folder / "out")
    assert record.layers is not None
    assert "features" in record.layers.layers
    assert record.features is not None
    assert [unit.unit for unit in record.features.units] == list(range(10))
    assert record.curve is not None
    assert record.curve.eps == (2 / 255, 8 / 255)


def test_an_interrupted_evaluation_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(assessment, "_images", interrupted)
        assert main([*OPTIONS, *FEW, "--out", "out"]) == 130
    assert "art-mi: interrupted" in capsys.readouterr().err
    kept = {path: path.read_bytes() for path in (folder / "out" / "finished").iterdir()}
    assert len(kept) == 3
    assert main([*OPTIONS, *FEW, "--out", "out"]) == 0
    assert {path: path.read_bytes() for path in kept} == kept
    with monkeypatch.context() as patched:  # all is finished: nothing is measured again
        patched.setattr(assessment, "WorstCaseMIEstimator", interrupted)
        assert main([*OPTIONS, *FEW, "--out", "out"]) == 0


def test_results_of_a_training_run_are_not_written_over(folder: Path, capsys: Any) -> None:
    assert main([*OPTIONS, *FEW, "--out", "my run"]) == 2
    assert "`out` must be a folder of its own, got 'my run' with other results" in capsys.readouterr().err
    assert json.loads((folder / "my run" / "results.json").read_text()) == {"accuracies": {}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "inputs.npy"], "`data` must hold labels `y`, got 'inputs.npy' without"),
        (["--attacks", "FGSM,PGD"], "`attacks` must be one of 'FGSM'"),
        (["--curve", "0.1,x"], "must be a number or a fraction such as 8/255, got 'x'"),
        (["--eps", "0"], "`eps` must be a positive number, got 0.0"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_mistake_is_one_line(options: list[str], message: str, capsys: Any) -> None:
    assert main([*OPTIONS, *options, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("out").exists()


def test_what_train_trains_by_default_needs_no_module_of_ones_own(folder: Path, capsys: Any) -> None:
    options = [*OPTIONS[3:], *FEW, "--model", "small-cnn"]
    assert main(["evaluate", *options, *WEIGHTS, "--out", "out"]) == 0
    assert main(["evaluate", *options, "--out", "other"]) == 2
    assert "`weights` must be an existing file where `model` is 'small-cnn', got None" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nn.Linear(7, 3)", "`model` must take inputs of shape"),
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))",
            "`model` must give one row of logits a sample",
        ),
        ("nn.LSTM(8, 3)", "`model` must take inputs of shape"),
    ],
)
def test_a_model_that_does_not_fit_is_one_line(folder: Path, capsys: Any, model: str, message: str) -> None:
    name = f"unfit{abs(hash(model))}"
    (folder / f"{name}.py").write_text(f"from torch import nn\ndef build():\n    return {model}\n")
    assert main(["evaluate", "--model", f"{name}:build", *OPTIONS[3:], *FEW, "--out", "out"]) == 2
    assert message in capsys.readouterr().err
