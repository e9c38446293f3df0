"""One call gives what a card shows, leaves the classifier as it was, and goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_mi import WorstCaseMIEstimator, assess, assessment
from art_mi.results import ModelRecord

QUICK: dict[str, Any] = {"eps": 0.1, "attacks": ["FGSM"], "checks": False, "verbose": False}


@pytest.fixture
def classifier() -> PyTorchClassifier:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 6, 6), 3, clip_values=(0.0, 1.0), device_type="cpu")


@pytest.fixture
def data(classifier: PyTorchClassifier) -> tuple[Any, Any]:
    x = np.random.default_rng(0).random((120, 1, 6, 6), dtype=np.float32)
    classifier.model.eval()
    y = classifier.predict(x).argmax(1)
    classifier.model.train()
    return x, y


def test_every_part_of_a_card_is_there(classifier: PyTorchClassifier, data: Any, tmp_path: Path) -> None:
    record = assess(classifier, *data, **QUICK, curve=[0.05, 0.1], nb_profiled=110, nb_images=5, out=tmp_path)
    assert record.robustness is not None
    assert record.robustness.clean.value == 1.0
    assert record.representation == WorstCaseMIEstimator(0.1, verbose=False).evaluate(classifier, *data)
    assert record.layers is not None
    assert list(record.layers.layers) == ["0", "1", "2", "4"]  # what is only flattened is the same layer again
    assert record.features is not None
    assert len(record.features.units) == 3
    assert record.curve is not None
    assert record.curve.results[0].normal.nb_samples == 110
    assert {len(rows) for rows in record.images.values()} == {5}
    assert ModelRecord.load(tmp_path).to_dict() == record.to_dict()


def test_parts_may_be_left_out_or_known_before(classifier: PyTorchClassifier, data: Any) -> None:
    known = WorstCaseMIEstimator(0.2, verbose=False).evaluate(classifier, *data)
    some = {"layer_profile": False, "feature_profile": False, "representation": known, "settings": {"data": "noise"}}
    record = assess(classifier, *data, **QUICK, **some, name="small", history=[{"epoch": 1}], command="art-mi demo")
    assert (record.layers, record.features, record.curve) == (None, None, None)
    assert (record.name, record.history, record.command) == ("small", ({"epoch": 1},), "art-mi demo")
    assert record.representation is known
    assert record.settings["data"] == "noise"


def test_a_loader_serves_as_well_and_the_classifier_is_as_before(classifier: PyTorchClassifier, data: Any) -> None:
    few = {"layer_profile": False, "feature_profile": False}
    before = [value.clone() for value in classifier.model.state_dict().values()]
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, data)), batch_size=50)
    one, other = (assess(classifier, *given, **QUICK, **few) for given in ((loader,), data))
    assert one.representation == other.representation
    assert one.robustness is not None
    assert other.robustness is not None
    assert one.robustness.accuracies() == other.robustness.accuracies()
    assert all(module.training for module in classifier.model.modules())
    after = classifier.model.state_dict().values()
    assert all(torch.equal(value, now) for value, now in zip(before, after, strict=True))


def test_it_goes_on_where_it_was_interrupted(
    classifier: PyTorchClassifier, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    some = {**QUICK, "feature_profile": False, "out": tmp_path}
    with monkeypatch.context() as patched:
        patched.setattr(assessment, "information_saliency", stop)
        with pytest.raises(KeyboardInterrupt):
            assess(classifier, *data, **some)
    kept = {path: path.read_bytes() for path in (tmp_path / "finished").iterdir()}
    monkeypatch.setattr(assessment, "WorstCaseMIEstimator", stop)
    assess(classifier, *data, **some)
    assert {path: path.read_bytes() for path in kept} == kept


def test_labels_are_needed(classifier: PyTorchClassifier, data: Any) -> None:
    with pytest.raises(ValueError, match="`y` must hold labels, or come with the loader, got None"):
        assess(classifier, data[0], **QUICK)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"name": 5}, TypeError, "`name` must be a text, got int"),
        ({"nb_profiled": 60}, ValueError, "`nb_profiled` must be an integer of at least 100, got 60"),
        ({"nb_images": 0}, ValueError, "`nb_images` must be an integer of at least 1, got 0"),
        ({"curve": [-1]}, ValueError, "`curve` must be a non-negative number, got -1"),
        ({"curve": [0.2, 0.1]}, ValueError, r"`curve` must hold ascending radii, got \[0.2, 0.1\]"),
        ({"layer": "9"}, ValueError, "`layer` must name a module of the model, got '9'"),
        ({"layer_profile": ["9"]}, ValueError, "`layer_profile` must name a module of the model, got '9'"),
        ({"attacks": 5}, TypeError, "`attacks` must be names, or a mapping from names to attacks, got int"),
        ({"attacks": ["FGSN"]}, ValueError, "`attacks` must be one of 'FGSM'"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    classifier: PyTorchClassifier, data: Any, tmp_path: Path, options: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        assess(classifier, *data, **{**QUICK, **options}, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_few_samples_are_refused_before_any_work(classifier: PyTorchClassifier, data: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`x` must hold at least 100 samples, got 99"):
        assess(classifier, data[0][:99], data[1][:99], **QUICK, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_one_layer_has_no_profile_of_layers(data: Any) -> None:
    x, y = data[0].reshape(120, 36), data[1]
    model = nn.Linear(36, 3)
    single = PyTorchClassifier(model, nn.CrossEntropyLoss(), (36,), 3, clip_values=(0.0, 1.0), device_type="cpu")
    record = assess(single, x, y, **QUICK, feature_profile=False)
    assert record.layers is None
    assert record.settings["layers"] == "left out: no hook can read any"


def test_samples_sorted_by_class_are_taken_evenly(classifier: PyTorchClassifier, data: Any) -> None:
    order = np.argsort(data[1], kind="stable")
    some = {"layer_profile": False, "feature_profile": False, "nb_images": 6}
    record = assess(classifier, data[0][order], data[1][order], **QUICK, **some)
    assert len(set(record.images["y"].tolist())) == len(set(data[1].tolist()))
