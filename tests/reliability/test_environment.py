"""The same numbers from any form of the inputs, workers, threads and global state; and nothing leaks."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

import art_mi
from art_mi import WorstCaseMIEstimator, estimate_mutual_information, trainers
from art_mi.attacks import LangevinMonteCarlo, MarginAttack, WorstCaseMIAttack
from art_mi.evaluation import evaluate_robustness
from art_mi.randomness import random_states, restore_random_states
from art_mi.trainers import MIMAETrainer
from benchmarks.timing import torch_threads

CPU = torch.device("cpu")
FEATURES, CLASSES, SAMPLES = 5, 3, 120


class Drawing(nn.Module):
    """Adds what it draws from every global generator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(x.shape) + np.random.rand() + random.random()  # noqa: NPY002
        return x + 0.05 * drawn


def classifier(device_type: str = "cpu", *, draws: bool = False) -> PyTorchClassifier:
    first = nn.Sequential(nn.Linear(FEATURES, 8), Drawing()) if draws else nn.Linear(FEATURES, 8)
    model = nn.Sequential(first, nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, CLASSES))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    options = {"input_shape": (FEATURES,), "nb_classes": CLASSES, "clip_values": (0.0, 1.0), "device_type": device_type}
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1), **options
    )


def drawing() -> PyTorchClassifier:
    return classifier(draws=True)


def samples(n: int = SAMPLES) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((n, FEATURES), dtype=np.float32)


def labels(n: int = SAMPLES) -> NDArray[np.int64]:
    return np.random.default_rng(2).integers(0, CLASSES, n)


Numbers = dict[str, Any]
Make = Callable[[], PyTorchClassifier]


def by_metric(x: Any, y: Any, make: Make = classifier) -> Numbers:
    estimator = WorstCaseMIEstimator(eps=0.1, max_iter=4, num_random_init=1, verbose=False)
    found = estimator.evaluate(make(), x, y)
    parts = {name: getattr(found, name) for name in ("normal", "worst_case", "vulnerability")}
    return {f"{name}.{end}": value for name, part in parts.items() for end, value in interval(part).items()}


def interval(part: Any) -> Numbers:
    low, high = part.confidence_interval
    return {"value": part.value, "low": low, "high": high}


def by_attacks(x: Any, y: Any, make: Make = classifier) -> Numbers:
    options = {"eps": 0.1, "max_iter": 4, "num_random_init": 1, "random_state": 0, "verbose": False}
    art = make()
    made = {kind.__name__: kind(art, **options) for kind in (LangevinMonteCarlo, MarginAttack, WorstCaseMIAttack)}
    return {name: np.asarray(attack.generate(x, y)) for name, attack in made.items()}


def by_estimate(x: Any, y: Any) -> Numbers:
    found = estimate_mutual_information(x, np.eye(CLASSES)[y], max_steps=2, nb_bootstrap=50)
    return interval(found)


def by_accuracy(x: Any, y: Any, make: Make = classifier) -> Numbers:
    options: dict[str, Any] = {"eps": 0.1, "attacks": ["FGSM", "PGD-20"], "checks": False, "verbose": False}
    found = evaluate_robustness(make(), x, y, **options)
    return {"clean": found.clean.value, "worst": found.worst_case.value}


def by_training(x: Any, y: Any, make: Make = classifier) -> Numbers:
    art = make()
    attack = MarginAttack(art, eps=0.1, max_iter=2, random_state=0, verbose=False)
    MIMAETrainer(art, attack, verbose=False).fit(x, y, batch_size=40, nb_epochs=2)
    return {name: value.cpu().numpy() for name, value in art.model.state_dict().items()}


MEASURES: dict[str, Callable[..., Numbers]] = {
    "metric": by_metric,
    "attacks": by_attacks,
    "accuracy": by_accuracy,
    "training": by_training,
}
SMALL: dict[str, Any] = {"eps": 0.1, "max_iter": 2, "verbose": False}


def told(found: Any, name: str = "") -> Numbers:
    """All that a result says but how long it took, by where it says it."""
    if isinstance(found, dict):
        return {k: v for key, part in found.items() if key != "seconds" for k, v in told(part, f"{name}.{key}").items()}
    if isinstance(found, list | tuple):
        return {k: v for i, part in enumerate(found) for k, v in told(part, f"{name}.{i}").items()}
    return {name: found if isinstance(found, np.ndarray) else repr(found)}


def by_method(copies: int = 1, **options: Any) -> Callable[..., Numbers]:
    estimator = WorstCaseMIEstimator(**SMALL, layer="2", max_steps=3, attack_steps=1, **options)

    def measured(x: Any, y: Any, make: Make) -> Numbers:
        return told(estimator.evaluate(make(), np.concatenate([x] * copies), np.concatenate([y] * copies)).to_dict())

    return measured


