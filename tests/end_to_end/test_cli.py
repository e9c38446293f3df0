"""The command line as a user meets it: in an empty folder, on real images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from art_mi.cli import main
from art_mi.datasets import load
from art_mi.demo import run_demo, write_demo
from art_mi.models import small_cnn
from art_mi.results import ModelRecord


@pytest.fixture(scope="module")
def found():
    return run_demo("digits", None, nb_epochs=12, nb_samples=1800, random_state=0, verbose=False)


def by_name(found, name):
    return next(record for record in found.records if record.name == name)


def test_the_robustly_trained_model_is_less_vulnerable_with_disjoint_intervals(found):
    standard, robust = (by_name(found, name).representation.vulnerability for name in ("standard", "MIMAE"))
    assert standard.confidence_interval[0] > robust.confidence_interval[1]
    assert standard.value > robust.value


def test_attacked_accuracies_stay_below_every_ceiling(found):
    for record in found.records:
        result = record.representation
        assert record.robustness.worst_case.confidence_interval[0] <= result.accuracy_ceiling
        assert result.measured_accuracy <= min(result.ceilings.values()) + 0.02
        assert "CONTRADICTION" not in result.flags


def test_robust_training_pays_under_attack(found):
    standard, robust = (by_name(found, name).robustness for name in ("standard", "MIMAE"))
    assert robust.worst_case.confidence_interval[0] > standard.worst_case.confidence_interval[1]
    assert standard.clean.value > 0.9


def test_the_demo_writes_its_card_and_a_folder_a_model(found, tmp_path):
    page = write_demo(found, tmp_path / "new", "art-mi demo").read_text()
    content = json.loads((tmp_path / "new" / "index.json").read_text())
    for record, written in zip(found.records, content["models"], strict=True):
        read = ModelRecord.load(tmp_path / "new" / record.name.lower())
        assert written == record.to_dict() == read.to_dict()
        assert f"{read.representation.vulnerability.value:.3f}" in page
        assert read.images["x_adv"].shape == read.images["x"].shape


def test_demo_command_prints_the_table(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--nb-epochs", "1", "--nb-samples", "200", "--quiet", "--out", str(out)]) == 0
    assert "vulnerability" in capsys.readouterr().out
    assert (out / "index.html").is_file()


@pytest.fixture
def images(tmp_path):
    x = np.random.default_rng(0).uniform(0, 1, (150, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(150) % 10)
    return tmp_path / "images.npz"


def test_estimate_reads_an_exported_file_and_its_layers(images, tmp_path, capsys):
    model = torch.export.export(
        small_cnn((1, 8, 8), 10).eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=_any_batch()
    )
    torch.export.save(model, tmp_path / "model.pt2")
    status = main(
        [
            *("estimate", "--model", str(tmp_path / "model.pt2"), "--data", str(images), "--eps", "8/255"),
            *("--layer", "features", "--max-iter", "2", "--quiet", "--out", str(tmp_path / "result.json")),
        ]
    )
    assert status == 0
    assert "Representation vulnerability of the layer features" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["settings"]["eps"] == pytest.approx(8 / 255)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_estimate_reads_a_torchscript_file(images, tmp_path, capsys):
    torch.jit.trace(small_cnn((1, 8, 8), 10).eval(), torch.zeros(2, 1, 8, 8)).save(tmp_path / "model.pt")
    status = main(
        [
            *("estimate", "--model", str(tmp_path / "model.pt"), "--data", str(images), "--eps", "0.1"),
            *("--max-iter", "2", "--quiet"),
        ]
    )
    assert status == 0
    assert "Representation vulnerability of the output" in capsys.readouterr().out


def _any_batch():
    return ({0: torch.export.Dim("batch", min=1)},)


def test_estimate_imports_a_function_and_measures_a_named_layer(images, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_models.py").write_text(
        "from art_mi.models import small_cnn\ndef build():\n    return small_cnn((1, 8, 8), 10)\n"
    )
    monkeypatch.chdir(tmp_path)
    status = main(
        [
            *("estimate", "--model", "my_models:build", "--layer", "features", "--data", str(images), "--eps", "0.1"),
            *("--max-iter", "2", "--quiet", "--method", "noisy", "--unit", "bits"),
        ]
    )
    assert status == 0
    out = capsys.readouterr().out
    assert "layer features" in out
    assert "bits" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere.pt", "--eps", "0.1"], "`model` must be an existing file or `package.module:function`"),
        (["--model", "no_such_module:f", "--eps", "0.1"], "`model` must be importable"),
        (["--model", "art_mi.models:small_cnn", "--eps", "a/b"], "`eps` must be a number or a fraction"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(arguments, message, images, capsys):
    assert main(["estimate", "--data", str(images), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_selftest_prints_truth_estimate_and_error(capsys):
    assert main(["selftest", "--only", "erasure", "--nb-samples", "2000", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "truth" in out
    assert "mean absolute error" in out


def test_a_model_with_batch_normalisation_is_probed_in_evaluation_mode(images, tmp_path, monkeypatch):
    (tmp_path / "normalised.py").write_text(
        "from torch import nn\n"
        "model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))\n"
        "def build():\n    return model\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "normalised:build", "--data", str(images), "--eps", "0.1", "--max-iter", "2", "--quiet"]
    assert main(["estimate", *arguments]) == 0
    norm = sys.modules["normalised"].model[1]
    assert norm.training
    assert norm.num_batches_tracked == 0
    assert bool((norm.running_mean == 0).all())


def test_the_folder_of_the_output_is_asked_for_before_the_work(images, tmp_path, capsys):
    out = tmp_path / "no" / "result.json"
    arguments = ["--model", "no_such_module:f", "--data", str(images), "--eps", "0.1", "--out", str(out)]
    assert main(["estimate", *arguments]) == 2
    assert "`out` must lie in an existing folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_file_that_is_no_model_is_refused(images, tmp_path, capsys):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt")
    assert main(["estimate", "--model", str(tmp_path / "weights.pt"), "--data", str(images), "--eps", "0.1"]) == 2
    assert "`model` must be a torch.export (.pt2) or TorchScript file" in capsys.readouterr().err


def test_the_help_explains_every_command_and_option(capsys):
    for command, text in (([], "compare their representations"), (["estimate"], "Radius in raw input units")):
        with pytest.raises(SystemExit, match="0"):
            main([*command, "--help"])
        assert text in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def labelled(tmp_path):
    digits = load("digits")
    train, test = slice(0, 260), slice(0, 100)
    np.savez(
        tmp_path / "digits.npz",
        x=digits.x_train[train],
        y=digits.y_train[train],
        x_test=digits.x_test[test],
        y_test=digits.y_test[test],
    )
    return tmp_path / "digits.npz"


def _train(out, data, *more):
    common = ["--data", str(data), "--eps", "0.1", "--out", str(out), "--trainer.verbose", "false"]
    return main(["train", "--trainer", "trades", *common, *more])


def test_train_writes_everything_and_what_it_wrote_repeats_the_run(labelled, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--trainer.beta", "3", "--optimizer", "SGD", "--optimizer.lr", "0.1", "--nb-epochs", "2"]
    assert _train(out, labelled, *options) == 0
    assert "PGD-20" in capsys.readouterr().out
    names = {"config.yaml", "history.csv", "checkpoint.safetensors", "model.safetensors", "results.json"}
    assert {path.name for path in out.iterdir()} == names
    results = json.loads((out / "results.json").read_text())
    assert results["accuracies"]["clean"]["nb_samples"] == 100
    assert len(results["history"]) == 2
    settings = (out / "config.yaml").read_text()
    assert "beta: 3.0" in settings
    weights = (out / "model.safetensors").read_bytes()
    (tmp_path / "again.yaml").write_text(settings)
    assert main(["--config", str(tmp_path / "again.yaml"), "train"]) == 0
    assert (out / "model.safetensors").read_bytes() == weights


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(labelled, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert _train(whole, labelled, "--nb-epochs", "3") == 0
    assert _train(parts, labelled, "--nb-epochs", "1") == 0
    assert _train(parts, labelled, "--nb-epochs", "3", "--resume") == 0
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_short_names_serve_in_yaml_too(labelled, tmp_path):
    out = tmp_path / "run"
    settings = {"data": str(labelled), "out": str(out), "eps": "0.1", "nb_epochs": 1}
    chosen = {"trainer": {"class_path": "mimae", "init_args": {"lamb": 0.7}}, "attack": "pgd"}
    (tmp_path / "run.yaml").write_text(json.dumps({"train": {**settings, **chosen}}))
    assert main(["--config", str(tmp_path / "run.yaml"), "train"]) == 0
    assert "lamb: 0.7" in (out / "config.yaml").read_text()


def test_settings_lie_in_the_folder_from_the_start_and_a_refused_run_leaves_none(labelled, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("art_mi.trainers.loop.Loop.run", lambda loop: seen.append((out / "config.yaml").is_file()))
    out = tmp_path / "run"
    assert _train(out, labelled, "--nb-epochs", "0") == 2
    assert not out.exists()
    assert _train(out, labelled, "--nb-epochs", "1") == 0
    assert seen == [True]
    before = (out / "config.yaml").read_text()
    assert _train(out, labelled, "--nb-epochs", "0") == 2
    assert (out / "config.yaml").read_text() == before


def test_weights_in_channels_last_or_shared_are_written(labelled, tmp_path, monkeypatch):
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    convolution, again = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)\n"
        "    return nn.Sequential(convolution, again, again, nn.Flatten(), nn.Linear(256, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--model", "tied:build", "--trainer.channels_last", "true", "--nb-epochs", "1"]
    assert _train(tmp_path / "run", labelled, *options) == 0
    weights = str(tmp_path / "run" / "model.safetensors")
    arguments = ["--model", "tied:build", "--weights", weights, "--data", "digits", "--eps", "0.1", "--max-iter", "2"]
    assert main(["estimate", *arguments, "--nb-samples", "150", "--quiet"]) == 0


def test_test_samples_are_looked_at_before_the_training(labelled, tmp_path, capsys):
    content = dict(np.load(labelled))
    np.savez(tmp_path / "bad.npz", **{**content, "y_test": content["y_test"] + 5})
    assert _train(tmp_path / "run", tmp_path / "bad.npz") == 2
    assert "`data` must hold test samples like those trained on, but `y` must hold" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_trained_weights_can_be_measured(labelled, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.py").write_text(
        "from art_mi.models import small_cnn\ndef build():\n    return small_cnn((1, 8, 8), 10)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert _train(tmp_path / "run", labelled, "--nb-epochs", "1", "--attack", "langevin", "--attack.eps", "0.1") == 0
    arguments = ["--model", "small:build", "--data", "digits", "--eps", "0.1", "--max-iter", "2", "--quiet"]
    weights = tmp_path / "run" / "model.safetensors"
    assert main(["estimate", *arguments, "--nb-samples", "150", "--weights", str(weights)]) == 0
    assert "representation vulnerability" in capsys.readouterr().out
    assert main(["estimate", *arguments, "--weights", str(labelled)]) == 2
    assert "`weights` must be of the model's architecture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer", "mimae", "--data", "nowhere.npz"], "`data` must be a file"),
        (["--trainer", "mimae", "--data", "digits", "--validation-fraction", "1"], "`validation_fraction` must lie"),
        (["--trainer", "mimae", "--data", "digits", "--trainer.beta", "-1"], "`beta` must be"),
        (["--trainer", "mimae", "--data", "digits", "--patience", "0"], "`patience` must be"),
        (["--trainer", "mimae", "--data", "digits", "--resume"], "checkpoint"),
    ],
)
def test_a_mistake_in_training_is_one_line_too(arguments, message, tmp_path, capsys):
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_report_writes_the_card_of_saved_records_and_their_figures(found, tmp_path, capsys):
    write_demo(found, tmp_path / "demo", "art-mi demo")
    out = tmp_path / "card.html"
    assert main(["report", str(tmp_path / "demo"), "--out", str(out), "--figures", str(tmp_path / "figures")]) == 0
    printed = capsys.readouterr().out.split()
    assert [tmp_path / f"card.{ending}" for ending in ("html", "md", "json")] == [Path(line) for line in printed[:3]]
    assert all(Path(line).is_file() for line in printed)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} >= {"accuracies", "gap", "model-2-examples"}
    assert f"art-mi report {tmp_path / 'demo'} --out {out}" in out.read_text()


def test_report_takes_several_folders_in_their_order(found, tmp_path):
    write_demo(found, tmp_path, "art-mi demo")
    folders = [str(tmp_path / name) for name in ("standard", "mimae")]
    assert main(["report", "--title=Two models", "--out", str(tmp_path / "card.html"), *folders]) == 0
    content = json.loads((tmp_path / "card.json").read_text())
    assert [model["name"] for model in content["models"]] == ["standard", "MIMAE"]
    assert content["title"] == "Two models"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "`folders` must hold a results.json"),
        (["demo", "--out", "card.pdf"], "`path` must end in '.html'"),
        (["demo", "demo"], "`records` must have different names, got 'plain' twice"),
    ],
)
def test_a_mistake_in_a_report_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    ModelRecord("plain").save(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
