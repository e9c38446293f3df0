"""The demo: a standard and an adversarially trained classifier of real images, measured side by side."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn
from tqdm.auto import tqdm

from art_mi.attacks import ascend
from art_mi.datasets import ImageData, load
from art_mi.evaluation import Accuracy, accuracy, attacked_accuracy, standard_attacks
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.models import small_cnn
from art_mi.report import card, text_table
from art_mi.results import RepresentationVulnerability
from art_mi.threat import NormBall

MODELS = ("standard", "adversarially trained")
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
    for name in MODELS:
        ball = NormBall(math.inf, data.eps, (0.0, 1.0)) if name != "standard" else None
        classifier = _train(name, data, ball, nb_epochs, random_state, verbose)
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
                "accuracies": {attack: vars(value) for attack, value in found.accuracies[name].items()},
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


def _train(
    name: str, data: ImageData, ball: NormBall | None, nb_epochs: int, random_state: int, verbose: bool
) -> PyTorchClassifier:
    """Adam on cross-entropy, on clean inputs or on inputs moved by five attack steps inside `ball`."""
    input_shape = data.x_train.shape[1:]
    model = small_cnn(input_shape, data.nb_classes, random_state=random_state)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss = nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(
        model, loss, input_shape, data.nb_classes, optimizer=optimizer, clip_values=(0.0, 1.0)
    )
    generator = torch.Generator(classifier.device).manual_seed(random_state)
    x = torch.from_numpy(data.x_train).to(classifier.device)
    y = torch.from_numpy(data.y_train).to(classifier.device)
    nb_batches = math.ceil(len(x) / 128)
    for _ in tqdm(range(nb_epochs), desc=f"train {name}", leave=False, disable=not verbose):
        order = torch.randperm(len(x), generator=generator, device=x.device)
        for index in order.tensor_split(nb_batches):
            batch, labels = x[index], y[index]
            if ball is not None:
                objective = partial(_cross_entropy, model, labels)
                start = ball.random_start(batch, generator)
                batch = ascend(objective, batch, ball, eps_step=ball.eps / 2, max_iter=5, start=start)
            optimizer.zero_grad()
            loss(model(batch), labels).backward()
            optimizer.step()
    return classifier


def _cross_entropy(model: nn.Module, labels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), labels, reduction="none")


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
