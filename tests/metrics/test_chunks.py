"""Samples beyond one chunk: read twice, measured a chunk at a time, nothing kept but readings."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from art_mi import RepresentationVulnerability, WorstCaseMIEstimator
from art_mi.distributions import two_point_gaussian_information
from art_mi.metrics import chunks

DIM, SIZE, MOST = 5, 400, 500
MU, EPS = 1.5, 0.6


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", SIZE)


def weight() -> Tensor:
    w = torch.randn(DIM, generator=torch.Generator().manual_seed(7))
    return w / w.norm()


def two_points(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs at +-MU along one direction, noise along the others, in random order; the sign is the label."""
    generator, w = torch.Generator().manual_seed(seed), weight()
    y = torch.randperm(n, generator=generator) % 2
    x = torch.randn(n, DIM, generator=generator)
    return x - (x @ w)[:, None] * w + MU * (2 * y[:, None] - 1) * w, y


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.utils.skip_init(nn.Linear, DIM, 1, bias=False)
        self.score.weight.data.copy_(weight()[None])

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.score(x)
        return torch.cat([-z, z], dim=1)


def classifier(**options: Any) -> PyTorchClassifier:
    return PyTorchClassifier(Scores(), nn.CrossEntropyLoss(), (DIM,), 2, device_type="cpu", **options)


class Batches(IterableDataset[Any]):
    """Generated batches, of which none is kept."""

    def __init__(self, number: int, size: int, batch: Callable[[int], Any] | None = None) -> None:
        self.number, self.size, self.passes = number, size, 0
        self.batch = batch or (lambda seed: two_points(size, seed))

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        yield from (self.batch(seed) for seed in range(self.number))


def loader(number: int = 8, size: int = 200, batch: Callable[[int], Any] | None = None) -> DataLoader[Any]:
    return DataLoader(Batches(number, size, batch), batch_size=None)


def whole(given: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    xs, ys = zip(*given, strict=True)
    return torch.cat(xs), torch.cat(ys)


def evaluate(x: Any, y: Any = None, **options: Any) -> RepresentationVulnerability:
    options = {"norm": 2, "noise_std": 1 / MU, "layer": "score", "max_iter": 10, "verbose": False, **options}
    return WorstCaseMIEstimator(EPS, **options).evaluate(classifier(), x, y)


def values(result: RepresentationVulnerability) -> list[Any]:
    both = [v for e in (result.normal, result.worst_case) for v in (e.lower, e.upper, *e.confidence_interval)]
    return [*both, result.vulnerability.value, *result.ceilings.values(), result.measured_accuracy]


def test_what_fits_one_chunk_is_read_once_and_gives_what_arrays_give() -> None:
    given = loader(5, 100)
    state = torch.get_rng_state()
    from_loader = evaluate(given)
    assert given.dataset.passes == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert values(from_loader) == values(evaluate(*whole(given)))


def test_more_are_read_twice_and_reach_the_closed_form() -> None:
    given = loader()
    result = evaluate(given)
    assert given.dataset.passes == 2
    assert result.normal.nb_samples == 1600
    for estimate, half_distance in ((result.normal, MU), (result.worst_case, MU - EPS)):
        truth = two_point_gaussian_information(half_distance)
        assert estimate.lower == pytest.approx(truth, abs=0.015)
        assert estimate.confidence_interval[0] - 0.01 <= truth <= estimate.confidence_interval[1] + 0.01


def test_chunks_measure_what_all_samples_together_do(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = evaluate(loader(), max_iter=30)
    monkeypatch.setattr(chunks, "CHUNK", 10**6)
    together = evaluate(loader(), max_iter=30)
    np.testing.assert_allclose(values(apart)[:-1], values(together)[:-1], atol=0.02)
    assert apart.measured_accuracy == pytest.approx(together.measured_accuracy, abs=0.04)
    scales = [result.settings["noise_std_absolute"] for result in (apart, together)]
    assert scales[0] == pytest.approx(scales[1], rel=1e-12)
    assert apart.normal.ceiling == math.log(400)  # 400, 400, 400, 400
    assert together.normal.ceiling == math.log(800)


def test_where_batches_end_does_not_matter() -> None:
    x, y = whole(loader())
    results = []
    for size in (7, 160, 1600):
        batches = list(zip(x.split(size), y.split(size), strict=True))
        results.append(values(evaluate(loader(len(batches), size, batches.__getitem__))))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray, lambda values: values.tolist()])
