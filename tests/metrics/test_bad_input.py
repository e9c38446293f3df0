"""Every wrong argument is refused with its name and value before the model runs, and every doubtful number flagged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import (
    FastGradientMethod,
    ProjectedGradientDescent,
    ProjectedGradientDescentNumpy,
    ProjectedGradientDescentPyTorch,
)
from art.defences.preprocessor import SpatialSmoothing
from art.estimators.classification import PyTorchClassifier, SklearnClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.data import DataLoader

from art_mi import Flag, RepresentationVulnerability, WorstCaseMIEstimator, representation_vulnerability

FEW = 120


class Counting(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.body(x)
        return out


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class Broken(nn.Module):
    """Gives NaN, a pair, or one row for the whole batch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        if self.kind == "nan":
            return x / 0.0 * 0.0
        return (x, x) if self.kind == "pair" else x.sum(0, keepdim=True)


class First(nn.Module):
    def forward(self, x: Any) -> Tensor:
        first: Tensor = x[0] if isinstance(x, tuple) else x
        return first


def network(*before: nn.Module, width: int = 8) -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(5, width), *before, nn.Tanh(), nn.Linear(width, 3))
    with torch.no_grad():
        for module in (model[0], model[-1]):
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
            module.bias.zero_()
        model[0].bias.copy_(-0.5 * model[0].weight.sum(1))
    return model


def classifier(body: nn.Module | None = None, **options: Any) -> PyTorchClassifier:
    options = {"clip_values": (0.0, 1.0), "input_shape": (5,), "nb_classes": 3, "device_type": "cpu", **options}
    return PyTorchClassifier(model=Counting(network() if body is None else body), loss=nn.CrossEntropyLoss(), **options)


def forwards(art: PyTorchClassifier) -> int:
    calls: int = art.model.calls
    return calls


def samples(n: int = FEW) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, 5), dtype=np.float32)


def labels(n: int = FEW) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, 3, n)


def estimator(**options: Any) -> WorstCaseMIEstimator:
    return WorstCaseMIEstimator(**{"eps": 0.1, "max_iter": 3, "verbose": False, **options})


def changed(value: float) -> NDArray[np.float32]:
    x = samples()
    x[7, 2] = value
    return x


def evaluate(body: nn.Module | None = None, n: int = FEW, **options: Any) -> RepresentationVulnerability:
    return estimator(**options).evaluate(classifier(body), samples(n), labels(n))


