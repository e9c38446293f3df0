from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi.distributions import two_point_gaussian_information
from art_mi.saliency import METHODS, information_saliency, loss_saliency

MU = np.array([0.3, -0.2, 0.5], dtype=np.float32)
WEIGHT = np.array([1.0, -2.0, 0.5], dtype=np.float32)


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def classifier(model: nn.Module, dim: int = 3, **options: Any) -> PyTorchClassifier:
    options = {"nb_classes": 2, "device_type": "cpu", **options}
    return PyTorchClassifier(model=model, loss=nn.CrossEntropyLoss(), input_shape=(dim,), **options)


def linear(weight: NDArray[np.float32]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(weight)
    return layer


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def samples(n: int = 20) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((n, 3), dtype=np.float32)


def labels(n: int = 20) -> NDArray[np.int64]:
    return np.arange(n) % 2


# --- information ---


@pytest.mark.parametrize("noise_std", [0.7, 1.5])
@pytest.mark.parametrize("batch_size", [400, 200])
def test_two_points_have_the_slope_of_their_information_along_the_weight(noise_std: float, batch_size: int) -> None:
    # I = J(m / s) with m = |w.mu| and s = noise_std m; of one more unit of w.x at both points it gains J'(m / s) / s
    side = np.where(np.arange(400) % 2, 1.0, -1.0).astype(np.float32)
    model = classifier(linear(WEIGHT[None]))
    maps = information_saliency(
        model, side[:, None] * MU, noise_std=noise_std, nb_draws=32, batch_size=batch_size, random_state=1
    )
    t, step = 1 / noise_std, 1e-4
    slope = (two_point_gaussian_information(t + step) - two_point_gaussian_information(t - step)) / (2 * step)
    expected = slope / (noise_std * abs(WEIGHT @ MU)) * np.sign(WEIGHT @ MU) * WEIGHT
    np.testing.assert_allclose((side[:, None] * maps).mean(0), expected, rtol=0.03)


def test_a_gaussian_channel_has_the_gradient_of_the_divergence_from_its_marginal() -> None:
    # KL(N(Ax, s^2) || N(0, A A' + s^2)) = x'A'(A A' + s^2)^-1 A x / 2 + constant, for x standard normal
    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 4)).astype(np.float32)
    x = rng.standard_normal((1000, 4)).astype(np.float32)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, bias=True))).T.astype(np.float32)
    variance = (a @ a.T).trace() / 2  # overall_std of the representation, squared; noise_std = 1
    expected = a.T @ np.linalg.inv(a @ a.T + variance * np.eye(2)) @ a
    maps = information_saliency(classifier(linear(a), dim=4), x, nb_draws=8, batch_size=1000)
    found = np.linalg.lstsq(x, maps, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.corrcoef(maps.ravel(), (x @ expected).ravel())[0, 1] > 0.99


def test_a_linear_map_sees_the_directions_of_its_weights_only() -> None:
    maps = information_saliency(classifier(linear(WEIGHT[None])), samples())
    assert np.abs(maps).max() > 0.01
    np.testing.assert_allclose(np.cross(maps, WEIGHT), 0, atol=1e-5)


def test_maps_are_in_raw_units_whatever_the_preprocessing() -> None:
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.2, 4.0])
    raw = information_saliency(classifier(network(), preprocessing=(mean, std)), samples())
    plain = information_saliency(classifier(network()), (samples() - mean) / std)
    np.testing.assert_allclose(raw, plain / std, rtol=1e-3, atol=1e-5)


def test_a_layer_is_the_network_that_ends_there() -> None:
    whole = network()
    at_layer = information_saliency(classifier(whole), samples(), layer="2")
    np.testing.assert_allclose(at_layer, information_saliency(classifier(whole[:3]), samples()), rtol=1e-5)


def test_the_seed_decides_about_the_noise() -> None:
    first, again, other = (
        information_saliency(classifier(network()), samples(), nb_draws=1, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


# --- loss ---


def test_the_gradient_is_that_of_art() -> None:
    art = classifier(network(), preprocessing=(np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.2, 4.0])))
    theirs = len(samples()) * art.loss_gradient(samples(), np.eye(2, dtype=np.float32)[labels()])  # of the mean
    np.testing.assert_allclose(loss_saliency(art, samples(), labels()), theirs, rtol=1e-4, atol=1e-6)


def test_integrated_gradients_add_up_to_the_loss_gained_on_the_way_from_zero() -> None:
    art, zero = classifier(network()), np.zeros_like(samples())
    maps = loss_saliency(art, samples(), labels(), method="integrated_gradients")
    losses = [art.compute_loss(x, labels(), reduction="none") for x in (samples(), zero)]
    np.testing.assert_allclose(maps.sum(1), losses[0] - losses[1], atol=1e-3)