def by_trainer(name: str) -> Callable[..., Numbers]:
    def trained(x: Any, y: Any, make: Make) -> Numbers:
        art, options = make(), {"layer": "2"} if name == "WorstCaseMITrainer" else {}
        attack = ProjectedGradientDescent(art, **SMALL, eps_step=0.05, num_random_init=1)
        trainer = getattr(trainers, name)(art, attack, verbose=False, **options)
        trainer.fit(x, y, validation_data=(x[:40], y[:40]), batch_size=40, nb_epochs=1)
        return {key: value.numpy() for key, value in art.model.state_dict().items()}

    return trained


def by_card(x: Any, y: Any, make: Make) -> Numbers:
    return told(art_mi.assess(make(), x, y, eps=0.1, attacks=["FGSM"], nb_images=2, verbose=False).to_dict())


OTHERS: dict[str, Callable[..., Numbers]] = {
    "critic": by_method(4, method="critic"),
    "quantised": by_method(method="quantised", codes="sign", max_codes=8),
    "layer_profile": lambda x, y, make: told(art_mi.layer_profile(make(), x, y, **SMALL).to_dict()),
    "feature_profile": lambda x, y, make: told(art_mi.feature_profile(make(), x, "2", **SMALL).to_dict()),
    "vulnerability_curve": lambda x, y, make: told(
        art_mi.vulnerability_curve(make(), x, y, **{**SMALL, "eps": [0.05, 0.1]}).to_dict()
    ),
    "backbone_report": lambda x, y, make: told(
        art_mi.backbone_report(make(), x, y, layer="2", nb_epochs=1, **SMALL).to_dict()
    ),
    "information_saliency": lambda x, y, make: told(art_mi.information_saliency(make(), x)),
    "loss_saliency": lambda x, y, make: told(
        art_mi.loss_saliency(make(), x[:20], y[:20], method="smoothgrad", nb_points=3)
    ),
    "estimate": lambda x, y, make: by_estimate(np.concatenate([x] * 4), np.concatenate([y] * 4)),
    "assess": by_card,
    **{name: by_trainer(name) for name in trainers.__all__ if name.endswith("Trainer") and name != "StepTrainer"},
}
each_measure = pytest.mark.parametrize("measure", MEASURES)


def assert_same(found: Numbers, expected: Numbers) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        one, other = np.asarray(found[name]), np.asarray(expected[name])
        if one.dtype == other.dtype:
            assert np.array_equal(one, other), name
        else:  # attacks answer in the dtype they are asked in, and stay inside ball and box in it
            assert np.allclose(one, other, rtol=0, atol=1e-7), name


def read_only(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x.flags.writeable = False
    return x


FORMS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "big-endian": lambda x: x.astype(">f4"),
    "columns first": np.asfortranarray,
    "every second": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "read-only": read_only,
    "broadcast": lambda x: np.broadcast_to(x[None], (2, *x.shape))[1],
    "tensor": torch.from_numpy,
    "tensor of float64 with gradient": lambda x: torch.from_numpy(x).double().requires_grad_(),
    "tensor, not contiguous": lambda x: torch.from_numpy(x).T.contiguous().T,
}


def values(x: Any) -> bytes:
    return np.ascontiguousarray(x.detach().numpy() if isinstance(x, torch.Tensor) else x).tobytes()


@pytest.mark.parametrize(("measure", "n"), [*((measure, SAMPLES) for measure in MEASURES), ("estimate", 420)])
def test_all_forms_of_inputs_give_the_same_numbers(measure: str, n: int, tmp_path: Path, tally: Any) -> None:
    np.save(tmp_path / "x.npy", samples(n))
    forms = {**FORMS, "memory-mapped": lambda x: np.load(tmp_path / "x.npy", mmap_mode="r")}
    measured = {**MEASURES, "estimate": by_estimate}[measure]
    expected = measured(samples(n), labels(n))
    for form in forms.values():
        x = form(samples(n))
        before = values(x)
        assert_same(measured(x, labels(n)), expected)
        assert values(x) == before
    tally(
        "The environment",
        "forms of inputs, for metrics, attacks and training",
        len(forms),
        "the same numbers, inputs as before",
    )


@pytest.mark.parametrize(
    ("measure", "workers"),
    [("metric", "fork"), ("accuracy", "fork"), ("training", "fork"), ("accuracy", "spawn")]
    + [pytest.param(measure, "spawn", marks=pytest.mark.slow) for measure in ("metric", "training")],
)
def test_workers_that_load_give_the_same_numbers(measure: str, workers: str, tally: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(samples()), torch.from_numpy(labels()))

    def loader(**options: Any) -> DataLoader[Any]:
        return DataLoader(pairs, batch_size=40, shuffle=False, **options)

    expected = MEASURES[measure](loader(), None)
    found = MEASURES[measure](loader(num_workers=2, multiprocessing_context=workers), None)
    assert_same(found, expected)
    assert multiprocessing.active_children() == []
    tally("The environment", f"two workers by {workers}, for metrics and training", 1, "the same numbers")