# --- arguments of the estimator ---


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eps": -0.1}, ValueError, r"`eps` .*got -0\.1"),
        ({"eps": math.nan}, ValueError, r"`eps` .*got nan"),
        ({"eps": math.inf}, ValueError, r"`eps` .*got inf"),
        ({"eps": None}, ValueError, r"`eps` must be a number, or `attack` be given, got None"),
        ({"eps": "0.1"}, ValueError, r"`eps` .*got '0\.1'"),
        ({"norm": 3}, ValueError, r"`norm` must be inf, 2 or 1, got 3"),
        ({"norm": "l2"}, ValueError, r"`norm` must be inf, 2 or 1, got 'l2'"),
        ({"method": "mine"}, ValueError, r"`method` must be one of 'noisy', 'critic', 'quantised', got 'mine'"),
        ({"method": None}, ValueError, r"`method` .*got None"),
        ({"noise_std": 0}, ValueError, r"`noise_std` must be a positive number, got 0"),
        ({"noise_std": -1.0}, ValueError, r"`noise_std` must be a positive number, got -1\.0"),
        ({"noise_std": math.nan}, ValueError, r"`noise_std` must be a positive number, got nan"),
        ({"noise_std": math.inf}, ValueError, r"`noise_std` must be a positive number, got inf"),
        ({"noise_std": [1.0, 0.0]}, ValueError, r"`noise_std` must be a positive number, got 0\.0"),
        ({"noise_nats": 0}, ValueError, r"`noise_nats` must be None or a positive number, got 0"),
        ({"noise_nats": 1.0, "method": "critic"}, ValueError, r"`noise_nats` must be left out .*, got 1\.0"),
        ({"noise_nats": 1.0, "noise": "uniform"}, ValueError, r"`noise_nats` must be left out .*, got 1\.0"),
        ({"noise_std": []}, ValueError, r"`noise_std` must be a positive number, got \[\]"),
        ({"noise": "laplace"}, ValueError, r"`noise` must be one of 'gaussian', 'uniform', got 'laplace'"),
        ({"codes": "kmeans"}, ValueError, r"`codes` must be one of 'argmax', 'sign', got 'kmeans'"),
        ({"codes": 3}, TypeError, r"`codes` must be a name or a callable, got int"),
        ({"max_codes": 0}, ValueError, r"`max_codes` must be an integer of at least 1, got 0"),
        ({"max_iter": 0}, ValueError, r"`max_iter` must be an integer of at least 1, got 0"),
        ({"max_iter": 2.5}, ValueError, r"`max_iter` must be an integer of at least 1, got 2\.5"),
        ({"num_random_init": -1}, ValueError, r"`num_random_init` must be an integer of at least 0, got -1"),
        ({"batch_size": 0}, ValueError, r"`batch_size` must be an integer of at least 1, got 0"),
        ({"attack_steps": 0}, ValueError, r"`attack_steps` must be an integer of at least 1, got 0"),
        ({"max_steps": 0}, ValueError, r"`max_steps` must be an integer of at least 1, got 0"),
        ({"eps_step": 0.0}, ValueError, r"`eps_step` must be a positive number, got 0\.0"),
        ({"eps_step": math.nan}, ValueError, r"`eps_step` must be a positive number, got nan"),
        ({"robust_accuracy": 2}, ValueError, r"`robust_accuracy` must be a number between 0 and 1, got 2"),
        ({"robust_accuracy": math.nan}, ValueError, r"`robust_accuracy` .*got nan"),
        ({"unit": "dits"}, ValueError, r"`unit` must be one of 'nats', 'bits', got 'dits'"),
    ],
)
def test_a_bad_argument_is_refused_by_name(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        estimator(**options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"noise_std": "loud"}, "noise_std"),
        ({"noise_std": None}, "noise_std"),
        ({"eps_step": "0.1"}, "eps_step"),
        ({"robust_accuracy": "0.5"}, "robust_accuracy"),
        ({"random_state": None}, "random_state"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": 1.5}, "random_state"),
        ({"layer": 3}, "layer"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name_before_the_model_runs(options: dict[str, Any], name: str) -> None:
    art = classifier()
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        estimator(**options).evaluate(art, samples())
    assert forwards(art) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"eps": np.float32(0.1)},
        {"eps": np.float64(0.1)},
        {"noise_std": np.float32(1.0)},
        {"noise_std": np.array([1.0, 2.0])},
        {"max_iter": np.int64(3)},
        {"batch_size": np.int64(64)},
    ],
)
def test_numpy_numbers_are_numbers(options: dict[str, Any]) -> None:
    estimator(**options)


def test_a_misspelt_keyword_is_refused() -> None:
    art = classifier()
    with pytest.raises(TypeError, match="max_iters"):
        estimator(max_iters=3)
    with pytest.raises(TypeError, match=r"`max_iters` must be an argument of WorstCaseMIEstimator: .*max_iter"):
        representation_vulnerability(art, samples(), eps=0.1, max_iters=3)
    assert forwards(art) == 0


def test_the_function_needs_a_threat_model() -> None:
    art = classifier()
    with pytest.raises(ValueError, match=r"`eps` must be a number, or `attack` be given, got None"):
        representation_vulnerability(art, samples())
    assert forwards(art) == 0


def test_eps_and_an_attack_exclude_each_other() -> None:
    attack = ProjectedGradientDescent(classifier(), eps=0.2, eps_step=0.1, verbose=False)
    with pytest.raises(ValueError, match=r"`eps` must be left out where `attack` is given, got 0\.1"):
        estimator(attack=attack)


