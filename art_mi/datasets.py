"""Data sets of images in [0, 1]: scikit-learn's digits from its wheel, torchvision's from a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from art_mi.rules import BOOLEAN, Rule, check, one_of

DataSet = Literal["digits", "mnist", "fashion-mnist", "svhn", "cifar10"]
NAMES: tuple[str, ...] = get_args(DataSet)
FOLDER: Rule = "a folder with torchvision's files", lambda v: isinstance(v, str | os.PathLike)


@dataclass(frozen=True)
class ImageData:
    """Images and labels, split for training and testing.

    :param x_train: Training images of shape `(n, channels, height, width)` in [0, 1], float32.
    :param y_train: Index labels of shape `(n,)`.
    :param x_test: Test images.
    :param y_test: Index labels.
    :param nb_classes: Number of classes.
    :param eps: The l_inf radius usual for this data set.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    nb_classes: int
    eps: float


@dataclass(frozen=True)
class _Source:
    """Where a data set of torchvision comes from.

    :param dataset: Name of torchvision's class.
    :param eps: The l_inf radius usual for it.
    :param folder: Folder of its files within `data_dir`.
    :param files: Their names.
    :param parts: Arguments of the class that give the training images, and those that give the test images.
    :param origin: Where else the files can be had.
    """

    dataset: str
    eps: float
    folder: str
    files: tuple[str, ...]
    parts: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})
    origin: str = ""


IDX = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
SOURCES = {
    "mnist": _Source("MNIST", 0.3, "MNIST/raw", IDX),
    "fashion-mnist": _Source(
        "FashionMNIST",
        0.1,
        "FashionMNIST/raw",
        IDX,
        origin=" Debian's package dataset-fashion-mnist has them as four .gz files.",
    ),
    "svhn": _Source(
        "SVHN", 4 / 255, "", ("train_32x32.mat", "test_32x32.mat"), parts=({"split": "train"}, {"split": "test"})
    ),
    "cifar10": _Source(
        "CIFAR10",
        8 / 255,
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
    ),
}


def load(name: str, data_dir: str | os.PathLike[str] | None = None, *, download: bool = False) -> ImageData:
    """A data set by name; all have ten classes.

    :param name: `"digits"` (1,797 images of shape `(1, 8, 8)`, inside scikit-learn, eps 0.12), or one that torchvision
        reads: `"mnist"` (`(1, 28, 28)`, eps 0.3), `"fashion-mnist"` (`(1, 28, 28)`, 0.1), `"svhn"` (`(3, 32, 32)`,
        4/255) or `"cifar10"` (`(3, 32, 32)`, 8/255).
    :param data_dir: Folder with torchvision's files, in its layout; not needed for digits.
    :param download: Let torchvision download into `data_dir` what is missing there.
    :raises FileNotFoundError: If files are missing, or their download failed.
    :raises ValueError: If an argument breaks its rule, or the files are damaged.
    """
    check("name", name, one_of(NAMES))
    check("download", download, BOOLEAN)
    if name == "digits":
        return _digits()
    folder: Any = check("data_dir", data_dir, FOLDER)
    return _torchvision(name, Path(folder).expanduser(), download)


def _digits() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[:, None]
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=500, random_state=0, stratify=y)
    return ImageData(x_train, y_train, x_test, y_test, nb_classes=10, eps=0.12)


def _torchvision(name: str, data_dir: Path, download: bool) -> ImageData:
    source = SOURCES[name]
    try:
        train, test = (_read(source.dataset, data_dir, download=download, **part) for part in source.parts)
    except (AssertionError, OSError, RuntimeError) as error:
        raise _fault(name, data_dir, download, error) from error
    return ImageData(*train, *test, nb_classes=10, eps=source.eps)


def _read(dataset: str, data_dir: Path, **options: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images and labels of one part, by torchvision's class and its arguments."""
    from torchvision import datasets

    part = getattr(datasets, dataset)(data_dir, **options)
    labels = part.labels if hasattr(part, "labels") else part.targets
    return _pixels(np.asarray(part.data)), np.asarray(labels, dtype=np.int64)


def _pixels(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Channels first, in [0, 1].

    :param x: Images of shape `(n, height, width)`, `(n, height, width, 3)` or `(n, 3, height, width)`.
    """
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[-1] == 3:
        x = x.transpose(0, 3, 1, 2)
    scaled: NDArray[np.float32] = np.divide(x, 255, dtype=np.float32, order="C")
    return scaled


def _fault(name: str, data_dir: Path, download: bool, error: Exception) -> Exception:
    """What torchvision could not read, and what to do about it."""
    source = SOURCES[name]
    folder = data_dir / source.folder
    rule = f"`data_dir` must hold the files of {name}, got {str(data_dir)!r}"
    missing = [file for file in source.files if not (folder / file).is_file()]
    if not missing:
        return ValueError(f"{rule}, where those in {folder} cannot be read: {error!r}.")
    remedy = (
        f"The download failed: {error!r}."
        if download
        else f"Give `download=True` (`--download`), or unpack them there by hand.{source.origin}"
    )
    return FileNotFoundError(f"{rule}: {folder} lacks {', '.join(missing)}. {remedy}")