def test_smoothgrad_is_the_gradient_averaged_over_the_noise() -> None:
    # The gradient of log(1 + exp(-v.x)) is -sigmoid(-v.x) v, its mean over the noise a Gauss-Hermite sum
    art, v, noise_std = classifier(linear(np.stack([WEIGHT, -WEIGHT]))), 2 * WEIGHT, 0.4
    x = np.repeat(0.3 * WEIGHT[None], 40, axis=0)
    nodes, shares = np.polynomial.hermite_e.hermegauss(40)
    margins = x[0] @ v + noise_std * np.linalg.norm(v) * nodes
    expected = -(1 / (1 + np.exp(margins))) @ shares / shares.sum() * v
    maps = loss_saliency(art, x, np.zeros(40, int), method="smoothgrad", noise_std=noise_std, nb_points=100)
    np.testing.assert_allclose(maps.mean(0), expected, rtol=0.1)
    plain = loss_saliency(art, x, np.zeros(40, int))
    assert np.abs(plain[0] / expected - 1).min() > 0.5


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_a_map_does_not_depend_on_the_batch(method: str) -> None:
    whole, parts = (
        loss_saliency(classifier(network()), samples(), labels(), method=method, batch_size=size) for size in (20, 3)
    )
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-6)


def test_captums_methods_say_what_to_install_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(name=module.partition(".")[0])

    monkeypatch.setattr("art_mi.extras.import_module", missing)
    with pytest.raises(ImportError, match=r"`captum` is not installed: pip install 'art-mi\[saliency\]'"):
        loss_saliency(classifier(network()), samples(), labels(), method="smoothgrad")
    assert loss_saliency(classifier(network()), samples(), labels()).any()


# --- both ---

MAPS = {
    "information": lambda art, x: information_saliency(art, x, layer="0"),
    **{name: lambda art, x, name=name: loss_saliency(art, x, labels(), method=name) for name in METHODS},
}


@pytest.mark.parametrize("name", MAPS)
def test_everything_is_left_as_it_was(name: str) -> None:
    art, x = classifier(network()), samples()
    art.model.train()
    art.model[1].eval()
    art.model[0].weight.requires_grad_(False)
    art.model[4].weight.grad = torch.ones(2, 8)

    def state() -> list[Any]:
        model = art.model
        modules = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
        parameters = [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in model.parameters()]
        values = [v.tolist() for v in model.state_dict().values()]
        random = torch.get_rng_state().tolist(), str(np.random.get_state())  # noqa: NPY002
        return [modules, parameters, values, random, x.tolist()]

    before = state()
    maps = MAPS[name](art, x)
    assert maps.shape == x.shape
    assert maps.dtype == np.float32
    assert state() == before
    with pytest.raises(ValueError, match="`x` must be finite"):
        MAPS[name](art, x * np.nan)
    assert state() == before


@pytest.mark.parametrize("name", MAPS)
def test_a_tensor_gives_the_maps_of_its_array(name: str) -> None:
    arrays = MAPS[name](classifier(network()), samples())
    np.testing.assert_array_equal(MAPS[name](classifier(network()), torch.from_numpy(samples())), arrays)


@pytest.mark.parametrize("dead", [Sign(), Cut()])
def test_maps_that_no_gradient_reaches_are_zero_with_a_warning(dead: nn.Module) -> None:
    art = classifier(nn.Sequential(nn.Linear(3, 8), dead, nn.Linear(8, 2)))
    with pytest.warns(UserWarning, match="every map is zero"):
        assert not information_saliency(art, samples()).any()
    with pytest.warns(UserWarning, match="every map is zero"):
        assert not loss_saliency(art, samples(), labels()).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_std": 0.0}, "`noise_std` must be a positive number, got 0.0"),
        ({"nb_draws": 0}, "`nb_draws` must be an integer of at least 1, got 0"),
        ({"batch_size": 1}, "`batch_size` must be an integer of at least 2, got 1"),
        ({"random_state": -1}, "`random_state` must be an integer from 0 to 4294967295, got -1"),
        ({"layer": "none"}, "`layer` must name a module of the model, got 'none'"),
    ],
)
def test_a_wrong_argument_of_information_saliency_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        information_saliency(classifier(network()), samples(), **options)


def test_information_of_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="`x` must hold at least 2 samples, got 1"):
        information_saliency(classifier(network()), samples(1))


def test_information_of_a_constant_representation_is_refused() -> None:
    with pytest.raises(ValueError, match="`layer` must give a representation that varies"):
        information_saliency(classifier(network()), np.ones((5, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "gradcam"},
            "`method` must be one of 'gradient', 'integrated_gradients', 'smoothgrad', got 'gradcam'",
        ),
        ({"nb_points": 0}, "`nb_points` must be an integer of at least 1, got 0"),
        ({"noise_std": -1.0}, "`noise_std` must be a positive number, got -1.0"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"random_state": -1}, "`random_state` must be an integer from 0"),
        ({"y": [5] * 20}, "`y` must hold integers from 0 to 1"),
    ],
)
def test_a_wrong_argument_of_loss_saliency_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_saliency(classifier(network()), samples(), **{"y": labels(), **options})


@pytest.mark.parametrize("name", MAPS)
def test_what_is_no_classifier_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="`classifier` must be an ART PyTorchClassifier, got Sequential"):
        MAPS[name](network(), samples())
