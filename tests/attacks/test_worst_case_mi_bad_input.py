"""What the label-free attack refuses, and the words it refuses it with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from art.summary_writer import SummaryWriter
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import WorstCaseMIAttack


class Silent(SummaryWriter):  # type: ignore[misc]
    def __init__(self) -> None:
        pass

    def update(self, batch_id: int, global_step: int, **kwargs: Any) -> None:
        pass


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), 3), self.value)


def classifier(model: nn.Module | None = None) -> PyTorchClassifier:
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)) if model is None else model
    options: dict[str, Any] = {"nb_classes": 3, "clip_values": (0.0, 1.0), "device_type": "cpu"}
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (5,), **options)


def samples(n: int = 30) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, 5), dtype=np.float32)


def attack(art: PyTorchClassifier | None = None, **options: Any) -> WorstCaseMIAttack:
    return WorstCaseMIAttack(classifier() if art is None else art, **{"max_iter": 3, "verbose": False, **options})


@pytest.mark.parametrize(
    ("name", "value", "error", "rule"),
    [
        ("layer", 3, TypeError, "a name, got int"),
        ("layer", "body", ValueError, "name a module of the model, got 'body'. Close names: 0, 1"),
        ("critic", len, TypeError, "a torch module, got builtin_function_or_method"),
        ("bound", "mine", ValueError, "one of 'donsker_varadhan', 'nwj', 'info_nce', 'jensen_shannon', got 'mine'"),
        ("noise_std", 0, ValueError, "a positive number, got 0"),
        ("noise_std", math.nan, ValueError, "a positive number, got nan"),
        ("sigma", 0.0, ValueError, r"None or a positive number, got 0\.0"),
        ("norm", 3, ValueError, "inf, 2 or 1, got 3"),
        ("eps", -0.1, ValueError, r"a non-negative number, got -0\.1"),
        ("eps_step", 0, ValueError, "None or a positive number, got 0"),
        ("max_iter", 1.5, ValueError, r"an integer of at least 0, got 1\.5"),
        ("num_random_init", -1, ValueError, "an integer of at least 0, got -1"),
        ("detach_input", 1, ValueError, "True or False, got 1"),
        ("batch_size", 1, ValueError, "an integer of at least 2, got 1"),
        ("random_state", -1, ValueError, "None or an integer from 0 to 4294967295, got -1"),
        ("verbose", 1, ValueError, "True or False, got 1"),
        ("targeted", True, ValueError, "False, got True"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(name: str, value: Any, error: type[Exception], rule: str) -> None:
    found = attack()
    before = repr(found)
    with pytest.raises(error, match=f"`{name}` must (be )?{rule}"):
        found.set_params(**{"eps": 0.7, name: value})
    assert repr(found) == before
    if name != "targeted":
        with pytest.raises(error, match=f"`{name}` must (be )?{rule}"):
            attack(**{name: value})


def test_unknown_parameters_and_bad_estimators_are_errors() -> None:
    with pytest.raises(ValueError, match='The attribute "epsilon" cannot be set'):
        attack().set_params(epsilon=0.1)
    with pytest.raises(TypeError, match="targeted"):
        attack(targeted=True)
    with pytest.raises(TypeError, match="must be an ART PyTorchClassifier, got Linear"):
        WorstCaseMIAttack(nn.Linear(5, 3))
    with pytest.raises(ValueError, match="`num_random_init` must be at most 1 with a summary writer, got 2"):
        attack(summary_writer=Silent(), num_random_init=2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": "images"}, TypeError, "`x` must be"),
        ({"x": np.zeros((3, 4))}, ValueError, r"`x` must have shape \(n, 5\), got \(3, 4\)"),
        ({"x": np.zeros((0, 5))}, ValueError, "`x` must hold at least 2 samples, got none"),
        ({"x": np.zeros((1, 5))}, ValueError, "`x` must hold at least 2 samples, got 1"),
        ({"x": np.full((30, 5), np.nan)}, ValueError, "`x` must be finite"),
        ({"x": np.full((30, 5), 2.0)}, ValueError, "`x` must lie within the classifier's clip_values"),
        ({"mask": np.ones(4)}, ValueError, r"`mask` must broadcast against `x`, \(30, 5\), got \(4,\)"),
        ({"mask": ["a"] * 5}, TypeError, "`mask` must be numeric"),
    ],
)
def test_bad_data_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        attack().generate(**{"x": samples(), **change})


def test_a_trainer_cannot_give_it_a_batch_of_one() -> None:
    with pytest.raises(ValueError, match="`x` must hold at least 2 samples, got 1"):
        attack().perturb(torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("value", "rule"),
    [(0.3, "a representation that varies, got a constant one"), (math.nan, "finite numbers, got NaN or infinity")],
)
def test_a_representation_without_a_scale_needs_an_absolute_noise_level(value: float, rule: str) -> None:
    art = classifier(Constant(value))
    with pytest.raises(ValueError, match=f"`layer` must give {rule} on `x`"):
        attack(art).generate(samples())
    assert np.array_equal(attack(art, sigma=1.0).generate(samples()), samples())


def test_a_critic_that_gives_no_score_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`scores` must be square .* got shape"):
        attack(critic=nn.Bilinear(5, 3, 1)).generate(samples())
