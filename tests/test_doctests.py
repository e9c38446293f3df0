"""The examples in docstrings, whose `classifier`, `attack`, `x` and `y` are those made here."""

from __future__ import annotations

import doctest
import inspect
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

import art_mi
from art_mi.distributions import closed_forms, worst_cases

PACKAGE = Path(art_mi.__file__).parent
MODULES = sorted(
    ".".join(("art_mi", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PARTS = (
    art_mi.metrics,
    art_mi.attacks,
    art_mi.trainers,
    art_mi.bounds,
    art_mi.risk,
    art_mi.losses,
    closed_forms,
    worst_cases,
)
WITHOUT = {"TensorBoard", "SignWorstCase"}  # one writes files, the other is a result


def given() -> dict[str, Any]:
    """Two classes of points in the unit square, and a network of known weights that tells them by their sum."""
    y = np.arange(200) % 2
    points = np.random.default_rng(0).normal(0.3 + 0.4 * y[:, None], 0.1, (200, 2))
    x = points.clip(0, 1).astype(np.float32)
    features, logits = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        features.weight.copy_(torch.eye(2))
        features.bias.zero_()
        logits.weight.copy_(torch.tensor([[-5.0, -5.0], [5.0, 5.0]]))
        logits.bias.copy_(torch.tensor([5.0, -5.0]))
    model = nn.Sequential(OrderedDict(features=features, relu=nn.ReLU(), logits=logits))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0.0, 1.0))
    attack = ProjectedGradientDescentPyTorch(classifier, eps=0.1, eps_step=0.05, max_iter=3, verbose=False)
    return {"classifier": classifier, "attack": attack, "x": x, "y": y}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module):
        example.globs.update(given())
        said: list[str] = []
        runner.run(example, out=said.append)
        assert not said, "".join(said)


def test_what_measures_attacks_trains_and_is_pure_has_an_example() -> None:
    values = {name: v for part in PARTS for name, v in vars(part).items() if _is_public(part, name, v)}
    assert {"WorstCaseMIEstimator", "MarginAttack", "StepTrainer", "nwj", "log_odds"} <= set(values)
    assert {name for name, v in values.items() if ">>> " not in (v.__doc__ or "")} == WITHOUT


def _is_public(part: ModuleType, name: str, value: Any) -> bool:
    if name.startswith("_") or get_origin(value) or not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    return name in part.__all__ if hasattr(part, "__all__") else value.__module__ == part.__name__
