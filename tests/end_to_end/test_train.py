"""`art-mi train` as a user meets it: what is typed is what is trained, and what is written is whole."""

from __future__ import annotations

import importlib
import inspect
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
from art_mi.models import small_cnn
from art_mi.trainers import RVMonitor, StepTrainer, TensorBoard
from art_mi.trainers.checkpoint import load_checkpoint
from art_mi.trainers.options import FitOptions

steps = importlib.import_module("art_mi.cli.train")  # the module, of which the package shows the function alone
FIT = inspect.signature(StepTrainer.fit)


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


@pytest.fixture
def few(tmp_path):
    """Too few samples for a validation in earnest, and none to test on."""
    digits = load("digits")
    np.savez(tmp_path / "few.npz", x=digits.x_train[:40], y=digits.y_train[:40])
    return tmp_path / "few.npz"


@pytest.fixture
def fits(monkeypatch):
    """Trainer and keywords of each call of `fit`, which trains nothing."""
    calls = []
    monkeypatch.setattr(StepTrainer, "fit", lambda self, x, y, **options: calls.append((self, options)))
    return calls


def _train(out, data, *more, trainer="trades", eps="0.1"):
    common = ["--trainer", trainer, "--trainer.verbose", "false", "--data", str(data), "--out", str(out)]
    return main(["train", *common, *(() if eps is None else ("--eps", eps)), *more])


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
    assert "`weights` must be a complete file .safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer", "mimae", "--data", "nowhere.npz"], "`data` must be a file"),
        (["--trainer", "mimae", "--data", "digits", "--validation-fraction", "1"], "`validation_fraction` must lie"),
        (["--trainer", "mimae", "--data", "digits", "--trainer.beta", "-1"], "`beta` must be"),
        (["--trainer", "mimae", "--data", "digits", "--patience", "0"], "`patience` must be"),
        (["--trainer", "mimae", "--data", "digits", "--resume"], "checkpoint"),
        (["--trainer", "mimae", "--data", "digits", "--eps", "0"], "`eps` must be a positive number"),
    ],
)
def test_a_mistake_in_training_is_one_line_too(arguments, message, tmp_path, capsys):
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


# --- what is typed is what is trained ---

KINDS = {
    "standard": "StandardTrainer",
    "madry": "MadryPGDTrainer",
    "trades": "TRADESTrainer",
    "mart": "MARTTrainer",
    "mimae": "MIMAETrainer",
    "dale": "DALETrainer",
    "worst-case-mi": "WorstCaseMITrainer",
}
ATTACKS = {"pgd": ProjectedGradientDescentPyTorch, "langevin": LangevinMonteCarlo}


def test_short_names_are_all_looked_at_here():
    assert set(steps.ALIASES) == {*KINDS, *ATTACKS}


@pytest.mark.parametrize("name", KINDS)
def test_every_trainer_with_a_short_name_trains(name, few, tmp_path):
    layer = ("--trainer.layer", "features") if name == "worst-case-mi" else ()
    assert _train(tmp_path / "run", few, "--nb-epochs", "1", *layer, trainer=name) == 0
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")["kind"]["trainer"] == KINDS[name]
    first, last = small_cnn((1, 8, 8), 10).state_dict(), load_file(tmp_path / "run" / "model.safetensors")
    assert not any(torch.equal(first[name], last[name]) for name in first)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_with_a_short_name_is_trained_against_and_validated_under(name, few, tmp_path, fits):
    asked = (f"--attack={name}", "--attack.eps=0.2", "--validation-attack", name, "--validation-attack.eps", "0.05")
    assert _train(tmp_path / "run", few, *asked) == 0
    ((trainer, options),) = fits
    for attack, eps in ((trainer.attack, 0.2), (options["validation_attack"], 0.05)):
        assert type(attack) is ATTACKS[name]
        assert (attack.eps, attack.verbose) == (eps, False)
        assert attack.estimator is trainer.classifier


def test_every_option_reaches_the_training_as_it_was_typed(few, tmp_path, fits):
    out, course = (
        tmp_path / "run",
        {
            "batch_size": 7,
            "checkpoint_every": 3,
            "clip_grad_norm": 0.25,
            "ema_decay": 0.75,
            "log_every": 5,
            "nb_epochs": 11,
            "patience": 4,
            "restore_best": False,
            "scheduler_interval": "step",
            "validate_every": 2,
        },
    )
    typed = [f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in course.items()]
    rate = ("--optimizer", "SGD", "--optimizer.lr", "0.5", "--scheduler", "StepLR", "--scheduler.step_size", "6")
    assert _train(out, few, *typed, *rate, "--resume") == 0
    ((trainer, options),) = fits
    scheduler, validation_data = options.pop("scheduler"), options.pop("validation_data")
    assert options == {**course, "callbacks": [], "out": str(out), "resume_from": str(out)}
    assert (type(scheduler).__name__, scheduler.step_size) == ("StepLR", 6)
    assert scheduler.optimizer is trainer.classifier.optimizer
    assert scheduler.optimizer.param_groups[0]["lr"] == 0.5
    for found, held in zip(validation_data, split_samples(str(few), None, 0.1).validation, strict=True):
        np.testing.assert_array_equal(found, held)


