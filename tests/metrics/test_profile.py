"""Layer profiles against closed forms, against the metric on one layer, and against interrupts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import Flag, WorstCaseMIEstimator, layer_profile
from art_mi.distributions import two_point_gaussian_information
from art_mi.metrics import noisy
from art_mi.results import LayerProfile


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 2)


class Odd(nn.Module):
    """Two linear layers, and beside them layers that a profile has no use for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = linear(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
        self.drop, self.pair, self.back = nn.Dropout(0.5), Pair(), First()
        self.constant, self.relu = Constant(), nn.ReLU()
        self.unused = nn.Linear(2, 2)
        self.last = linear(torch.randn(3, 6, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        z = self.back(self.pair(self.drop(self.first(x))))
        self.constant(z)
        out: Tensor = self.last(self.relu(z))
        return out


def linear(weight: Any) -> nn.Linear:
    weight = torch.as_tensor(np.asarray(weight), dtype=torch.float32)
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.data.copy_(weight)
    return made


def classifier(model: nn.Module, dim: int = 5, nb_classes: int = 3) -> PyTorchClassifier:
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (dim,), nb_classes, device_type="cpu")


def two_points(n: int, dim: int, mu: float = 1.5) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    w = generator.normal(size=dim)
    w /= np.linalg.norm(w)
    x = generator.normal(size=(n, dim))
    sign = np.tile([-1.0, 1.0], n // 2)
    return (x - np.outer(x @ w, w) + np.outer(mu * sign, w)).astype(np.float32), w


def vectors(n: int = 120) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32)


def profile(model: nn.Module, x: Any = None, y: Any = None, *, eps: float = 0.2, **options: Any) -> LayerProfile:
    options = {"max_iter": 5, "verbose": False, **options}
    return layer_profile(classifier(model), vectors() if x is None else x, y, eps=eps, **options)


def state(model: nn.Module) -> tuple[Any, ...]:
    return (
        [module.training for module in model.modules()],
        [len(module._forward_hooks) for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [value.tolist() for value in model.state_dict().values()],
    )


def test_two_points_reach_their_exact_worst_case_at_every_layer() -> None:
    x, w = two_points(400, 5)
    found = profile(
        nn.Sequential(linear(w[None]), linear([[-3.0]]), linear([[1.0], [-1.0]])),
        x,
        norm=2,
        eps=0.6,
        noise_std=1 / 1.5,
        max_iter=20,
    )
    assert list(found.layers) == ["0", "1", "2"]
    for layer in ("0", "1"):
        assert found.layers[layer].normal.value == pytest.approx(two_point_gaussian_information(1.5), abs=0.015)
        assert found.layers[layer].worst_case.value == pytest.approx(two_point_gaussian_information(0.9), abs=0.015)
    # two copies in noise of their own are one number of twice the power
    assert found.layers["2"].worst_case.value == pytest.approx(
        two_point_gaussian_information(0.9 * math.sqrt(2)), abs=0.015
    )


@pytest.mark.parametrize("noise_std", [None, 0.7])
def test_a_scaled_identity_is_as_vulnerable_as_the_identity_and_a_rotation_nearly(noise_std: float | None) -> None:
    turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    model = nn.Sequential(linear(np.eye(5)), linear(64 * np.eye(5)), linear(turned), linear(np.ones((3, 5))))
    found = profile(model, layers=["0", "1", "2"], eps=0.5, noise_std=noise_std, max_iter=20)
    identity, scaled, rotated = (found.layers[layer].vulnerability for layer in "012")
    assert scaled.value == pytest.approx(identity.value, rel=1e-6)
    assert rotated.value == pytest.approx(identity.value, abs=0.1)
    assert identity.value > 0.3


def test_one_layer_is_what_the_metric_says_of_it() -> None:
    x, y = vectors(), np.arange(120) % 3
    found = profile(Odd(), x, y, layers=["relu"], noise_std=0.5)
    estimator = WorstCaseMIEstimator(0.2, layer="relu", noise_std=0.5, max_iter=5, verbose=False)
    assert found.layers["relu"] == estimator.evaluate(classifier(Odd()), x, y)


def test_attacks_with_half_the_steps_in_turn_are_as_good_as_each_by_itself() -> None:
    x = vectors(300)
    together = profile(Odd(), x, max_iter=20)
    alone = {layer: profile(Odd(), x, layers=[layer], max_iter=20) for layer in ("first", "last")}
    for layer, result in alone.items():
        assert together.layers[layer].normal == result.layers[layer].normal
        assert together.layers[layer].worst_case.value <= result.layers[layer].worst_case.value + 0.02
    assert set(together.attacked.values()) <= {"", "first", "last"}
    assert "; 10 steps each" in together.settings["attacks"]
    assert "; 20 steps each" in alone["last"].settings["attacks"]


def test_attacks_start_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    attack, calls, ends = noisy.worst_inputs, list[tuple[Any, ...]](), list[Tensor]()

    def watched(problem: Any, sigma: float, **options: Any) -> Tensor:
        calls.append((problem.layer, problem.max_iter, problem.num_random_init, options.get("start")))
        ends.append(attack(problem, sigma, **options))
        return ends[-1]

    monkeypatch.setattr(noisy, "worst_inputs", watched)
    profile(Odd(), num_random_init=1)
    assert [call[:3] for call in calls] == [("last", 3, 1), ("first", 3, 0), ("last", 3, 0)]
    assert calls[0][3] is None
    assert torch.equal(calls[1][3], ends[0])
    assert torch.equal(calls[2][3], ends[1])
    calls.clear()
    profile(Odd(), layers=["first"], num_random_init=1)
    assert calls == [("first", 5, 1, None)]


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_no_layer_says_more_under_the_attack_than_before(norm: float) -> None:
    for result in profile(Odd(), norm=norm, max_iter=1).layers.values():
        assert result.worst_case.upper <= result.normal.upper


def test_the_lowest_reading_of_all_counts_whichever_attack_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def worst_inputs(problem: Any, sigma: float, start: Tensor | None = None) -> Tensor:
        return problem.x * (0.0 if problem.layer == "last" else 0.9)

    monkeypatch.setattr(noisy, "worst_inputs", worst_inputs)
    found = profile(Odd())
    assert set(found.attacked.values()) == {"last"}
    assert all(abs(result.worst_case.value) < 1e-9 for result in found.layers.values())
    monkeypatch.setattr(noisy, "worst_inputs", lambda problem, sigma, start=None: 10 * problem.x)
    found = profile(Odd())
    assert set(found.attacked.values()) == {""}
    assert all(result.vulnerability.value == 0 for result in found.layers.values())
    assert all(result.worst_case == result.normal for result in found.layers.values())


def test_layers_group_by_weights_and_the_rest_is_left_out_with_a_reason() -> None:
    found = profile(Odd(), eps=0.0)
    assert found.settings["groups"] == [["first", "relu"], ["last"]]
    assert list(found.layers) == ["first", "relu", "last"]
    reasons = found.settings["left_out"]
    assert set(reasons) == {"drop", "pair", "back", "constant"}
    assert reasons["drop"] == "It gives what layer 'first' gives."
    assert "is a tuple" in reasons["pair"]
    assert "constant" in reasons["constant"]


def test_named_layers_come_in_running_order_containers_too() -> None:
    model = nn.Sequential(nn.Sequential(linear(np.eye(5)), nn.Tanh()), linear(np.eye(5)[:3]))
    found = profile(model, layers=["1", "0", "0.1"], eps=0.0)
    assert list(found.layers) == ["0.1", "0", "1"]
    assert [result.layer for result in found.layers.values()] == ["0.1", "0", "1"]


def test_nothing_is_lost_where_nothing_may_move() -> None:
    found = profile(Odd(), eps=0.0)
    assert set(found.attacked.values()) == {""}
    for result in found.layers.values():
        assert result.vulnerability.value == 0.0
        assert result.vulnerability.confidence_interval == (0.0, 0.0)


def test_by_default_every_layer_starts_half_way_whatever_its_width() -> None:
    wide = torch.randn(400, 5, generator=torch.Generator().manual_seed(2))
    model = nn.Sequential(linear(wide), nn.Tanh(), linear(wide.T[:3] / 20))
    n = 200
    found = profile(model, vectors(n), eps=0.0)
    for result in found.layers.values():
        assert result.normal.value == pytest.approx(math.log(n) / 2, abs=0.2)
        assert Flag.SATURATED not in result.flags
    fixed = profile(model, vectors(n), eps=0.0, noise_std=1.0)
    assert Flag.SATURATED in fixed.layers["0"].flags


def test_a_layer_of_few_codes_starts_half_way_of_what_it_can_say() -> None:
    class Sign(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sign()

    found = profile(nn.Sequential(linear(np.eye(5)[:1]), Sign(), linear([[1.0], [-1.0], [0.5]])), eps=0.1)
    assert found.layers["1"].normal.value == pytest.approx(math.log(2) / 2, abs=0.05)
    assert Flag.ZERO_GRADIENT in found.layers["1"].flags
    assert Flag.ZERO_GRADIENT not in found.layers["0"].flags


def test_differences_are_paired_within_and_between_layers() -> None:
    found = profile(nn.Sequential(linear(np.eye(5)), linear(4 * np.eye(5)), linear(np.ones((3, 5)))), eps=0.5)
    for result in found.layers.values():
        np.testing.assert_allclose(
            result.vulnerability.replicates, result.normal.replicates - result.worst_case.replicates
        )
        assert result.vulnerability.value == pytest.approx(result.normal.value - result.worst_case.value)
    first, second = (found.layers[layer].normal.replicates for layer in "01")
    assert np.std(first - second) < 1e-6 * np.std(first)


def test_a_seed_repeats_the_profile_and_no_global_state_is_drawn() -> None:
    model = Odd()
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert profile(model, random_state=3) == profile(model, random_state=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002
    assert profile(model, random_state=3) != profile(model, random_state=4)


def test_a_result_survives_json() -> None:
    found = profile(Odd())
    assert LayerProfile.from_dict(found.to_dict()).to_json() == found.to_json()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupted_profile_goes_on_and_ends_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = profile(Odd())
    attack, attacked = noisy.worst_inputs, list[str]()

    def interrupted(problem: Any, sigma: float, **options: Any) -> Tensor:
        attacked.append(problem.layer)
        if len(attacked) == number:
            raise KeyboardInterrupt
        return attack(problem, sigma, **options)

    monkeypatch.setattr(noisy, "worst_inputs", interrupted)
    model, order = Odd(), ["last", "first", "last"]
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        profile(model, out=tmp_path)
    assert state(model) == before
    assert profile(model, out=tmp_path) == whole
    assert attacked == order[:number] + order[number - 1 :]
    assert profile(model, out=tmp_path, random_state=1) != whole
    assert attacked[4:] == order, "another seed is other work"


def test_the_classifier_leaves_as_it_came() -> None:
    model = Odd()
    model.drop.eval()
    model.last.weight.requires_grad_(False)
    model.first.weight.grad = torch.ones(6, 5)
    before = state(model)
    profile(model)
    assert state(model) == before


@pytest.mark.parametrize(
    ("layers", "error", "match"),
    [
        ("first", TypeError, "`layers` must be 'all' or a sequence of names, got 'first'"),
        ([1], TypeError, r"`layers` must be 'all' or a sequence of names, got \[1\]"),
        ([], ValueError, "`layers` must hold at least one name, got none"),
        (["frist"], ValueError, "`layers` must name a module of the model, got 'frist'"),
        (["unused"], ValueError, "`layers` must be run by the model's forward pass, 'unused' was not"),
        (["pair"], TypeError, "`layer` must give a tensor, layer 'pair' is a tuple"),
        (["constant"], ValueError, "`layer` must give a representation that varies"),
    ],
)
def test_wrong_layers_are_refused(layers: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        profile(Odd(), layers=layers)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="`layers` must be names, since no layer of the model can be read"):
        profile(linear(np.ones((3, 5))))


@pytest.mark.parametrize("noise_std", [0, -1.0, "half"])
def test_noise_must_be_positive(noise_std: Any) -> None:
    with pytest.raises(ValueError, match="`noise_std` must be None or a positive number"):
        profile(Odd(), noise_std=noise_std)
