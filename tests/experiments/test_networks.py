"""Networks of the experiments: their parts, their seeds, and encoders that stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.networks import HEADS, NETWORKS, Frozen, encoder, network
from experiments.plan import PLANS

EACH = pytest.mark.parametrize("name", list(NETWORKS))


@EACH
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_a_network_takes_images_of_any_size(name: str, shape: tuple[int, ...]) -> None:
    model = network(name, shape, 7, **PLANS["quick"].sizes.get(name, {})).eval()
    x = torch.rand(3, *shape)
    features = encoder(model)(x)
    assert features.ndim == 2
    assert torch.equal(model.head(features), model(x))
    assert model(x).shape == (3, 7)


@EACH
def test_weights_follow_the_seed_and_leave_the_global_generator(name: str) -> None:
    before = torch.get_rng_state()
    size = PLANS["quick"].sizes.get(name, {})
    one, again, other = (network(name, (1, 8, 8), 10, random_state=seed, **size).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_published_sizes() -> None:
    """Layer by layer: 64, 128, 256 channels and 1,024 units before 64 features; ResNet-18 of eleven million weights."""
    baseline = network("Baseline-H", (3, 32, 32), 10)
    shapes = [tuple(p.shape) for name, p in baseline.named_parameters() if name.endswith("weight") and p.ndim > 1]
    assert shapes == [
        (64, 3, 4, 4),
        (128, 64, 4, 4),
        (256, 128, 4, 4),
        (1024, 4096),
        (64, 1024),
        (200, 64),
        (10, 200),
    ]
    assert sum(p.numel() for p in network("ResNet-18", (3, 32, 32), 10).parameters()) == 11_173_962


def test_a_frozen_module_learns_nothing() -> None:
    inner = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    model = nn.Sequential(Frozen(inner), nn.Linear(4, 2)).train()
    before = {key: value.clone() for key, value in inner.state_dict().items()}
    x = 5 + torch.randn(8, 4)
    model(x).sum().backward()
    assert all(torch.equal(before[key], value) for key, value in inner.state_dict().items())
    assert torch.equal(model[0](x), model[0](x))
    assert not any(parameter.requires_grad for parameter in inner.parameters())
    assert model[1].weight.grad is not None


@pytest.mark.parametrize("name", list(HEADS))
def test_heads_take_any_features(name: str) -> None:
    assert nn.Sequential(*HEADS[name](3)).eval()(torch.rand(2, 17)).shape == (2, 3)
