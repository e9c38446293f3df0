"""What was finished is found again, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi.finished import Finished, fingerprint


def classifier(model: nn.Module | None = None, **options: Any) -> PyTorchClassifier:
    if model is None:
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.5)
    options = {"loss": nn.CrossEntropyLoss(), "clip_values": (0.0, 1.0), "device_type": "cpu", **options}
    return PyTorchClassifier(model, input_shape=(3,), nb_classes=2, **options)


def x() -> np.ndarray[Any, Any]:
    return np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)


def digest(art: PyTorchClassifier | None = None, inputs: Any = None, y: Any = None, **settings: Any) -> str:
    return fingerprint(classifier() if art is None else art, x() if inputs is None else inputs, y, settings)


# --- parts ---


def test_a_part_comes_back_equal_in_a_later_session(tmp_path: Path) -> None:
    part = {"accuracy": 0.5, "correct": "0110", "nested": {"values": [1, None, "inf"]}}
    Finished(tmp_path, "a").put("PGD-20", part)
    assert Finished(tmp_path, "a").get("PGD-20") == part


def test_parts_of_another_fingerprint_are_not_finished_and_are_replaced(tmp_path: Path) -> None:
    Finished(tmp_path, "a").put("PGD-20", {"value": 1})
    assert Finished(tmp_path, "b").get("PGD-20") is None
    Finished(tmp_path, "b").put("PGD-20", {"value": 2})
    assert Finished(tmp_path, "b").get("PGD-20") == {"value": 2}
    assert Finished(tmp_path, "a").get("PGD-20") is None


def test_a_folder_must_be_one() -> None:
    with pytest.raises(TypeError, match="`out` must be a folder, got int"):
        Finished(5, "a")  # type: ignore[arg-type]


def test_without_a_folder_nothing_is_kept() -> None:
    finished = Finished(None, "a")
    finished.put("PGD-20", {"value": 1})
    assert finished.get("PGD-20") is None


def test_looking_does_not_create_the_folder(tmp_path: Path) -> None:
    assert Finished(tmp_path / "new", "a").get("PGD-20") is None
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "../../outside", "a/b", "x" * 400, "größer als 0,1 %", "CON:<script>"])
def test_any_name_is_a_file_in_the_folder_itself(name: str, tmp_path: Path) -> None:
    finished = Finished(tmp_path, "a")
    finished.put(name, {"value": 1})
    assert finished.get(name) == {"value": 1}
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "finished"]


def test_names_that_read_alike_are_kept_apart(tmp_path: Path) -> None:
    finished = Finished(tmp_path, "a")
    finished.put("a b", {"value": 1})
    finished.put("a_b", {"value": 2})
    assert finished.get("a b") == {"value": 1}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"fingerprint": "a"}', '"a"'])
def test_a_damaged_file_counts_as_not_finished(content: str, tmp_path: Path) -> None:
    finished = Finished(tmp_path, "a")
    finished.put("PGD-20", {"value": 1})
    (path,) = (tmp_path / "finished").iterdir()
    path.write_text(content)
    assert finished.get("PGD-20") is None


def test_what_cannot_be_written_leaves_the_part_as_it_was(tmp_path: Path) -> None:
    finished = Finished(tmp_path, "a")
    finished.put("PGD-20", {"value": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        finished.put("PGD-20", {"value": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        finished.put("PGD-20", {"value": np.zeros(2)})
    assert finished.get("PGD-20") == {"value": 1}
    assert [json.loads(path.read_text())["name"] for path in (tmp_path / "finished").iterdir()] == ["PGD-20"]


# --- fingerprints ---


def test_equal_work_has_equal_fingerprints() -> None:
    settings = {"eps": 0.1, "norm": np.inf, "sizes": np.arange(3), "attacks": {"PGD": {"steps": 20}}}
    assert digest(**settings) == digest(**settings)
    assert digest() == digest(inputs=torch.from_numpy(x()).numpy())


def test_running_the_model_or_changing_its_mode_is_no_change() -> None:
    art = classifier()
    before = digest(art)
    art.predict(x())
    art.model.train()
    assert digest(art) == before


def _changed_weight() -> PyTorchClassifier:
    art = classifier()
    with torch.no_grad():
        art.model[0].weight[0, 0] += 1e-6
    return art


def _changed_buffer() -> PyTorchClassifier:
    art = classifier()
    art.model[1].running_mean += 1e-6
    return art


def _other_buffer_that_is_not_saved() -> PyTorchClassifier:
    art = classifier()
    art.model.register_buffer("shift", torch.ones(1), persistent=False)
    return art


def _other_activation() -> PyTorchClassifier:
    parts = list(classifier().model)
    return classifier(nn.Sequential(parts[0], parts[1], parts[2], nn.Identity()))


@pytest.mark.parametrize(
    "changed",
    [
        lambda: digest(_changed_weight()),
        lambda: digest(_changed_buffer()),
        lambda: digest(_other_activation()),
        lambda: digest(_other_buffer_that_is_not_saved()),
        lambda: digest(classifier(loss=nn.MultiMarginLoss())),
        lambda: digest(classifier(loss=nn.CrossEntropyLoss(label_smoothing=0.1))),
        lambda: digest(classifier(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])))),
        lambda: digest(classifier(loss=nn.functional.cross_entropy)),
        lambda: digest(classifier(clip_values=(0.0, 2.0))),
        lambda: digest(classifier(clip_values=None)),
        lambda: digest(classifier(preprocessing=(0.5, 0.5))),
        lambda: digest(inputs=x() + 1e-6),
        lambda: digest(inputs=x().reshape(3, 4)),
        lambda: digest(y=np.zeros(4, dtype=np.int64)),
        lambda: digest(eps=0.1),
        lambda: digest(big=np.arange(2000)),
    ],
)
def test_any_change_changes_the_fingerprint(changed: Any) -> None:
    assert changed() != digest()


def test_functions_count_by_their_names_and_not_by_where_they_lie_in_memory() -> None:
    def made() -> Any:
        return lambda logits, y: nn.functional.cross_entropy(logits, y)

    one, other = made(), made()
    assert repr(one) != repr(other)
    assert digest(classifier(loss=one)) == digest(classifier(loss=other))


def test_long_arrays_in_settings_count_whole() -> None:
    changed = np.arange(2000)
    changed[1000] = -1
    assert digest(big=np.arange(2000)) != digest(big=changed)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.complex64, torch.int64])
def test_weights_of_every_kind_count(dtype: torch.dtype) -> None:
    ones, zeros = classifier(), classifier()
    for art, value in ((ones, 1), (zeros, 0)):
        art.model.register_buffer("scalar", torch.tensor(value).to(dtype))
        art.model.register_buffer("empty", torch.empty(0, dtype=dtype))
    assert digest(ones) != digest(zeros)


class Note:
    def __init__(self, text: str) -> None:
        self.text = text


class Noted(nn.Linear):
    """Keeps more in its state than tensors."""

    def __init__(self, note: Any) -> None:
        super().__init__(3, 2)
        nn.init.constant_(self.weight, 0.5)
        nn.init.constant_(self.bias, 0.5)
        self.note = note

    def get_extra_state(self) -> Any:
        return self.note


@pytest.mark.parametrize(
    "note",
    [
        lambda value: {"scale": value, "name": "a", "nothing": None},
        lambda value: {"inner": {1: [value, "a"], 2: torch.ones(2)}},
        lambda value: [1, [value, 3]],
        lambda value: [np.arange(2), torch.full((2,), value)],
        lambda value: Note(str(value)),
        lambda value: {"seen": {f"{name} {value}" for name in "abcdefgh"}},
        lambda value: f"text {value}",
        lambda value: None if value == 1 else 0,
    ],
)
def test_what_a_module_keeps_beside_tensors_counts_by_what_it_says(note: Any) -> None:
    before, again, changed = (digest(classifier(Noted(note(value)))) for value in (1, 1, 2))
    assert before == again
    assert before != changed


def test_an_object_in_preprocessing_counts_by_its_attributes() -> None:
    def made(text: str) -> str:
        art = classifier(preprocessing=(0.5, 0.5))
        art.preprocessing_operations[0].note = Note(text)
        return digest(art)

    assert made("a") == made("a") != made("b")
