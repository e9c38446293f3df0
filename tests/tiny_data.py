"""Tiny files in the data sets' own on-disk formats."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat
from torchvision.datasets import CIFAR10, SVHN

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]
SHAPES = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "svhn": (3, 32, 32), "cifar10": (3, 32, 32)}


def made(name: str) -> tuple[Part, Part]:
    """Training and test images, channels first, with their labels; all ten of them occur."""
    rng = np.random.default_rng(0)
    train, test = (
        (rng.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for n in (120, 100)
    )
    return train, test


def write_mnist(folder: Path, train: Part, test: Part) -> None:
    folder.mkdir(parents=True)
    for part, (x, y) in (("train", train), ("t10k", test)):
        images = struct.pack(">4i", 0x803, len(x), *x.shape[2:]) + x.tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(y)) + y.tobytes())


def write_cifar10(folder: Path, train: Part, test: Part) -> None:
    """Rows of 1,024 red, then green, then blue values; the training images in five batches."""
    folder.mkdir(parents=True)
    batches = zip(*(np.split(part, 5) for part in train), strict=True)
    for name, (x, y) in [*((f"data_batch_{i}", batch) for i, batch in enumerate(batches, 1)), ("test_batch", test)]:
        content = {"data": x.reshape(len(x), 3072), "labels": y.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))


def write_svhn(folder: Path, train: Part, test: Part) -> None:
    """Arrays of shape (height, width, channels, n), where the digit 0 bears the label 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (x, y) in (("train", train), ("test", test)):
        savemat(folder / f"{part}_32x32.mat", {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None]})


def write(name: str, data_dir: Path) -> None:
    writer, folder = {
        "mnist": (write_mnist, "MNIST/raw"),
        "fashion-mnist": (write_mnist, "FashionMNIST/raw"),
        "svhn": (write_svhn, ""),
        "cifar10": (write_cifar10, "cifar-10-batches-py"),
    }[name]
    writer(data_dir / folder, *made(name))


def trust(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give torchvision the sums of the tiny files in place of the published ones."""

    def md5(file: str) -> str:
        return hashlib.md5((data_dir / file).read_bytes()).hexdigest()

    if name == "svhn":
        files = {part: f"{part}_32x32.mat" for part in ("train", "test")}
        monkeypatch.setattr(SVHN, "split_list", {part: ["", file, md5(file)] for part, file in files.items()})
    if name == "cifar10":
        folder = "cifar-10-batches-py"
        for parts in ("train_list", "test_list"):
            sums = [[file, md5(f"{folder}/{file}")] for file, _ in getattr(CIFAR10, parts)]
            monkeypatch.setattr(CIFAR10, parts, sums)
        monkeypatch.setitem(CIFAR10.meta, "md5", md5(f"{folder}/batches.meta"))
