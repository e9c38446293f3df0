from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, one_hot

from art_mi.losses import (
    boosted_cross_entropy,
    class_mutual_information,
    kl_divergence,
    log_error_probability,
    log_odds,
    logit_distance,
    mart_regulariser,
)

GAPS = [15.0, 17.0, 100.0, 1e4]

CLEAN = torch.tensor([[2, 0, -1], [0.5, 1.5, 0], [-1, 0, 1]], dtype=torch.float64)
ADV = torch.tensor([[1, 0.5, -1], [0.2, 0.8, 0.4], [0, 0, 0.5]], dtype=torch.float64)
Y = torch.tensor([0, 1, 2])

each_gap = pytest.mark.parametrize("gap", GAPS)
seeds = st.integers(0, 2**31)
classes = st.integers(2, 12)
samples = st.integers(1, 9)
scales = st.sampled_from([0.0, 0.1, 1.0, 10.0, 1000.0])


def logits(n: int, nb_classes: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, nb_classes, dtype=torch.float64, generator=generator)


def labels(n: int, nb_classes: int, seed: int) -> Tensor:
    return torch.randint(nb_classes, (n,), generator=torch.Generator().manual_seed(seed))


def certain(*predictions: int, nb_classes: int) -> Tensor:
    return one_hot(torch.tensor(predictions), nb_classes).double()


def value_and_gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.clone().requires_grad_()
    value = loss(at)
    return value.detach(), torch.autograd.grad(value.sum(), at)[0]


# --- the numbers of the method notes, computed independently ---


def test_every_term_of_the_mimae_loss_has_its_known_value() -> None:
    p, q = CLEAN.softmax(1), ADV.softmax(1)
    exactly: dict[str, Any] = {"rel": 0, "abs": 1e-12}
    assert cross_entropy(ADV, Y).item() == pytest.approx(0.7154832247516906, **exactly)
    assert boosted_cross_entropy(ADV, Y).mean().item() == pytest.approx(1.0848021342670597, **exactly)
    assert class_mutual_information(p, q).item() == pytest.approx(0.030116827279755867, **exactly)
    assert class_mutual_information(p, q, symmetric=False).item() == pytest.approx(0.03582401475027111, **exactly)
    assert logit_distance(ADV, CLEAN, reduction="sum").mean().item() == pytest.approx(1.4666666666666668, **exactly)
    assert logit_distance(ADV, CLEAN).mean().item() == pytest.approx(0.4888888888888888, **exactly)


# --- definitions ---


@given(n=samples, nb_classes=classes, seed=seeds)
@settings(deadline=None)
def test_losses_equal_their_definitions_in_probabilities(n: int, nb_classes: int, seed: int) -> None:
    f, f_adv, y = logits(n, nb_classes, seed), logits(n, nb_classes, seed + 1), labels(n, nb_classes, seed)
    p, p_adv, rows = f.softmax(1), f_adv.softmax(1), torch.arange(n)
    error, error_adv = 1 - p[rows, y], 1 - p_adv[rows, y]
    strongest = p_adv.masked_fill(one_hot(y, nb_classes).bool(), 0).amax(1)
    kl = (p * (p / p_adv).log()).sum(1)
    torch.testing.assert_close(log_error_probability(f_adv, y), error_adv.log())
    torch.testing.assert_close(log_odds(f_adv, y), p_adv[rows, y].log() - error_adv.log())
    torch.testing.assert_close(boosted_cross_entropy(f_adv, y), -p_adv[rows, y].log() - (1 - strongest).log())
    torch.testing.assert_close(kl_divergence(f_adv, f), kl)
    torch.testing.assert_close(mart_regulariser(f_adv, f, y), kl * error)


def test_distances_by_hand() -> None:
    one, other = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[1.0, 0.0, 4.0, 1.0]])
    assert logit_distance(one, other).tolist() == [1.5]
    assert logit_distance(one, other, reduction="sum").tolist() == [6.0]
    assert logit_distance(one, other, order="mse").tolist() == [3.5]
    assert logit_distance(one, other, order="mse", reduction="sum").tolist() == [14.0]


@given(n=samples, nb_classes=classes, seed=seeds)
@settings(deadline=None)
def test_the_error_probability_rises_along_the_cross_entropy(n: int, nb_classes: int, seed: int) -> None:
    f, y = logits(n, nb_classes, seed, 3.0), labels(n, nb_classes, seed)
    _, along = value_and_gradient(lambda f: log_error_probability(f, y), f)
    _, reference = value_and_gradient(lambda f: cross_entropy(f, y, reduction="none"), f)
    p = f.softmax(1).gather(1, y[:, None])
    torch.testing.assert_close(along * (1 - p), reference * p)
    _, odds = value_and_gradient(lambda f: -log_odds(f, y), f)
    torch.testing.assert_close(odds * (1 - p), reference)


