"""`art-mi train` as a user meets it: what is typed is what is trained, and what is written is whole."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from safetensors.torch import load_file

import art_mi
from art_mi.attacks import LangevinMonteCarlo
from art_mi.cli import main
from art_mi.cli.inputs import split_samples
from art_mi.datasets import load
from art_mi.trainers import RVMonitor, StepTrainer, TensorBoard
from art_mi.trainers.checkpoint import load_checkpoint

steps = importlib.import_module("art_mi.cli.train")  # the module, of which the package shows the function alone


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
