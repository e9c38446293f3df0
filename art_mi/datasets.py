"""Data sets of images in [0, 1]: scikit-learn's digits from its wheel, torchvision's from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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


def load(name: str, data_dir: str | Path | None = None) -> ImageData:
    """A data set by name.

    :param name: `"digits"` (1,797 images of 8x8 pixels, inside scikit-learn) or `"fashion-mnist"` (torchvision).
    :param data_dir: Folder with torchvision's files; they are downloaded into it where they are missing.
    :raises ValueError: If the name is unknown or `data_dir` missing.
    """
    if name == "digits":
        return _digits()
    if name == "fashion-mnist":
        if data_dir is None:
            raise ValueError("`data_dir` must name a folder for fashion-mnist, got None.")
        return _fashion_mnist(Path(data_dir))
    raise ValueError(f"`dataset` must be 'digits' or 'fashion-mnist', got {name!r}.")


def _digits() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[:, None]
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=500, random_state=0, stratify=y)
    return ImageData(x_train, y_train, x_test, y_test, nb_classes=10, eps=0.12)


def _fashion_mnist(data_dir: Path) -> ImageData:
    from torchvision.datasets import FashionMNIST

    parts = []
    for train in (True, False):
        data = FashionMNIST(str(data_dir), train=train, download=True)
        parts += [(data.data.numpy() / 255.0).astype(np.float32)[:, None], data.targets.numpy().astype(np.int64)]
    x_train, y_train, x_test, y_test = parts
    return ImageData(x_train, y_train, x_test, y_test, nb_classes=10, eps=0.1)