@given(n=samples, nb_classes=classes, seed=seeds, shift=st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_a_constant_added_to_the_logits_changes_nothing(n: int, nb_classes: int, seed: int, shift: float) -> None:
    f, f_adv, y = logits(n, nb_classes, seed), logits(n, nb_classes, seed + 1), labels(n, nb_classes, seed)
    shifts = shift * torch.arange(1, n + 1)[:, None]
    close: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10}
    for loss in (log_error_probability, boosted_cross_entropy):
        torch.testing.assert_close(loss(f + shifts, y), loss(f, y), **close)
    torch.testing.assert_close(kl_divergence(f_adv - shifts, f + shifts), kl_divergence(f_adv, f), **close)
    torch.testing.assert_close(mart_regulariser(f_adv - shifts, f + shifts, y), mart_regulariser(f_adv, f, y), **close)


@given(n=samples, nb_classes=classes, seed=seeds, scale=scales)
@settings(deadline=None)
def test_signs(n: int, nb_classes: int, seed: int, scale: float) -> None:
    f, f_adv = logits(n, nb_classes, seed, scale), logits(n, nb_classes, seed + 1, scale)
    y = labels(n, nb_classes, seed)
    assert (log_error_probability(f, y) <= 0).all()
    assert (boosted_cross_entropy(f, y) >= 0).all()
    assert (kl_divergence(f_adv, f) >= -1e-12).all()
    assert (mart_regulariser(f_adv, f, y) >= -1e-12).all()
    assert (kl_divergence(f, f) == 0).all()


@given(n=samples, nb_classes=classes, seed=seeds)
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_the_values(n: int, nb_classes: int, seed: int) -> None:
    f, f_adv = (logits(n, nb_classes, seed + k).requires_grad_() for k in range(2))
    y = labels(n, nb_classes, seed)
    assert gradcheck(lambda f: log_error_probability(f, y), f)
    assert gradcheck(lambda f: boosted_cross_entropy(f, y), f)
    assert gradcheck(kl_divergence, (f_adv, f))
    assert gradcheck(lambda f_adv, f: mart_regulariser(f_adv, f, y), (f_adv, f))
    assert gradcheck(lambda *both: logit_distance(*both, order="mse"), (f_adv, f))
    assert gradcheck(logit_distance, (f_adv, f))
    for symmetric in (True, False):
        assert gradcheck(
            lambda a, b, symmetric=symmetric: class_mutual_information(a.softmax(1), b.softmax(1), symmetric=symmetric),
            (f, f_adv),
        )


# --- saturated networks, in float32 ---


@each_gap
def test_the_log_error_of_a_confident_network_keeps_value_and_gradient(gap: float) -> None:
    value, grad = value_and_gradient(lambda f: log_error_probability(f, torch.tensor([0])), torch.tensor([[gap, 0.0]]))
    assert value.item() == pytest.approx(-gap - math.log1p(math.exp(-gap)), rel=1e-6)
    assert grad.tolist() == [pytest.approx([-1.0, 1.0], rel=1e-6)]


@each_gap
def test_the_gradient_of_the_log_odds_vanishes_on_neither_side(gap: float) -> None:
    for y in (0, 1):
        value, grad = value_and_gradient(lambda f, y=y: log_odds(f, torch.tensor([y])), torch.tensor([[gap, 0.0]]))
        assert value.item() == (gap if y == 0 else -gap)
        assert grad.tolist() == [[1.0, -1.0] if y == 0 else [-1.0, 1.0]]


def test_where_probabilities_round_to_one_the_plain_formula_is_lost() -> None:
    plain, grad = value_and_gradient(lambda f: (1 - f.softmax(1)[:, 0]).log(), torch.tensor([[17.0, 0.0]]))
    assert plain.isneginf()
    assert not grad.isfinite().any()


@each_gap
def test_the_log_error_of_a_wrong_network_keeps_its_small_value(gap: float) -> None:
    value, grad = value_and_gradient(lambda f: log_error_probability(f, torch.tensor([1])), torch.tensor([[gap, 0.0]]))
    assert value.item() == pytest.approx(-math.log1p(math.exp(-gap)), rel=1e-5, abs=1e-40)
    assert grad.isfinite().all()


@each_gap
@pytest.mark.parametrize("sign", [1, -1])
def test_boosted_cross_entropy_of_two_classes_is_twice_the_softplus_of_the_margin(gap: float, sign: int) -> None:
    f, y = torch.tensor([[sign * gap, 0.0]]), torch.tensor([0])
    value, grad = value_and_gradient(lambda f: boosted_cross_entropy(f, y), f)
    expected = 2 * (max(-sign * gap, 0) + math.log1p(math.exp(-gap)))
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-40)
    assert grad.isfinite().all()
    if sign < 0:
        assert grad.tolist() == [pytest.approx([-2.0, 2.0], rel=1e-6)]


