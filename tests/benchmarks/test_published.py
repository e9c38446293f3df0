import math

import pytest
import torch
from torch import nn

from art_mi.randomness import isolated_randomness
from benchmarks.published import PublishedCritic, leaking_donsker_varadhan, published

EPS = 0.2


@pytest.fixture
def images():
    prototypes = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return (0.8 * prototypes.repeat(16, 1, 1, 1) + 0.2 * noise).clamp(0.0, 1.0)


@pytest.fixture
def procedure(images):
    with isolated_randomness(0, torch.device("cpu")):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        yield published(encoder, images, width=16, eps=EPS, eps_step=0.05)


def by_hand():
    positives = (1.0 + 4.0) / 2
    return positives - math.log((math.exp(2.0) + math.exp(3.0) + 2.0) / 2)


def test_the_bound_is_that_by_hand_with_the_diagonal_left_in_at_zero():
    scores = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert leaking_donsker_varadhan(scores).item() == pytest.approx(by_hand(), abs=1e-6)


def test_positions_are_averaged():
    scores = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert leaking_donsker_varadhan(scores).item() == pytest.approx((by_hand() - math.log(2.0)) / 2, abs=1e-6)


def test_the_critic_has_a_score_for_each_pair_at_each_of_the_49_positions():
    scores = PublishedCritic(1, 10, 16)(torch.rand(3, 1, 28, 28), torch.rand(3, 10))
    assert scores.shape == (49, 3, 3)


def test_the_attack_reads_no_more_than_the_clean_inputs_and_stays_in_the_ball(procedure, images):
    procedure.fit([images] * 10)
    x_adv = procedure.attack(images)
    assert (x_adv - images).abs().max() <= EPS + 1e-6
    assert x_adv.min() >= 0.0
    assert x_adv.max() <= 1.0
    with torch.no_grad():
        assert procedure._information(x_adv) < procedure._information(images)


def test_the_attack_gives_the_weights_no_gradient(procedure, images):
    procedure.attack(images)
    assert all(p.grad is None for model in (procedure.critic, procedure.encoder) for p in model.parameters())


def test_training_raises_what_the_critic_reads_and_leaves_the_encoder_as_it_is(procedure, images):
    before = [p.detach().clone() for p in procedure.encoder.parameters()]
    readings = procedure.fit([images] * 20)
    assert readings[-1] > readings[0]
    assert all(torch.equal(*pair) for pair in zip(before, procedure.encoder.parameters(), strict=True))
    assert all(p.grad is not None for p in procedure.encoder.parameters())


def test_the_input_gradient_runs_through_the_representation_only(procedure, images):
    x = images.clone().requires_grad_()
    scores = procedure.critic(x, torch.rand(len(x), 5))
    assert scores.requires_grad
    assert torch.autograd.grad(scores.sum(), x, allow_unused=True) == (None,)
