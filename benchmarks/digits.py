"""Classifiers of scikit-learn's digits, trained for a few seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn

from art_mi.datasets import load
from art_mi.randomness import isolated_randomness

EPS = 0.12  # the radius usual for this data set


def images(nb_samples: int) -> NDArray[np.float32]:
    """Test images first, then training images, of shape `(n, 1, 8, 8)`.

    :param nb_samples: Most images.
    """
    data = load("digits")
    return np.concatenate([data.x_test, data.x_train])[:nb_samples]


def classifier(channels: tuple[int, ...] = (16, 32), *, nb_epochs: int = 8, device: str = "cpu") -> PyTorchClassifier:
    """A convolutional network of that many channels a layer, and two linear layers.

    :param channels: Of the convolutions, the first at full size, the second with stride 2, further ones without.
    :param nb_epochs: Epochs of Adam.
    :param device: Device of the network.
    """
    data = load("digits")
    with isolated_randomness(0, torch.device(device)):
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((1, *channels))):
            layers += [nn.Conv2d(before, after, 3, stride=2 if number == 1 else 1, padding=1), nn.ReLU()]
        size = 64 if len(channels) == 1 else 16
        head = [nn.Flatten(), nn.Linear(channels[-1] * size, 100), nn.ReLU(), nn.Linear(100, data.nb_classes)]
        model = nn.Sequential(*layers, *head)
        trained = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            (1, 8, 8),
            data.nb_classes,
            optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
            clip_values=(0.0, 1.0),
            device_type="cpu" if device == "cpu" else "gpu",
        )
        trained.fit(data.x_train, data.y_train, batch_size=128, nb_epochs=nb_epochs)
    return trained
