"""The command line as a user meets it: in an empty folder, on real images."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch

from art_mi.cli import main
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
    model = torch.export.export(  # not strict, the default since torch 2.7: strictly exported layers run as one
        small_cnn((1, 8, 8), 10).eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=_any_batch(), strict=False
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


def test_estimate_reads_its_settings_from_a_file_where_a_radius_may_be_a_number(images, tmp_path, monkeypatch, capsys):
    (tmp_path / "of_a_file.py").write_text(
        "from art_mi.models import small_cnn\ndef build():\n    return small_cnn((1, 8, 8), 10)\n"
    )
    (tmp_path / "settings.yaml").write_text(
        f"model: of_a_file:build\ndata: {images}\neps: 0.05\nmax_iter: 2\nquiet: true\n"
    )
    monkeypatch.chdir(tmp_path)
    for more, eps in (([], "0.05"), (["--eps", "1/10"], "0.1")):
        assert main(["estimate", "--config", "settings.yaml", *more]) == 0
        assert f"eps {eps}," in capsys.readouterr().out


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
    assert re.search(r"[01] of 1 intervals hold the truth", out)


def test_selftest_runs_known_vulnerabilities_and_several_seeds(capsys):
    assert main(["selftest", "--only", "floor", "--nb-samples", "400", "--nb-seeds", "2", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.count("floor 3, eps 0.25, worst case") == 2
    assert "1.0282" in out
    assert "16 readings: mean absolute error" in out
    assert re.search(r"1[2-6] of 16 intervals hold the truth", out)
    assert main(["selftest", "--only", "no such problem", "--quiet"]) == 2
    assert main(["selftest", "--only", "floor", "--nb-seeds", "0"]) == 2


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
