from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.defences.postprocessor import HighConfidence
from art.defences.preprocessor import SpatialSmoothing
from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std import StandardisationMeanStdPyTorch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from art_mi.bridge import check_classifier, input_tensor, label_tensor, norm_ball, outputs, preprocessed
from art_mi.loaders import loaded


def linear(nb_classes: int = 4, **options: Any) -> PyTorchClassifier:
    options = {"clip_values": (0.0, 1.0), "device_type": "cpu", **options}
    model = nn.Linear(5, nb_classes)
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (5,), nb_classes, **options)


def vectors(n: int = 7) -> Tensor:
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(1))


# --- classifiers ---


def test_pytorch_classifiers_pass_the_check() -> None:
    check_classifier(linear())
    check_classifier(linear(preprocessing=(0.5, 2.0)))
    check_classifier(linear(preprocessing_defences=StandardisationMeanStdPyTorch(0.5, 2.0)))


def test_anything_but_a_pytorch_classifier_is_refused() -> None:
    with pytest.raises(TypeError, match="`classifier` must be an ART PyTorchClassifier, got Linear"):
        check_classifier(nn.Linear(2, 2))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 2.0), ([0.1, 0.2, 0.3], [1.0, 0.5, 0.25])])
def test_standardisation_is_that_of_art_to_the_last_bit(mean: float | list[float], std: float | list[float]) -> None:
    operation = StandardisationMeanStdPyTorch(mean, std)
    shape = (3, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    given: dict[str, Any] = {"preprocessing": (mean, std), "device_type": "cpu"}
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, 2, **given)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        preprocessed(classifier, x)
    for training in (False, True, False):
        expected, _ = operation.forward(x, None)
        assert torch.equal(preprocessed(classifier, x.requires_grad_(), training=training), expected)
        preprocessed(classifier, x.requires_grad_(), training=training).sum().backward()


@pytest.mark.parametrize("kind", [np.int32, np.float64])
def test_standardisation_set_later_may_be_of_any_kind(kind: Any) -> None:
    classifier = linear(preprocessing=(0.0, 1.0))
    (operation,) = classifier.preprocessing_operations
    operation.set_params(mean=np.array([1, 2, 3, 4, 5], dtype=kind), std=np.array([1, 1, 2, 2, 2], dtype=kind))
    expected = (vectors() - torch.tensor([1.0, 2, 3, 4, 5])) / torch.tensor([1.0, 1, 2, 2, 2])
    assert torch.equal(preprocessed(classifier, vectors()), expected)


def test_standardisation_of_unlike_shapes_is_refused_as_by_art() -> None:
    classifier = linear(preprocessing=(0.0, np.ones(5)))
    with pytest.raises(ValueError, match="mean and the standard deviation must be identical"):
        outputs(classifier, vectors())


def test_a_model_that_begins_with_a_step_in_place_leaves_its_inputs_alone() -> None:
    model = nn.Sequential(nn.Hardtanh(0.4, 0.6, inplace=True), nn.Linear(5, 4))
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (5,), 4, device_type="cpu")
    x = vectors()
    with torch.no_grad():
        outputs(classifier, x)
    assert torch.equal(x, vectors())
    outputs(classifier, x.requires_grad_()).sum().backward()


def test_classifiers_that_predict_by_more_than_their_model_are_refused() -> None:
    smoothed = PyTorchRandomizedSmoothing(nn.Linear(5, 4), nn.CrossEntropyLoss(), (5,), 4, device_type="cpu")
    with pytest.raises(TypeError, match=r"must predict by its model alone, .* got PyTorchRandomizedSmoothing\."):
        check_classifier(smoothed)


def test_postprocessing_that_is_left_out_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="postprocesses its predictions, which is left out .*HighConfidence"):
        check_classifier(linear(postprocessing_defences=HighConfidence()))
    check_classifier(linear(postprocessing_defences=HighConfidence(apply_fit=True, apply_predict=False)))


def test_preprocessing_that_no_gradient_passes_is_refused() -> None:
    smoothing = SpatialSmoothing(window_size=3, channels_first=True)
    with pytest.raises(ValueError, match=r"`classifier` must preprocess with PyTorch preprocessors.*SpatialSmoothing"):
        check_classifier(linear(preprocessing_defences=smoothing))


