"""What the sampler refuses, and the words it refuses it with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from art.defences.preprocessor import FeatureSqueezing
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import LangevinMonteCarlo


def classifier(**options: Any) -> PyTorchClassifier:
    options = {"clip_values": (0.0, 1.0), "nb_classes": 3, "input_shape": (5,), "device_type": "cpu", **options}
    return PyTorchClassifier(model=nn.Linear(5, 3), loss=nn.CrossEntropyLoss(), **options)


def attack(**options: Any) -> LangevinMonteCarlo:
    return LangevinMonteCarlo(classifier(), **{"verbose": False, **options})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("norm", 3, "inf, 2 or 1, got 3"),
        ("norm", "2", "inf, 2 or 1, got '2'"),
        ("eps", -0.1, r"a non-negative number, got -0\.1"),
        ("eps", math.nan, "a non-negative number, got nan"),
        ("eps_step", 0, "a positive number, got 0"),
        ("eps_step", None, "a positive number, got None"),
        ("max_iter", -1, "an integer of at least 0, got -1"),
        ("max_iter", 1.5, r"an integer of at least 0, got 1\.5"),
        ("noise", "cauchy", "one of 'gaussian', 'laplace', got 'cauchy'"),
        ("temperature", -1, "a non-negative number, got -1"),
        ("temperature", math.inf, "a non-negative number, got inf"),
        ("step", "unit", "one of 'sign', 'gradient', got 'unit'"),
        ("potential", "margin", "one of 'log_error', 'cross_entropy', 'kl', got 'margin'"),
        ("start_std", -1, "None or a non-negative number, got -1"),
        ("num_random_init", -1, "an integer of at least 0, got -1"),
        ("batch_size", 0, "an integer of at least 1, got 0"),
        ("random_state", -1, "None or an integer from 0 to 4294967295, got -1"),
        ("random_state", 0.5, r"None or an integer from 0 to 4294967295, got 0\.5"),
        ("verbose", 1, "True or False, got 1"),
        ("targeted", True, "False, got True"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(name: str, value: Any, rule: str) -> None:
    langevin = attack()
    before = repr(langevin)
    with pytest.raises(ValueError, match=f"`{name}` must be {rule}"):
        langevin.set_params(**{"eps": 0.7, name: value})
    assert repr(langevin) == before
    if name != "targeted":
        with pytest.raises(ValueError, match=f"`{name}` must be {rule}"):
            attack(**{name: value})


def test_laplace_noise_belongs_to_signed_steps() -> None:
    with pytest.raises(ValueError, match="`noise` must be 'gaussian' where `step` is 'gradient', got 'laplace'"):
        attack(noise="laplace", step="gradient")


def test_unknown_parameters_are_errors() -> None:
    with pytest.raises(ValueError, match='The attribute "epsilon" cannot be set'):
        attack().set_params(epsilon=0.1)
    with pytest.raises(TypeError, match="epsilon"):
        attack(epsilon=0.1)
    with pytest.raises(TypeError, match="targeted"):
        attack(targeted=True)
    assert attack().targeted is False


def test_bad_estimators_are_refused() -> None:
    with pytest.raises(TypeError, match="must be an ART PyTorchClassifier, got Linear"):
        LangevinMonteCarlo(nn.Linear(5, 3))
    squeezing = FeatureSqueezing(clip_values=(0, 1))
    with pytest.raises(ValueError, match=r"PyTorch preprocessors .* got FeatureSqueezing"):
        LangevinMonteCarlo(classifier(preprocessing_defences=[squeezing]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": "images"}, TypeError, "`x` must be"),
        ({"x": np.zeros((3, 4))}, ValueError, r"`x` must have shape \(n, 5\), got \(3, 4\)"),
        ({"x": np.zeros((0, 5)), "y": None}, ValueError, "`x` must hold at least 1 sample, got none"),
        ({"x": np.full((30, 5), np.nan)}, ValueError, "`x` must be finite"),
        ({"x": np.full((30, 5), 2.0)}, ValueError, "`x` must lie within the classifier's clip_values"),
        ({"y": np.zeros(7)}, ValueError, "`y` must hold one label for each of the 30 samples"),
        ({"y": np.full(30, 3)}, ValueError, "`y` must hold integers from 0 to 2"),
        ({"y": ["a"] * 30}, TypeError, "`y` must be numeric"),
        ({"mask": np.ones(4)}, ValueError, r"`mask` must broadcast against `x`, \(30, 5\), got \(4,\)"),
        ({"mask": np.ones((1, 30, 5))}, ValueError, r"`mask` must broadcast against `x`, \(30, 5\), got \(1, 30, 5\)"),
        ({"mask": ["a"] * 5}, TypeError, "`mask` must be numeric"),
    ],
)
def test_bad_data_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        attack().generate(**{"x": np.full((30, 5), 0.5), "y": np.zeros(30), **change})