@pytest.mark.parametrize("kind", [FastGradientMethod, ProjectedGradientDescentNumpy])
def test_an_attack_of_another_kind_is_refused(kind: type[Any]) -> None:
    art = classifier()
    with pytest.raises(TypeError, match=f"`attack` must be an ART ProjectedGradientDescent, got {kind.__name__}"):
        estimator(eps=None, attack=kind(art, eps=0.2, eps_step=0.1))
    with pytest.raises(TypeError, match=r"`attack` must be an ART ProjectedGradientDescent, got str"):
        estimator(eps=None, attack="pgd")
    assert forwards(art) == 0


# --- classifiers and layers ---


def test_a_bare_module_is_refused() -> None:
    model = Counting(network())
    with pytest.raises(TypeError, match=r"`classifier` must be an ART PyTorchClassifier, got Counting"):
        estimator().evaluate(model, samples())
    assert model.calls == 0


def test_a_classifier_of_another_library_is_refused() -> None:
    art = SklearnClassifier(LogisticRegression().fit(samples(), labels()), clip_values=(0, 1))
    with pytest.raises(TypeError, match=r"`classifier` must be an ART PyTorchClassifier, got \w*LogisticRegression"):
        estimator().evaluate(art, samples())


def test_a_preprocessor_that_no_gradient_passes_is_refused() -> None:
    smoothing = SpatialSmoothing(window_size=3, channels_first=True)
    art = classifier(nn.Flatten(), input_shape=(1, 4, 4), preprocessing_defences=smoothing)
    with pytest.raises(ValueError, match=r"`classifier` must preprocess with PyTorch .*got SpatialSmoothing"):
        estimator().evaluate(art, np.zeros((FEW, 1, 4, 4), np.float32))
    assert forwards(art) == 0


@pytest.mark.parametrize(("layer", "close"), [("body.00", "body.0"), ("bodi.2", "body.2"), ("", "body")])
def test_an_unknown_layer_is_refused_with_close_names(layer: str, close: str) -> None:
    art = classifier()
    with pytest.raises(ValueError, match=rf"`layer` must name a module of the model, got '{layer}'.*{close}"):
        estimator(layer=layer).evaluate(art, samples())
    assert forwards(art) == 0