# --- inputs ---


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, bool])
def test_arrays_of_any_number_become_float32(dtype: Any) -> None:
    x = np.array([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]], dtype=dtype)
    tensor = input_tensor(linear(), x)
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == x.astype(float).tolist()


def test_arrays_tensors_lists_and_loaders_give_the_same_inputs() -> None:
    x, y = vectors(), torch.arange(7) % 4
    art = linear()
    pairs = DataLoader(TensorDataset(x, y), batch_size=3)
    alone = DataLoader(x, batch_size=3)  # type: ignore[arg-type]
    for given in (x, x.double(), x.clone().requires_grad_(), x.numpy(), x.tolist(), pairs, alone):
        tensor = input_tensor(art, loaded(given)[0])
        assert torch.equal(tensor, x)
        assert not tensor.requires_grad
    assert torch.equal(loaded(pairs)[1], y)
    assert torch.equal(loaded(pairs, 3 - y)[1], 3 - y)
    assert loaded(alone)[1] is None
    assert loaded(DataLoader(TensorDataset(x)))[1] is None
    assert loaded(x)[1] is None


@pytest.mark.parametrize("as_array", [True, False])
def test_inputs_are_copied(as_array: bool) -> None:
    x = vectors()
    tensor = input_tensor(linear(), x.numpy() if as_array else x)
    tensor.zero_()
    assert torch.equal(x, vectors())


def test_read_only_arrays_and_reversed_views_are_taken() -> None:
    x = vectors().numpy()
    x.flags.writeable = False
    assert torch.equal(input_tensor(linear(), x[::-1]), vectors().flip(0))


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.full((2, 5), np.nan), "`x` must be finite, got NaN or infinity"),
        (np.full((2, 5), np.inf), "`x` must be finite, got NaN or infinity"),
        (
            np.full((2, 5), 1.5),
            r"`x` must lie within the classifier's clip_values \[0, 1\], got values from 1.5 to 1.5",
        ),
        (np.full((2, 5), -0.1), "`x` must lie within the classifier's clip_values"),
        (np.zeros((2, 6)), r"`x` must have shape \(n, 5\), got \(2, 6\)"),
        (np.zeros(5), r"`x` must have shape \(n, 5\), got \(5,\)"),
    ],
)
def test_inputs_that_break_a_rule_are_refused(x: np.ndarray, match: str) -> None:
    for given in (x, torch.as_tensor(x)):
        with pytest.raises(ValueError, match=match):
            input_tensor(linear(), given)


@pytest.mark.parametrize("x", ["pixels", None, 3.0, {"x": 1}])
def test_inputs_of_another_type_are_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="`x` must be an array, a tensor or a DataLoader, got"):
        input_tensor(linear(), x)


@pytest.mark.parametrize("x", [np.array([["a"] * 5]), np.array([[None] * 5]), [[1.0], [1.0, 2.0]]])
def test_inputs_that_are_not_numbers_are_refused(x: Any) -> None:
    with pytest.raises(TypeError, match="`x` must be numeric, got"):
        input_tensor(linear(), x)


def test_labels_that_are_given_beside_a_loader_go_before_its_own_whatever_those_are() -> None:
    named = DataLoader([(x, f"{i}.png") for i, x in enumerate(vectors())], batch_size=3)  # type: ignore[arg-type]
    x, y = loaded(named, torch.arange(7))
    assert torch.equal(x, vectors())
    assert torch.equal(y, torch.arange(7))


def test_a_loader_that_gives_nothing_for_a_batch_is_not_cut_short() -> None:
    def collated(samples: list[Tensor]) -> Tensor | None:
        return None if bool((samples[0] == vectors()[3]).all()) else torch.stack(samples)

    with pytest.raises((TypeError, RuntimeError)):
        loaded(DataLoader(list(vectors()), batch_size=3, collate_fn=collated))  # type: ignore[arg-type]


