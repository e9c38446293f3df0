"""The choice between moved inputs on a few samples against full readings."""

from __future__ import annotations

import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import WorstCaseMIEstimator
from art_mi.metrics import candidates, noisy


@pytest.mark.parametrize("n", [120, 400])
def test_the_choice_on_a_few_samples_is_that_of_full_readings(n: int) -> None:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1]))
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False))
    model[0].weight.data.copy_(weights)
    model[1].weight.data.copy_(weights.flip(0, 1))
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (5,), 5, device_type="cpu")
    moved = {"first": x * torch.tensor([1, 1, 1, 0.1, 0.1]), "last": x * torch.tensor([0.1, 0.1, 1, 1, 1])}
    moved["none"] = x * 1.1
    estimator = WorstCaseMIEstimator(0.2, verbose=False)
    with estimator.problem(classifier, x) as problem:
        sigmas = {"0": 0.3, "1": 0.3}
        choice = candidates.chosen(problem, moved, sigmas)
        for layer, sigma in sigmas.items():
            read = {
                name: noisy.read(problem, candidates.outputs(problem, [layer], x_adv)[layer], sigma).upper
                for name, x_adv in moved.items()
            }
            assert choice[layer] == min(read, key=read.__getitem__)
        assert candidates.chosen(problem, {}, sigmas) == {"0": "", "1": ""}


def test_several_layers_are_attacked_with_half_the_steps() -> None:
    assert [candidates.attack_steps(max_iter, 1) for max_iter in (1, 5, 20)] == [1, 5, 20]
    assert [candidates.attack_steps(max_iter, 2) for max_iter in (1, 5, 20)] == [1, 3, 10]