def test_what_is_not_typed_is_as_in_the_library(few, tmp_path, fits):
    assert _train(tmp_path / "run", few) == 0
    options = {name: value for name, value in fits[0][1].items() if name not in ("out", "validation_data")}
    library = vars(FitOptions(callbacks=[])) | {"batch_size": FIT.parameters["batch_size"].default}
    assert options == {name: value for name, value in library.items() if name != "out"}


def test_the_default_attack_has_the_radius_asked_for(few, tmp_path, fits):
    assert _train(tmp_path / "run", few, eps="8/255") == 0
    attack = fits[0][0].attack
    assert type(attack) is ProjectedGradientDescentPyTorch
    assert (attack.norm, attack.eps, attack.eps_step) == (np.inf, 8 / 255, 2 / 255)
    assert (attack.max_iter, attack.num_random_init) == (10, 1)


def test_a_model_of_ones_own_is_built_from_the_seed(few, tmp_path, monkeypatch, fits):
    """`fit` trains nothing here: what is written is what was built."""
    (tmp_path / "drawn.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    weights = {}
    for name, seed in (("one", ()), ("again", ()), ("other", ("--random-state", "1"))):
        assert _train(tmp_path / name, few, "--model", "drawn:build", *seed) == 0
        weights[name] = load_file(tmp_path / name / "model.safetensors")["1.weight"]
    assert weights["one"].shape == (10, 64)
    assert torch.equal(weights["again"], weights["one"])
    assert not torch.equal(weights["other"], weights["one"])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_is_that_of_the_small_network_too(few, tmp_path, fits):
    assert _train(tmp_path / "run", few, "--random-state", "3") == 0
    first = small_cnn((1, 8, 8), 10, random_state=3).state_dict()
    assert all(torch.equal(w, first[name]) for name, w in load_file(tmp_path / "run" / "model.safetensors").items())


@pytest.mark.parametrize(("local", "expected"), [("4", (4, 2)), ("8", (8, 1)), (None, (8, 1))])
def test_processes_are_those_that_torchrun_started(few, tmp_path, monkeypatch, capsys, local, expected):
    def fabric(**options):
        raise ValueError(f"asked for {options}")

    monkeypatch.setattr(steps, "Fabric", fabric)
    monkeypatch.setenv("WORLD_SIZE", "8")
    if local is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    assert _train(tmp_path / "run", few) == 2
    assert f"'devices': {expected[0]}, 'num_nodes': {expected[1]}" in capsys.readouterr().err


# --- what is looked at in training ---


def test_a_representation_without_a_head_is_trained_without_labels_or_accuracies(labelled, tmp_path, capsys):
    out, options = tmp_path / "run", ("--trainer.head", "null", "--trainer.layer", "features", "--nb-epochs", "1")
    assert _train(out, labelled, *options, trainer="worst-case-mi") == 0
    assert "No accuracy is measured, as no head is trained." in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert results["accuracies"] == {}
    assert [set(record) & {"clean_accuracy", "robust_accuracy"} for record in results["history"]] == [set()]


def test_the_monitor_measures_held_out_inputs_at_the_radius_and_layer_of_the_training(labelled, tmp_path, fits):
    options = ("--rv-every", "3", "--validation-fraction", "0.4", "--tensorboard")
    assert _train(tmp_path / "run", labelled, *options, "--trainer.layer", "features", trainer="worst-case-mi") == 0
    monitor, board = fits[0][1]["callbacks"]
    assert (type(monitor), type(board)) == (RVMonitor, TensorBoard)
    assert (monitor.every, monitor.estimator.eps, monitor.estimator.layer) == (3, 0.1, "features")
    np.testing.assert_array_equal(monitor.x, split_samples(str(labelled), None, 0.4).validation[0])


def test_tensorboard_shows_what_the_monitor_measures(labelled, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, options = tmp_path / "run", ("--rv-every", "2", "--tensorboard", "--validation-fraction", "0.4")
    assert _train(out, labelled, *options, "--nb-epochs", "2", trainer="standard") == 0
    first, second = json.loads((out / "results.json").read_text())["history"]
    assert "vulnerability" not in first
    (event,) = EventAccumulator(str(out / "tensorboard")).Reload().Scalars("vulnerability")
    assert (event.step, event.value) == (2, pytest.approx(second["vulnerability"]))


def test_what_cannot_be_looked_at_is_refused_before_the_training(few, tmp_path, monkeypatch, capsys):
    assert _train(tmp_path / "run", few, "--rv-every", "1") == 2
    assert "`rv_every` must allow to measure the validation samples, but `x` must hold at least 100" in _line(capsys)
    assert _train(tmp_path / "run", few, "--tensorboard", "--patience", "0") == 2
    assert "`patience` must be" in _line(capsys)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert _train(tmp_path / "run", few, "--tensorboard") == 2
    assert "`tensorboard` must be installed: pip install 'art-mi[tensorboard]'." in _line(capsys)
    assert not (tmp_path / "run").exists()


def _line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


# --- what is written ---


def test_a_run_killed_in_an_epoch_goes_on_to_the_same_weights(few, tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text(
        "import os, signal\n"
        "from art_mi.trainers import MadryPGDTrainer\n"
        "steps = []\n"
        "class Dying(MadryPGDTrainer):\n"
        "    def step(self, x, y):\n"
        "        steps.append(len(x))\n"
        "        if str(len(steps)) == os.environ.get('DIES_IN_STEP'):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().step(x, y)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ("--nb-epochs", "2", "--batch-size", "6", "--checkpoint-every", "1")  # six batches an epoch
    common = ["--trainer", "dying.Dying", "--trainer.verbose", "false", "--data", str(few), "--eps", "0.1", *options]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    path = os.pathsep.join([str(Path(art_mi.__file__).parents[1]), str(tmp_path)])
    env = {**os.environ, "PYTHONPATH": path, "DIES_IN_STEP": "10"}
    command = [sys.executable, "-m", "art_mi.cli", "train", *common, "--out", str(parts)]
    killed = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (parts / "model.safetensors").exists()
    assert main(["train", *common, "--out", str(parts), "--resume"]) == 0
    taken = sys.modules["dying"].steps
    assert len(taken) == 12 - 9
    assert main(["train", *common, "--out", str(whole)]) == 0
    assert len(taken) == 12 - 9 + 12
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_what_is_not_finite_is_one_line_and_what_was_trained_before_stays(few, tmp_path, capsys):
    assert _train(tmp_path / "run", few, "--optimizer", "SGD", "--optimizer.lr", "1e30") == 2
    assert "must stay finite" in _line(capsys)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.yaml", "checkpoint.safetensors"}
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_an_error_after_the_start_leaves_the_settings_with_the_checkpoint(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(steps, "write_weights", _refuse)
    assert _train(tmp_path / "run", few, "--nb-epochs", "1") == 2
    assert _line(capsys) == "art-mi: no space"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.yaml", "checkpoint.safetensors"}


def _refuse(*args):
    raise OSError("no space")


@pytest.mark.parametrize("name", ["model.safetensors", "results.json"])
def test_files_are_replaced_whole_or_not_at_all(name, few, tmp_path, monkeypatch, capsys):
    out, replace = tmp_path / "run", os.replace
    assert _train(out, few, "--nb-epochs", "1") == 0
    before, names = (out / name).read_bytes(), sorted(out.iterdir())
    monkeypatch.setattr(os, "replace", lambda a, b: _refuse() if Path(b).name == name else replace(a, b))
    assert _train(out, few, "--nb-epochs", "2") == 2
    assert "no space" in _line(capsys)
    assert (out / name).read_bytes() == before
    assert sorted(out.iterdir()) == names
    monkeypatch.undo()
    assert _train(out, few, "--nb-epochs", "2") == 0
    assert (out / name).read_bytes() != before


def test_files_can_be_read_by_those_who_may_read_others(few, tmp_path, fits):
    mask = os.umask(0o027)
    try:
        assert _train(tmp_path / "run", few) == 0
    finally:
        os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o640}


# --- the radius of the final evaluation ---


@pytest.mark.parametrize(
    ("options", "eps", "expected"),
    [
        ((), None, 0.12),
        ((), "0.2", 0.2),
        (("--attack", "langevin", "--attack.eps", "0.05"), None, 0.05),
        (("--attack", "langevin", "--attack.eps", "0.05"), "0.2", 0.2),
        (("--attack", "pgd", "--attack.eps", "0.05", "--attack.norm", "2"), None, None),
        (("--attack", "pgd", "--attack.eps", "0.05", "--attack.norm", "2"), "0.2", 0.2),
        (("--attack", "pgd", "--attack.eps", "0"), None, None),
        (("--attack", "art.attacks.evasion.DeepFool"), None, None),
    ],
)
def test_the_final_radius_is_the_one_given_or_that_of_the_attack(
    options, eps, expected, tmp_path, monkeypatch, capsys, fits
):
    asked = []
    monkeypatch.setattr(
        importlib.import_module("art_mi.cli.outputs"),
        "standard_attacks",
        lambda classifier, eps: asked.append(eps) or {},
    )
    assert _train(tmp_path / "run", "digits", *options, eps=eps) == 0
    assert asked == ([] if expected is None else [expected])
    assert json.loads((tmp_path / "run" / "results.json").read_text())["eps (l_inf)"] == expected
    said = "Only the clean accuracy is measured, as the attack has no radius in l_inf; --eps gives one."
    assert (said in capsys.readouterr().out) == (expected is None)
