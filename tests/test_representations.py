from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_mi.bridge import evaluating, outputs
from art_mi.representations import (
    in_batches,
    layer_outputs,
    named_layer,
    noisy_outputs,
    representation,
    running_order,
)


class Nested(nn.Module):
    """Batch normalisation and dropout, nested names, a module that is never run and one that gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.ModuleDict({"flat": nn.Flatten(), "out": nn.Linear(48, 4)})
        self.pair = Pair()
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.features(x)
        out: Tensor = self.head["out"](self.head["flat"](self.pair(features)[0]))
        return out


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.mean()


class Tupled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.first(x)
        return hidden, self.second(hidden)


class Square(PreprocessorPyTorch):
    """A step that is noticed where it is left out or applied twice."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return x**2, y


class TrainingOnly(Square):
    @property
    def apply_predict(self) -> bool:
        return False


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sign()


def classifier(model: nn.Module, shape: tuple[int, ...] = (5,), **options: Any) -> PyTorchClassifier:
    options = {"clip_values": (0.0, 1.0), "nb_classes": 4, "device_type": "cpu", **options}
    return PyTorchClassifier(model=model, loss=nn.CrossEntropyLoss(), input_shape=shape, **options)


def linear(**options: Any) -> PyTorchClassifier:
    torch.manual_seed(0)
    return classifier(nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 4)), **options)


def nested(**options: Any) -> PyTorchClassifier:
    torch.manual_seed(0)
    model = Nested()
    model.features[1].running_mean.fill_(0.1)
    return classifier(model, (1, 6, 6), **options)


def vectors(n: int = 7) -> Tensor:
    return torch.rand(n, 5, generator=torch.Generator().manual_seed(1))


def images(n: int = 7) -> Tensor:
    return torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def state(model: nn.Module) -> tuple[Any, ...]:
    """Everything that must be as before: modes, hooks, what needs a gradient, gradients and weights."""
    return (
        [module.training for module in model.modules()],
        [len(module._forward_hooks) for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [value.tolist() for value in model.state_dict().values()],
    )


@pytest.mark.parametrize(("layer", "count"), [("features.0", 1), ("features.1", 2), ("features", 4)])
def test_a_layer_gives_what_the_manual_forward_gives(layer: str, count: int) -> None:
    art, x = nested(), images()
    with representation(art, layer) as function:
        z = function(x)
    art.model.eval()
    features = art.model.features if layer == "features" else art.model.features[:count]
    torch.testing.assert_close(z, features(x).flatten(1))


def test_no_layer_means_the_output() -> None:
    art, x = nested(), images()
    with representation(art) as function:
        z = function(x)
    assert z.shape == (7, 4)
    np.testing.assert_allclose(z.detach().numpy(), art.predict(x.numpy()), atol=1e-6)


def test_a_model_that_returns_several_tensors_is_refused() -> None:
    with (
        representation(classifier(Tupled())) as function,
        pytest.raises(TypeError, match="`classifier` must have a model that returns one tensor, got tuple"),
    ):
        function(vectors())


@pytest.mark.parametrize("layer", [None, "features.1", "head.out"])
def test_the_classifier_leaves_as_it_came(layer: str | None) -> None:
    art = nested()
    art.model.train()
    art.model.features[1].eval()
    art.model.unused.weight.requires_grad_(False)
    art.model.head["out"].weight.grad = torch.ones(4, 48)
    before = state(art.model)
    with representation(art, layer) as function:
        function(images().requires_grad_()).sum().backward()
        assert not any(module.training for module in art.model.modules())
        assert torch.equal(function(images()), function(images()))
    assert state(art.model) == before


@pytest.mark.parametrize("layer", [None, "features.1"])
def test_the_classifier_leaves_as_it_came_after_an_error(layer: str | None) -> None:
    art = nested()
    art.model.train()
    art.model.features[3].eval()
    before = state(art.model)

    def stop() -> None:
        with representation(art, layer) as function:
            function(images())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    with pytest.raises(RuntimeError, match="size"), representation(art, layer) as function:
        function(vectors())
    with pytest.raises(ValueError, match="`layer`"), representation(art, "nowhere"):
        pass
    assert state(art.model) == before


def test_the_gradient_reaches_the_input_even_where_gradients_are_off_outside() -> None:
    art, x = nested(), images().requires_grad_()
    with torch.no_grad(), representation(art, "features") as function:
        z = function(x)
        assert z.requires_grad
        (grad,) = torch.autograd.grad(z.sum(), x)
    assert grad.abs().sum() > 0
    assert all(p.grad is None for p in art.model.parameters())


@pytest.mark.parametrize("layer", [None, "0"])
def test_mean_and_deviation_are_applied_exactly_once(layer: str | None) -> None:
    art, x = linear(preprocessing=(0.5, 0.25)), vectors()
    model = art.model if layer is None else named_layer(art.model, "0")
    with representation(art, layer) as function:
        torch.testing.assert_close(function(x), model((x - 0.5) / 0.25))
    np.testing.assert_allclose(outputs(art, x).detach().numpy(), art.predict(x.numpy()), atol=1e-6)


@pytest.mark.parametrize("step", [Square(), TrainingOnly()])
def test_preprocessing_defences_are_applied_as_art_applies_them(step: PreprocessorPyTorch) -> None:
    art, x = nested(preprocessing_defences=step), images()
    with representation(art) as function:
        z = function(x)
        torch.testing.assert_close(z, art.model(x**2 if step.apply_predict else x))
    np.testing.assert_allclose(z.detach().numpy(), art.predict(x.numpy()), atol=1e-6)


def test_an_unknown_layer_is_refused_with_close_names() -> None:
    with pytest.raises(ValueError, match=r"`layer` must name a module of the model, got 'feature.1'.*features\.1"):
        named_layer(Nested(), "feature.1")
    with pytest.raises(ValueError, match=r"Close names: features, features\.0"):
        named_layer(Nested(), "zzz")
    with pytest.raises(ValueError, match="Close names: none"):
        named_layer(Sign(), "x")
    with pytest.raises(ValueError, match="`layer` must name a module of the model, got ''"):
        named_layer(Nested(), "")


@pytest.mark.parametrize(
    ("layer", "error", "match"),
    [
        ("unused", ValueError, "`layer` must be run by the model's forward pass, 'unused' was not"),
        ("pair", TypeError, "`layer` must give a tensor, layer 'pair' is a tuple"),
    ],
)
def test_layers_that_give_no_tensor_are_refused(layer: str, error: type[Exception], match: str) -> None:
    with representation(nested(), layer) as function, pytest.raises(error, match=match):
        function(images())


def test_layers_that_mix_the_samples_are_refused() -> None:
    flat = classifier(nn.Sequential(nn.Linear(5, 4), nn.Flatten(0), nn.Unflatten(0, (-1, 4))))
    match = r"`layer` must give one row a sample, layer '1' has shape \(28,\) for 7 samples"
    with representation(flat, "1") as function, pytest.raises(ValueError, match=match):
        function(vectors())


def test_one_number_a_sample_becomes_one_column() -> None:
    with representation(classifier(nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), nb_classes=2)) as function:
        assert function(vectors()).shape == (7, 1)