class Augmented(Dataset[Any]):
    """Draws from every global generator."""

    def __init__(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = float(torch.rand(())) + np.random.rand() + random.random()  # noqa: NPY002
        return (self.x[index] + 0.1 * drawn) / 1.3, self.y[index]


LOADED: dict[str, Callable[..., Numbers]] = {
    "metric": by_metric,
    "accuracy": by_accuracy,
    "layer_profile": OTHERS["layer_profile"],
    "backbone_report": OTHERS["backbone_report"],
}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("measure", LOADED)
def test_what_a_loader_draws_follows_the_seed_and_its_generators_are_as_before(
    measure: str, workers: int, tally: Any
) -> None:
    own = torch.Generator().manual_seed(5)
    data, options = Augmented(samples(), labels()), {"batch_size": 40, "num_workers": workers}
    loaders: list[DataLoader[Any]] = [
        DataLoader(data, shuffle=True, **options),
        DataLoader(data, shuffle=True, generator=own, **options),
        DataLoader(data, sampler=RandomSampler(data, generator=own), **options),
    ]
    for loader in loaders:
        expected = LOADED[measure](loader, None, drawing)
        for seed in range(2):
            torch.rand(seed, generator=own)
            with seeds(seed):
                before, state = str(random_states(CPU)), own.get_state()
                assert_same(LOADED[measure](loader, None, drawing), expected)
                assert str(random_states(CPU)) == before
                assert torch.equal(own.get_state(), state)
    tally("The environment", "loaders that draw, for metrics", 2 * len(loaders), "the same numbers, generators kept")


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def seeds(seed: int) -> Iterator[None]:
    before = random_states(CPU)
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        restore_random_states(before, CPU)


@pytest.mark.parametrize("make", [classifier, drawing])
@pytest.mark.parametrize("measure", [*MEASURES, *OTHERS])
def test_neither_reruns_nor_global_seeds_nor_deterministic_mode_change_a_number(
    measure: str, make: Make, tally: Any
) -> None:
    def measured() -> Numbers:
        return {**MEASURES, **OTHERS}[measure](samples(), labels(), make)

    expected = measured()
    for seed in range(2):
        with seeds(seed):
            before = random_states(CPU)
            assert_same(measured(), expected)
            assert str(random_states(CPU)) == str(before)
    with deterministic():
        assert_same(measured(), expected)
    tally(
        "The environment",
        "reruns, other global seeds and the deterministic mode, of all that draws",
        3,
        "the same numbers",
    )


@each_measure
def test_one_thread_and_two_agree_within_rounding(measure: str, tally: Any) -> None:
    with torch_threads(1):
        expected = MEASURES[measure](samples(), labels())
    with torch_threads(2):
        found = MEASURES[measure](samples(), labels())
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(value), rtol=1e-4, atol=1e-5, err_msg=name)
    tally(
        "The environment",
        "one thread and two, for metrics, attacks and training",
        1,
        "the same numbers within rounding",
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_measure
def test_cuda_agrees_with_the_cpu_and_with_itself(measure: str, tally: Any) -> None:
    expected = MEASURES[measure](samples(), labels())
    found, again = (MEASURES[measure](samples(), labels(), partial(classifier, "gpu")) for _ in range(2))
    assert_same(again, found)
    for name in expected if measure in ("metric", "accuracy") else ():
        assert found[name] == pytest.approx(expected[name], abs=0.05), name
    tally(
        "The environment",
        "CUDA, for metrics, attacks and training",
        2,
        "the same numbers on rerun, close to those of the CPU",
    )


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("nb_calls", [15, pytest.param(500, marks=pytest.mark.slow)])
def test_calls_leak_nothing(printed: Callable[..., list[str]], nb_calls: int, tally: Any) -> None:
    """An object kept a call would be at least three, and resamples kept would be 12 MiB in 500 calls."""
    found = [json.loads(line) for line in printed("leaks.py", nb_calls)]
    assert len(found) == 6
    for grown in found:
        name, calls = grown.pop("name"), grown.pop("calls")
        assert (grown["files"], grown["threads"], grown["hooks"]) == (0, 0, 0), name
        assert grown["objects"] < 3 <= calls, name
        assert grown["MiB"] < 8, name
        tally("The environment", name, calls, "no memory, objects, hooks, files or threads kept")