def test_an_empty_loader_is_refused() -> None:
    empty = DataLoader(TensorDataset(torch.zeros(0, 5)))
    with pytest.raises(ValueError, match="`x` must hold samples, got an empty DataLoader"):
        loaded(empty)


def test_clip_values_may_differ_by_feature_or_be_missing() -> None:
    low, high = np.zeros(5, np.float32), np.array([1, 1, 1, 1, 2], np.float32)
    art = linear(clip_values=(low, high))
    inside = np.array([[0.5, 0.5, 0.5, 0.5, 1.5]])
    assert input_tensor(art, inside).tolist() == inside.tolist()
    with pytest.raises(ValueError, match=r"clip_values \[0, 2\], got values from 0.5 to 1.5"):
        input_tensor(art, inside[:, ::-1])
    ball = norm_ball(art, 2, 10.0)
    assert ball.project(torch.full((1, 5), 9.0), torch.zeros(1, 5)).max() <= 2
    free = linear(clip_values=None)
    assert input_tensor(free, 100 * inside).max() == 150
    assert norm_ball(free, "inf", 0.1).clip_values is None


# --- labels ---


LABELS = [0, 3, 1, 2, 1]


@pytest.mark.parametrize(
    "y",
    [
        LABELS,
        np.array(LABELS),
        np.array(LABELS, dtype=np.float32),
        np.array(LABELS, dtype=np.uint8),
        np.array(LABELS)[:, None],
        torch.tensor(LABELS),
        torch.tensor(LABELS)[:, None],
        np.eye(4)[LABELS],
        torch.eye(4)[LABELS],
        0.1 + 0.6 * np.eye(4, dtype=np.float32)[LABELS],
    ],
)
def test_labels_of_every_form_become_indices(y: Any) -> None:
    labels = label_tensor(linear(), y, 5)
    assert labels.dtype == torch.int64
    assert labels.tolist() == LABELS


def test_labels_are_not_written_to() -> None:
    for y in (np.array(LABELS), np.eye(4)[LABELS]):
        before = y.copy()
        label_tensor(linear(), y, 5).zero_()
        np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("nb_classes", [2, 4])
def test_columns_of_two_classes_are_labels_too(nb_classes: int) -> None:
    art = linear(nb_classes)
    y = np.array([0, 1, 1])
    for form in (y, y[:, None], np.eye(nb_classes)[y]):
        assert label_tensor(art, form, 3).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([0, 1, 2], r"`y` must hold one label for each of the 5 samples, got shape \(3,\)"),
        (np.zeros((5, 1, 1)), r"`y` must hold one label for each of the 5 samples, got shape \(5, 1, 1\)"),
        (2, r"`y` must hold one label for each of the 5 samples, got shape \(\)"),
        (np.zeros((5, 3)), "`y` must have 1 or 4 columns, got 3"),
        (np.zeros((5, 4)), "`y` must have one largest entry a row, finite and none negative, got rows without"),
        (np.diag([1, 1, 1, np.nan, 1])[:, :4], "`y` must have one largest entry a row"),
        (np.diag([1, 1, 1, 1, 1])[:, :4], "`y` must have one largest entry a row"),
        (np.r_[np.eye(4), [[0.5, 0.6, -0.1, 0]]], "`y` must have one largest entry a row"),
        ([0, 1, 2, 3, 4], "`y` must hold integers from 0 to 3, got values from 0 to 4"),
        ([0, 1, 2, 3, -1], "`y` must hold integers from 0 to 3, got values from -1 to 3"),
        ([0, 1, 2, 0.5, 1], "`y` must hold integers from 0 to 3, got values from 0.0 to 2.0"),
        ([[0], [1], [2], [0.5], [1]], "`y` must hold integers from 0 to 3, got values from 0.0 to 2.0"),
        ([0, 1, 2, float("nan"), 1], "`y` must hold integers from 0 to 3, got values from nan to nan"),
    ],
)
def test_labels_that_break_a_rule_are_refused(y: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        label_tensor(linear(), np.asarray(y), 5)


def test_labels_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="`y` must be numeric, got an array of <U3"):
        label_tensor(linear(), ["cat", "dog", "cat", "dog", "cat"], 5)