def test_arrays_may_be_sorted_by_class(kind: Callable[[Any], Any]) -> None:
    x, y = whole(loader())
    order = y.argsort(stable=True)
    result = evaluate(kind(x[order]), kind(y[order]))
    assert result.normal.value == pytest.approx(two_point_gaussian_information(MU), abs=0.015)
    assert result.worst_case.value == pytest.approx(two_point_gaussian_information(MU - EPS), abs=0.015)
    assert result.measured_accuracy > 0.7


def test_labels_beside_a_loader_go_with_its_order() -> None:
    x, y = whole(loader())
    alone = list(x.split(200))
    result = evaluate(loader(8, 200, alone.__getitem__), y.numpy())
    assert values(result) == values(evaluate(loader()))


def test_labels_that_some_batches_lack_are_left_out() -> None:
    def batch(seed: int) -> Any:
        x, y = two_points(200, seed)
        return (x, y) if seed < 7 else (x,)

    result = evaluate(loader(batch=batch))
    assert result.measured_accuracy is None
    assert "label_aware" not in result.ceilings


def test_every_level_of_noise_is_measured_on_the_same_chunks() -> None:
    sweep = evaluate(loader(), noise_std=[0.5, 1.0]).sweep
    assert values(sweep[1]) == values(evaluate(loader(), noise_std=1.0))


def test_chunks_are_attacked_and_read_with_noise_of_their_own() -> None:
    same = two_points(400)
    with WorstCaseMIEstimator(EPS, verbose=False)._chunks(
        classifier(), loader(3, 400, lambda seed: same), None, SIZE
    ) as problems:
        seeds = [problem.random_state for problem in problems()]
    assert seeds == [0, 2, 4]


def test_of_samples_that_are_done_nothing_is_kept() -> None:
    def most(number: int) -> int:
        held = 0

        def batch(seed: int) -> Any:
            nonlocal held
            gc.collect()
            inputs = {t.data_ptr(): len(t) for t in gc.get_objects() if type(t) is Tensor and t.shape[1:] == (DIM,)}
            held = max(held, sum(inputs.values()))
            return two_points(100, seed)

        evaluate(loader(number, 100, batch), max_iter=1)
        return held

    gc.freeze()  # what is there already needs no looking through
    try:
        assert most(40) <= most(20) < 6 * MOST
    finally:
        gc.unfreeze()


def test_consecutive_samples_of_a_dataset_are_warned_about_once_and_shuffled_ones_not() -> None:
    data = TensorDataset(*whole(loader()))
    with pytest.warns(UserWarning, match=r"`x` gives more than 500 samples in the order of its dataset") as warned:
        evaluate(DataLoader(data, batch_size=64), max_iter=1)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(DataLoader(data, batch_size=64, shuffle=True), max_iter=1)
        evaluate(DataLoader(TensorDataset(*two_points(500)), batch_size=64), max_iter=1)


