"""The demo: a standard and a robustly trained classifier of real images, measured side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi.assessment import assess, versions
from art_mi.datasets import ImageData, load
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.models import small_cnn
from art_mi.report import write_card
from art_mi.results import ModelRecord
from art_mi.trainers import MIMAETrainer, StandardTrainer, StepTrainer

TRAINERS = {"standard": StandardTrainer, "MIMAE": MIMAETrainer}
ATTACKS = ("FGSM", "PGD-20", "APGD-CE")
NOISE_STD = (1.0, 0.5)
PARTS = (0.25, 0.5, 1.0, 1.5, 2.0)  # of the radius, for the curve


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    :param records: Everything about each model.
    :param settings: Data set, training, versions and seed.
    """

    records: tuple[ModelRecord, ...]
    settings: dict[str, Any]


def run_demo(
    dataset: str,
    data_dir: str | None,
    *,
    download: bool = False,
    nb_epochs: int,
    nb_samples: int,
    random_state: int,
    verbose: bool,
) -> DemoResult:
    """Train both classifiers, attack them, measure them.

    :param dataset: A name that :func:`~art_mi.datasets.load` knows.
    :param data_dir: Folder of torchvision's files; not needed for digits.
    :param download: Download what is missing into `data_dir`.
    :param nb_epochs: Training epochs.
    :param nb_samples: Most samples that are attacked and measured.
    :param random_state: Seed.
    :param verbose: Show progress bars.
    """
    started = time.monotonic()
    data = load(dataset, data_dir, download=download)
    x, y = _measured_samples(data, nb_samples)
    records = []
    for name in TRAINERS:
        trainer = _train(name, data, nb_epochs, random_state, verbose)
        estimator = WorstCaseMIEstimator(data.eps, noise_std=NOISE_STD, random_state=random_state, verbose=verbose)
        records.append(
            assess(
                trainer.classifier,
                data.x_test[:nb_samples],
                data.y_test[:nb_samples],
                eps=data.eps,
                name=name,
                attacks=ATTACKS,
                curve=[part * data.eps for part in PARTS],
                representation=estimator.evaluate(trainer.classifier, x, y),
                history=trainer.history,
                random_state=random_state,
                verbose=verbose,
            )
        )
    settings = {
        "dataset": dataset,
        "training images": len(data.x_train),
        "test images attacked": min(nb_samples, len(data.x_test)),
        "images measured": len(x),
        "of these training images": max(0, len(x) - len(data.x_test)),
        "ceiling holds for": "classifiers on the noisy representation, not for the attacked accuracies beside it",
        "epochs": nb_epochs,
        "eps (l_inf)": data.eps,
        "random_state": random_state,
        "seconds": round(time.monotonic() - started, 1),
        **versions(),
    }
    return DemoResult(tuple(records), settings)


def write_demo(found: DemoResult, out: Path, command: str) -> Path:
    """Write a folder a model, and the card `index.html` with `index.md` and `index.json`.

    :param found: What :func:`run_demo` gave.
    :param out: Folder, created where missing.
    :param command: The command that repeats the demo.
    :return: The page.
    """
    for record in found.records:
        record.save(out / record.name.lower())
    title = f"How robust are these representations? ({found.settings['dataset']})"
    page, _, _ = write_card(found.records, out / "index.html", settings=found.settings, title=title, command=command)
    return page


def _measured_samples(data: ImageData, nb_samples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Test images first, then as many training images as are wanted."""
    first = slice(nb_samples)
    x = np.concatenate([data.x_test[first], data.x_train[first]])[first]
    return x, np.concatenate([data.y_test, data.y_train])[first]


def _train(name: str, data: ImageData, nb_epochs: int, random_state: int, verbose: bool) -> StepTrainer:
    """Adam on a small CNN; the robust one is trained by MIMAE against five projected-gradient steps."""
    input_shape = data.x_train.shape[1:]
    model = small_cnn(input_shape, data.nb_classes, random_state=random_state)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), input_shape, data.nb_classes, optimizer=optimizer, clip_values=(0.0, 1.0)
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=data.eps, eps_step=data.eps / 2, max_iter=5, num_random_init=1, verbose=False
    )
    trainer: StepTrainer = TRAINERS[name](classifier, attack, random_state=random_state, verbose=verbose)
    trainer.fit(data.x_train, data.y_train, batch_size=128, nb_epochs=nb_epochs)
    return trainer