# --- inputs ---


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (samples()[:, :4], ValueError, r"`x` must have shape \(n, 5\), got \(120, 4\)"),
        (samples()[0], ValueError, r"`x` must have shape \(n, 5\), got \(5,\)"),
        (samples()[:, None], ValueError, r"`x` must have shape \(n, 5\), got \(120, 1, 5\)"),
        (np.zeros((0, 5), np.float32), ValueError, r"`x` .*got "),
        (changed(math.nan), ValueError, r"`x` must be finite, got NaN or infinity"),
        (changed(math.inf), ValueError, r"`x` must be finite, got NaN or infinity"),
        (changed(-math.inf), ValueError, r"`x` must be finite, got NaN or infinity"),
        (changed(1.5), ValueError, r"`x` must lie within .*\[0, 1\], got values from .* to 1\.5"),
        (changed(-0.25), ValueError, r"`x` must lie within .*\[0, 1\], got values from -0\.25 to"),
        (255 * samples(), ValueError, r"`x` must lie within .*\[0, 1\]"),
        (samples(99), ValueError, r"`x` must hold at least 100 samples, got 99"),
        ("text", TypeError, r"`x` must be an array, a tensor or a DataLoader, got str"),
        (None, TypeError, r"`x` must be an array, a tensor or a DataLoader, got NoneType"),
        ({"x": samples()}, TypeError, r"`x` must be an array, a tensor or a DataLoader, got dict"),
        (np.full((FEW, 5), "a"), TypeError, r"`x` must be numeric, got ndarray"),
        (samples().astype(object), TypeError, r"`x` must be numeric, got ndarray"),
        ([["a"] * 5] * FEW, TypeError, r"`x` must be numeric, got list"),
        (samples().astype(np.complex64), TypeError, r"`x` must be numeric|`x` must be real"),
        (DataLoader([]), ValueError, r"`x` must hold samples, got an empty DataLoader"),  # type: ignore[arg-type]
    ],
)
def test_bad_inputs_are_refused_before_the_model_runs(x: Any, error: type[Exception], message: str) -> None:
    art = classifier()
    with pytest.raises(error, match=message):
        estimator().evaluate(art, x)
    assert forwards(art) == 0


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (labels(119), ValueError, r"`y` must hold one label for each of the 120 samples, got shape \(119,\)"),
        (np.eye(3)[labels(119)], ValueError, r"`y` must hold one label for each of the 120 samples"),
        (np.eye(4)[labels()], ValueError, r"`y` must have 1 or 3 columns, got 4"),
        (np.zeros((FEW, 3, 1)), ValueError, r"`y` must hold one label .*got shape \(120, 3, 1\)"),
        (labels() + 1, ValueError, r"`y` must hold integers from 0 to 2, got values from 1 to 3"),
        (labels() - 1, ValueError, r"`y` must hold integers from 0 to 2, got values from -1 to 1"),
        (labels() + 0.5, ValueError, r"`y` must hold integers from 0 to 2, got values from 0\.5 to 2\.5"),
        (np.full(FEW, np.nan), ValueError, r"`y` must hold integers from 0 to 2, got values from nan"),
        (np.full(FEW, "cat"), TypeError, r"`y` must be numeric, got an array of <U3"),
        (3, ValueError, r"`y` must hold one label for each of the 120 samples, got shape \(\)"),
    ],
)
def test_bad_labels_are_refused_before_the_model_runs(y: Any, error: type[Exception], message: str) -> None:
    art = classifier()
    with pytest.raises(error, match=message):
        estimator().evaluate(art, samples(), y)
    assert forwards(art) == 0


def test_the_critic_needs_a_hundred_report_pairs() -> None:
    art = classifier()
    with pytest.raises(ValueError, match=r"`x` must leave at least 100 report pairs .*got \d\d\."):
        estimator(method="critic").evaluate(art, samples(390))
    assert forwards(art) == 0


# --- representations ---


def test_constant_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`codes` must take at least two values on `x`, got one"):
        evaluate(method="quantised", codes=lambda z: (z[:, 0] * 0).long())


@pytest.mark.parametrize("codes", [lambda z: z[:, 0], lambda z: z[:, 0] * np.nan, lambda z: ["a"] * len(z), str])
def test_codes_that_are_no_integers_are_refused(codes: Any) -> None:
    with pytest.raises(TypeError, match=r"`codes` must give integers, got (torch\.float32|list|str)"):
        evaluate(method="quantised", codes=codes)


@pytest.mark.parametrize("codes", [lambda z: z[:1, 0] > 0, lambda z: (z > 0)[:, :, None]])
def test_codes_of_another_shape_are_refused(codes: Any) -> None:
    with pytest.raises(ValueError, match=r"`codes` must give shape \(n,\) or \(n, k\), got \("):
        evaluate(method="quantised", codes=codes)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("nan", ValueError, r"`layer` must give finite numbers, got NaN or infinity"),
        ("pair", TypeError, r"`layer` must give a tensor, layer 'body\.1' is a tuple"),
        ("sum", ValueError, r"`layer` must give one row a sample, layer 'body\.1' has shape \(1, 5\)"),
    ],
)
def test_a_layer_that_is_no_representation_is_refused(kind: str, error: type[Exception], message: str) -> None:
    model = nn.Sequential(nn.Identity(), Broken(kind), First(), network())
    with pytest.raises(error, match=message):
        estimator(layer="body.1").evaluate(classifier(model), samples())