def test_a_shuffled_loader_gives_the_same_twice_and_leaves_the_global_generator_alone() -> None:
    data = TensorDataset(*whole(loader()))
    state = torch.get_rng_state()
    results = [values(evaluate(DataLoader(data, batch_size=64, shuffle=True), max_iter=2)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert results[0] == results[1]


def third(change: Callable[[Tensor, Tensor], Any]) -> Callable[[int], Any]:
    """Batches of which the sixth, in the third chunk, is changed."""
    return lambda seed: change(*two_points(200, seed)) if seed == 5 else two_points(200, seed)


@pytest.mark.parametrize(
    ("change", "y", "message"),
    [
        (lambda x, y: (x.where(x < 1, math.nan), y), None, r"`x` must be finite, got NaN or infinity"),
        (lambda x, y: (20 * x, y), None, r"`x` must lie within the classifier's clip_values \[-9, 9\]"),
        (lambda x, y: (x, y + 1), None, r"`y` must hold integers from 0 to 1, got values from 0 to 2"),
        (
            lambda x, y: (x, y),
            [0, 1] * 700,
            r"`y` must hold one label for each of the 1600 samples, got shape \(1400,\)",
        ),
        (
            lambda x, y: (x, y),
            [0, 1] * 900,
            r"`y` must hold one label for each of the 1600 samples, got shape \(1800,\)",
        ),
        (lambda x, y: (x, y), [0, 3] * 800, r"`y` must hold integers from 0 to 1, got values from 0 to 3"),
        (lambda x, y: (x, y), 3, r"`y` must hold one label for each"),
    ],
)
def test_what_is_wrong_with_later_samples_is_refused_alike(change: Any, y: Any, message: str) -> None:
    art = classifier(clip_values=(-9.0, 9.0))
    art.model.train()
    with pytest.raises(ValueError, match=message):
        WorstCaseMIEstimator(EPS, verbose=False).evaluate(art, loader(batch=third(change)), y)
    assert all(module.training for module in art.model.modules())
    assert all(parameter.requires_grad for parameter in art.model.parameters())


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1] * 700, r"`y` must hold one label for each of the 1600 samples, got shape \(1400,\)"),
        ([0, 3] * 800, r"`y` must hold integers from 0 to 1, got values from 0 to 3"),
    ],
)
def test_wrong_labels_of_long_arrays_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(whole(loader())[0], y)


def test_a_representation_that_is_constant_on_a_chunk_says_nothing_only_if_it_is_on_all() -> None:
    def still(seed: int) -> Any:
        return torch.ones(200, DIM), torch.zeros(200, dtype=torch.int64)

    found = evaluate(loader(batch=still))
    assert found.normal.value == found.vulnerability.value == 0.0
    assert found.normal.nb_samples == 1600
    assert evaluate(loader(batch=lambda seed: still(seed) if seed < 2 else two_points(200, seed))).normal.value > 0


def test_a_representation_that_is_not_finite_on_a_later_chunk_is_refused() -> None:
    art = PyTorchClassifier(nn.Sequential(Scores(), Inverse()), nn.CrossEntropyLoss(), (DIM,), 2, device_type="cpu")
    with pytest.raises(ValueError, match="`layer` must give finite numbers"):
        WorstCaseMIEstimator(EPS, verbose=False).evaluate(art, loader(batch=third(lambda x, y: (0 * x, y))))


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / x


def test_a_loader_that_can_be_read_once_only_is_refused() -> None:
    left = iter([two_points(200, seed) for seed in range(8)])

    class Once(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield from left

    with pytest.raises(ValueError, match=r"`x` must give the same samples each time, got 1600, then 0"):
        evaluate(DataLoader(Once(), batch_size=None))


@pytest.mark.parametrize("method", ["critic", "quantised"])
def test_the_other_methods_take_all_samples_at_once(method: str) -> None:
    given = loader()
    settings = {"method": method, "codes": "sign", "max_iter": 1, "max_steps": 2, "attack_steps": 1}
    result = evaluate(given, **settings)
    assert given.dataset.passes == 1
    x, y = whole(given)
    assert result.normal.value == evaluate(x, y, **settings).normal.value


def test_sizes_of_chunks() -> None:
    art, x = classifier(), np.zeros((2000, DIM), np.float32)
    for n, expected in ((500, [500]), (501, [400, 101]), (900, [400, 500]), (901, [400, 400, 101])):
        given = loader(1, n, lambda seed, n=n: torch.zeros(n, DIM))
        assert [len(inputs) for inputs, _ in chunks.Chunks(art, given, None, SIZE)] == expected
        assert [len(inputs) for inputs, _ in chunks.Chunks(art, x[:n], None, SIZE)] == [n]