@each_gap
def test_divergence_and_information_of_saturated_networks_are_finite_forward_and_backward(gap: float) -> None:
    f, y = torch.tensor([[gap, 0.0, -gap], [0.0, gap, 0.0], [0.0, -gap, gap]]), torch.tensor([0, 1, 2])
    for other in (f, -f, f.roll(1, 1), torch.zeros_like(f)):
        for loss in (
            lambda f, other=other: kl_divergence(other, f),
            lambda f, other=other: kl_divergence(f, other),
            lambda f, other=other: mart_regulariser(other, f, y),
            lambda f, other=other: mart_regulariser(f, other, y),
            lambda f, other=other: class_mutual_information(f.softmax(1), other.softmax(1)),
            lambda f, other=other: class_mutual_information(f.softmax(1), other.softmax(1), symmetric=False),
        ):
            value, grad = value_and_gradient(loss, f)
            assert value.isfinite().all()
            assert grad.isfinite().all()


@each_gap
def test_opposite_certainties_diverge_by_their_gap(gap: float) -> None:
    f = torch.tensor([[gap, 0.0]])
    value, grad = value_and_gradient(lambda f_adv: kl_divergence(f_adv, f), -f)
    assert value.item() == pytest.approx(gap, rel=1e-5)
    assert grad.tolist() == [pytest.approx([-1.0, 1.0], rel=1e-5)]


# --- information between predictions ---


@pytest.mark.parametrize("nb_classes", [2, 5, 10])
@pytest.mark.parametrize("symmetric", [True, False])
def test_certain_balanced_agreement_carries_log_c(nb_classes: int, symmetric: bool) -> None:
    p = torch.eye(nb_classes, dtype=torch.float64)
    value = class_mutual_information(p, p, symmetric=symmetric).item()
    assert value == pytest.approx(math.log(nb_classes), rel=0, abs=1e-12)


def test_an_empty_class_carries_nothing() -> None:
    p = certain(0, 1, 2, 3, nb_classes=5)
    assert class_mutual_information(p, p).item() == pytest.approx(math.log(4), rel=0, abs=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_collapsed_and_constant_predictions_carry_nothing(symmetric: bool) -> None:
    collapsed, uniform = certain(2, 2, 2, 2, nb_classes=4), torch.full((4, 4), 0.25, dtype=torch.float64)
    for p in (collapsed, uniform):
        assert class_mutual_information(p, p, symmetric=symmetric).item() == pytest.approx(0, abs=1e-12)


def test_a_constant_permutation_scores_as_agreement_unless_symmetrised() -> None:
    p = torch.eye(10, dtype=torch.float64)
    shifted = p.roll(1, 1)
    assert class_mutual_information(p, shifted, symmetric=False).item() == pytest.approx(math.log(10), abs=1e-12)
    assert class_mutual_information(p, shifted).item() == pytest.approx(math.log(10) - math.log(2), abs=1e-12)
    assert math.log(5) == pytest.approx(1.609, abs=1e-3)


def test_a_batch_of_one_carries_nothing_unless_symmetrised() -> None:
    p, q = CLEAN[:1].softmax(1), ADV[1:2].softmax(1)
    assert class_mutual_information(p, q, symmetric=False).item() == pytest.approx(0, abs=1e-12)
    assert class_mutual_information(p, q).item() > 1e-3


@given(n=samples, nb_classes=classes, seed=seeds, scale=scales, symmetric=st.booleans())
@settings(deadline=None)
def test_information_lies_between_zero_and_log_c(
    n: int, nb_classes: int, seed: int, scale: float, symmetric: bool
) -> None:
    p, q = (logits(n, nb_classes, seed + k, scale).softmax(1) for k in range(2))
    value = class_mutual_information(p, q, symmetric=symmetric).item()
    assert -1e-12 <= value <= math.log(nb_classes) + 1e-12
    assert class_mutual_information(q, p, symmetric=symmetric).item() == pytest.approx(value, abs=1e-12)
    order = torch.randperm(nb_classes, generator=torch.Generator().manual_seed(seed))
    permuted = class_mutual_information(p[:, order], q[:, order], symmetric=symmetric).item()
    assert permuted == pytest.approx(value, abs=1e-12)


# --- errors ---


@pytest.mark.parametrize("loss", [log_error_probability, boosted_cross_entropy])
def test_labels_must_fit_logits(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"`logits` must have shape \(n, C\) with at least 2 classes, got \(3, 1\)"):
        loss(torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`logits` must have shape .* got \(3,\)"):
        loss(torch.zeros(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`y` must hold one index a row of `logits`, got \(2,\) for 3 rows"):
        loss(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (kl_divergence, "`logits_adv` and `logits`"),
        (logit_distance, "`logits_adv` and `logits`"),
        (class_mutual_information, "`p` and `q`"),
    ],
)
def test_the_two_sides_must_share_a_shape(loss: Callable[[Tensor, Tensor], Tensor], names: str) -> None:
    for one, other in [((3, 2), (3, 4)), ((3, 2), (1, 2)), ((3,), (3,)), ((0, 2), (0, 2))]:
        with pytest.raises(ValueError, match=rf"{names} must share a shape \(n, C\) with n at least 1, got"):
            loss(torch.zeros(one), torch.zeros(other))


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`order` must be one of 'mae', 'mse', got 'l1'"):
        logit_distance(ADV, CLEAN, order="l1")
    with pytest.raises(ValueError, match="`reduction` must be one of 'mean', 'sum', got 'none'"):
        logit_distance(ADV, CLEAN, reduction="none")
