"""Every sample once an epoch with its own label, in an order that the seed alone decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from torch.utils.data import DataLoader, TensorDataset

from art_mi.trainers.batches import ArrayBatches, GeneratorBatches, LoaderBatches


def numbered(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs that tell which sample they are, as their labels do."""
    y = torch.arange(n)
    return y[:, None].float().expand(n, 4) / max(n, 1), y


def ids(batches: Any, seed: int = 0) -> list[list[int]]:
    return [y.tolist() for _, y in batches.epoch(seed)]


@pytest.mark.parametrize(("n", "batch_size"), [(24, 8), (25, 8), (23, 8), (7, 7), (7, 100), (1, 1), (9, 4), (10, 3)])
def test_batches_of_arrays_are_nearly_equal_and_hold_each_sample_once(n: int, batch_size: int) -> None:
    x, y = numbered(n)
    batches = ArrayBatches(x, y, batch_size)
    found = list(batches.epoch(0))
    sizes = [len(y) for _, y in found]
    assert len(batches) == len(found) == -(-n // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert batches.size == min(sizes)
    assert sorted(torch.cat([y for _, y in found]).tolist()) == list(range(n))
    for inputs, labels in found:
        torch.testing.assert_close(inputs, x[labels], rtol=0, atol=0)


def test_the_seed_decides_the_order_and_global_state_does_not() -> None:
    batches = ArrayBatches(*numbered(24), 8)
    before = torch.get_rng_state()
    first = ids(batches, 3)
    torch.testing.assert_close(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert ids(batches, 3) == first
    assert ids(batches, 4) != first


@pytest.mark.parametrize(("n", "batch_size"), [(24, 8), (25, 8), (23, 9)])
def test_processes_share_each_batch_equally_and_without_overlap(n: int, batch_size: int) -> None:
    x, y = numbered(n)
    whole = ids(ArrayBatches(x, y, batch_size))
    shares = [ids(ArrayBatches(x, y, batch_size, rank, 2)) for rank in range(2)]
    for batch, one, other in zip(whole, *shares, strict=True):
        assert len(one) == len(other) == len(batch) // 2
        assert not set(one) & set(other)
        assert set(one) | set(other) <= set(batch)
    assert ArrayBatches(x, y, batch_size, 1, 2).size == min(len(share) for share in shares[1])


def test_arrays_may_lack_labels() -> None:
    x, y = numbered(6)
    assert ArrayBatches(x, y, 3).labelled
    assert not ArrayBatches(x, None, 3).labelled
    assert [label for _, label in ArrayBatches(x, None, 3).epoch(0)] == [None, None]


@pytest.mark.parametrize(
    ("columns", "labelled"), [("x", False), ("(x,)", False), ("(x, y)", True), ("(x, y, index)", True)]
)
def test_a_loader_may_give_tensors_or_tuples(toy: Any, columns: str, labelled: bool) -> None:
    x, y = torch.from_numpy(toy.x(7)), torch.from_numpy(toy.y(7))
    sets = {"x": x, "(x,)": TensorDataset(x), "(x, y)": TensorDataset(x, y)}
    loader: Any = DataLoader(sets.get(columns, TensorDataset(x, y, y)), batch_size=3)
    batches = LoaderBatches(loader, toy.classifier())
    assert (len(batches), batches.size, batches.labelled) == (3, 3, labelled)
    found = list(batches.epoch(0))
    torch.testing.assert_close(torch.cat([inputs for inputs, _ in found]), x)
    assert [None if label is None else label.tolist() for _, label in found] == (
        [part.tolist() for part in y.split(3)] if labelled else [None] * 3
    )


def test_a_loader_of_dictionaries_is_refused(toy: Any) -> None:
    samples = [{"image": sample} for sample in torch.from_numpy(toy.x(6))]
    with pytest.raises(TypeError, match=r"`x` must be an array, a tensor or a DataLoader, got dict"):
        _ = LoaderBatches(DataLoader(samples, batch_size=3), toy.classifier()).size  # type: ignore[arg-type]


def test_a_look_at_the_first_batch_is_taken_once_and_leaves_global_state(toy: Any) -> None:
    class Counting(TensorDataset):
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    art = toy.classifier()
    data = Counting(torch.from_numpy(toy.x(7)), torch.from_numpy(toy.y(7)))
    batches = LoaderBatches(DataLoader(data, batch_size=3, shuffle=True), art)
    before = torch.get_rng_state()
    assert (batches.size, batches.labelled, batches.size) == (3, True, 3)
    assert data.reads == 3
    torch.testing.assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("label", ["index", "one_hot"])
def test_a_generator_gives_as_many_batches_as_make_up_its_size(toy: Any, label: str) -> None:
    art, x, y = toy.classifier(), toy.x(7), toy.y(7)
    labels = y if label == "index" else np.eye(3)[y]
    pairs = TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))
    for generator in (
        NumpyDataGenerator(x, labels, batch_size=3, drop_remainder=False),
        PyTorchDataGenerator(DataLoader(pairs, batch_size=3), size=7, batch_size=3),
    ):
        batches = GeneratorBatches(generator, art)
        assert (len(batches), batches.size, batches.labelled) == (3, 3, True)
        for _ in range(2):
            assert ids(batches) == [y[:3].tolist(), y[3:6].tolist(), y[6:].tolist()]
