"""The demo: a standard and a robustly trained classifier of real images, measured side by side."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn
from tqdm.auto import tqdm

from art_mi.datasets import ImageData, load
from art_mi.evaluation import accuracy, attacked_accuracy, standard_attacks
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.models import small_cnn
from art_mi.report import card, text_table
from art_mi.results import Accuracy, RepresentationVulnerability
from art_mi.trainers import MIMAETrainer, StandardTrainer

TRAINERS = {"standard": StandardTrainer, "MIMAE": MIMAETrainer}
NOISE_STD = (1.0, 0.5)


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    :param results: Representation vulnerability by model.
    :param accuracies: Clean and attacked accuracy by model and attack.
    :param settings: Data set, training, versions and seed.
    """

    results: dict[str, RepresentationVulnerability]
    accuracies: dict[str, dict[str, Accuracy]]
    settings: dict[str, Any]


def run_demo(
    dataset: str, data_dir: str | None, *, nb_epochs: int, nb_samples: int, random_state: int, verbose: bool
) -> DemoResult:
    """Train both classifiers, attack them, measure them.

    :param dataset: A name that :func:`~art_mi.datasets.load` knows.
    :param data_dir: Folder of torchvision's files.
    :param nb_epochs: Training epochs.
    :param nb_samples: Most samples that are attacked and measured.
    :param random_state: Seed.
    :param verbose: Show progress bars.
    """
    started = time.monotonic()
    data = load(dataset, data_dir)
    x, y = _measured_samples(data, nb_samples)
    results, accuracies = {}, {}
    for name in TRAINERS:
        classifier = _train(name, data, nb_epochs, random_state, verbose)
        accuracies[name] = _accuracies(classifier, data, nb_samples, name, random_state, verbose)
        estimator = WorstCaseMIEstimator(data.eps, noise_std=NOISE_STD, random_state=random_state, verbose=verbose)
        results[name] = estimator.evaluate(classifier, x, y)
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
        **_versions(),
    }
    return DemoResult(results, accuracies, settings)


def write_demo(found: DemoResult, out: Path, command: str) -> None:
    """Write `index.html` and `results.json` into a folder.

    :param found: What :func:`run_demo` gave.
    :param out: Folder, created where missing.
    :param command: The command that repeats the demo.
    """
    out.mkdir(parents=True, exist_ok=True)
    title = f"How robust are these representations? ({found.settings['dataset']})"
    page = card(found.results, accuracies=found.accuracies, settings=found.settings, title=title, command=command)
    (out / "index.html").write_text(page, encoding="utf-8")
    content = {
        "settings": found.settings,
        "command": command,
        "models": {
            name: {
                "accuracies": {attack: value.to_dict() for attack, value in found.accuracies[name].items()},
                "representation": result.to_dict(),
            }
            for name, result in found.results.items()
        },
    }
    (out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def table(found: DemoResult) -> str:
    """The comparison as text.

    :param found: What :func:`run_demo` gave.
    """
    return text_table(found.results, found.accuracies)


def _measured_samples(data: ImageData, nb_samples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Test images first, then as many training images as are wanted."""
    x = np.concatenate([data.x_test, data.x_train])[:nb_samples]
    return x, np.concatenate([data.y_test, data.y_train])[:nb_samples]


def _train(name: str, data: ImageData, nb_epochs: int, random_state: int, verbose: bool) -> PyTorchClassifier:
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
    trainer = TRAINERS[name](classifier, attack, random_state=random_state, verbose=verbose)
    trainer.fit(data.x_train, data.y_train, batch_size=128, nb_epochs=nb_epochs)
    return classifier


def _accuracies(
    classifier: PyTorchClassifier, data: ImageData, nb_samples: int, name: str, random_state: int, verbose: bool
) -> dict[str, Accuracy]:
    x, y = data.x_test[:nb_samples], data.y_test[:nb_samples]
    found = {"clean": accuracy(classifier, x, y)}
    attacks = standard_attacks(classifier, data.eps)
    for attack in tqdm(attacks, desc=f"attack {name}", leave=False, disable=not verbose):
        found[attack] = attacked_accuracy(classifier, attacks[attack], x, y, random_state=random_state)
    return found


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    packages = ("art-mi", "adversarial-robustness-toolbox", "torch", "torchvision", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