def test_evaluation_mode_ends_with_its_context_even_for_single_modules() -> None:
    model = Nested()
    model.features[1].eval()
    before = state(model)
    with evaluating(model):
        assert not any(p.requires_grad for p in model.parameters())
    assert state(model) == before


@pytest.mark.parametrize("layer", [None, "0", "2"])
def test_noise_is_added_at_the_layer(layer: str | None) -> None:
    art, x = linear(), vectors()
    first, relu, last = art.model[0], art.model[1], art.model[2]
    before = state(art.model)
    with noisy_outputs(art, layer, lambda z: torch.full_like(z, 0.5)) as function:
        noisy = function(x)
    expected = last(relu(first(x) + 0.5)) if layer == "0" else last(relu(first(x))) + 0.5
    torch.testing.assert_close(noisy, expected)
    assert state(art.model) == before


def test_batches_join_to_the_whole_without_gradient() -> None:
    x = vectors(10).requires_grad_()
    sizes: list[int] = []

    def double(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return 2 * part

    out = in_batches(double, x, 4)
    assert sizes == [4, 4, 2]
    assert torch.equal(out, 2 * x)
    assert not out.requires_grad


def test_several_layers_are_read_in_one_forward_pass_as_each_alone() -> None:
    art, x = nested(), images()
    layers = ["features.1", "head.out", "features"]
    calls: list[int] = []
    count = art.model.register_forward_hook(lambda *call: calls.append(1))
    with layer_outputs(art, layers) as function:
        together = function(x)
    count.remove()
    assert len(calls) == 1
    assert list(together) == layers
    for layer in layers:
        with representation(art, layer) as function:
            assert torch.equal(together[layer], function(x))


def test_reading_several_layers_leaves_the_classifier_as_it_came_even_after_an_error() -> None:
    art = nested()
    before = state(art.model)
    with layer_outputs(art, ["features.1"]) as function:
        function(images()[:2])
    with pytest.raises(ValueError, match="'unused' was not"), layer_outputs(art, ["features.1", "unused"]) as function:
        function(images())
    with pytest.raises(RuntimeError, match="size"), layer_outputs(art, ["features.1"]) as function:
        function(vectors())
    assert state(art.model) == before


class Twice(nn.Module):
    """Runs its second module before its first, and its activation after each."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early, self.activation = nn.Linear(4, 3), nn.Sequential(nn.Linear(5, 4)), nn.ReLU()
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.late(self.activation(self.early(x))))
        return out


def test_layers_are_ordered_as_they_run_last_and_the_innermost_are_told() -> None:
    art = classifier(Twice(), nb_classes=3)
    before = state(art.model)
    order = running_order(art, vectors())
    assert list(order.items()) == [("early.0", True), ("early", False), ("late", True), ("activation", True)]
    assert state(art.model) == before