def test_a_layer_that_does_not_run_is_refused() -> None:
    art = classifier()
    art.model.spare = nn.Linear(5, 2)
    with pytest.raises(ValueError, match=r"`layer` must be run by the model's forward pass, 'spare' was not"):
        estimator(layer="spare").evaluate(art, samples())


# --- flags ---


@pytest.mark.parametrize("method", ["noisy", "quantised"])
def test_a_network_without_gradient_is_flagged(method: str) -> None:
    blind, seeing = evaluate(Blind(), method=method), evaluate(method=method)
    assert Flag.ZERO_GRADIENT in blind.flags
    assert blind.settings["blind_fraction"] == 1.0
    assert Flag.ZERO_GRADIENT not in seeing.flags
    assert Flag.ZERO_GRADIENT not in evaluate(Blind(), method=method, eps=0).flags


class Blind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = network(Sign())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


@pytest.mark.parametrize("method", ["noisy", "quantised"])
def test_an_accuracy_above_a_low_ceiling_contradicts(method: str) -> None:
    options: dict[str, Any] = {"method": method, "eps": 1.0, "max_iter": 20}
    accurate = evaluate(robust_accuracy=1.0, **options)
    assert accurate.accuracy_ceiling < 0.8
    assert Flag.CONTRADICTION in accurate.flags
    assert Flag.CONTRADICTION not in evaluate(robust_accuracy=0.0, **options).flags
    assert Flag.CONTRADICTION not in evaluate(**options).flags


def test_few_samples_are_flagged() -> None:
    assert Flag.UNDERSAMPLED in evaluate(n=999, method="quantised", max_iter=1).flags
    assert Flag.UNDERSAMPLED not in evaluate(n=1000, method="quantised", max_iter=1).flags
    assert Flag.UNDERSAMPLED in evaluate(max_iter=1).flags
    assert Flag.UNDERSAMPLED not in evaluate(n=1000, max_iter=1, noise_std=2.0).flags


def test_noise_too_weak_to_show_is_flagged() -> None:
    weak = evaluate(noise_std=1e-3)
    assert Flag.SATURATED in weak.flags
    assert weak.normal.value > 0.8 * math.log(FEW)
    assert Flag.SATURATED not in evaluate(noise_std=1.0).flags
    assert Flag.SATURATED in evaluate(network(width=12), method="quantised", layer="body.0", codes="sign").flags


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = network()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x).detach()
        return out


@pytest.mark.parametrize("method", ["noisy", "quantised", "critic"])
def test_a_network_that_detaches_is_flagged_and_does_not_crash(method: str) -> None:
    options = {"max_steps": 4, "attack_steps": 1} if method == "critic" else {}
    result = evaluate(Detached(), n=420, method=method, **options)
    assert Flag.ZERO_GRADIENT in result.flags
    if method != "critic":  # whose own x side gives a gradient
        assert result.vulnerability.value == 0.0


@pytest.mark.parametrize("kind", [ProjectedGradientDescent, ProjectedGradientDescentPyTorch])
@pytest.mark.parametrize(("option", "value"), [("targeted", True), ("random_eps", True), ("decay", 0.9)])
def test_an_attack_of_another_game_is_refused(kind: type[Any], option: str, value: Any) -> None:
    attack = kind(classifier(), verbose=False, **{option: value})
    with pytest.raises(ValueError, match=f"`attack` must have {option}="):
        WorstCaseMIEstimator(attack=attack)


def test_the_published_ceiling_is_given_for_uniform_labels_only() -> None:
    skewed = np.zeros(FEW, dtype=np.int64)
    skewed[: FEW // 10] = 1
    given = [estimator().evaluate(classifier(), samples(), y) for y in (skewed, np.arange(FEW) % 3)]
    assert ["published" in result.ceilings for result in given] == [False, True]
    without = estimator().evaluate(classifier(), samples())
    assert "published" in without.ceilings
    assert "labels are taken as uniform" in without.ceiling_direction
