"""What a training leaves behind: weights, and a report of what they are worth."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import save_model
from torch import nn

from art_mi.cli.inputs import Labelled
from art_mi.evaluation import accuracy, attacked_accuracy, standard_attacks
from art_mi.results import Accuracy
from art_mi.trainers import StepTrainer

WEIGHTS, RESULTS = "model.safetensors", "results.json"


def write_weights(module: nn.Module, folder: Path) -> None:
    """Write model.safetensors.

    :param module: What was trained.
    :param folder: An existing folder.
    """
    module.to(memory_format=torch.contiguous_format)  # tied weights in another format cannot be stored
    with replacing(folder / WEIGHTS) as part:
        save_model(module, str(part))


def write_report(trainer: StepTrainer, test: Labelled | None, eps: float | None, folder: Path) -> dict[str, Accuracy]:
    """Write results.json: clean accuracy, those under the standard attacks, and the history.

    :param trainer: After the training.
    :param test: Inputs and labels, None to measure nothing.
    :param eps: Radius of the attacks in l_inf, None for none.
    :param folder: An existing folder.
    :return: The accuracies.
    """
    accuracies = {}
    if test is not None:
        accuracies["clean"] = accuracy(trainer.classifier, *test)
        attacks = {} if eps is None else standard_attacks(trainer.classifier, eps)
        for name, attack in attacks.items():
            accuracies[name] = attacked_accuracy(trainer.classifier, attack, *test)
    report: dict[str, Any] = {
        "accuracies": {name: value.to_dict() for name, value in accuracies.items()},
        "eps (l_inf)": eps,
        "history": trainer.history,
    }
    with replacing(folder / RESULTS) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return accuracies


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place at the end, but not after an error.

    :param path: File to replace; its folder exists.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode  # safetensors would let nobody else read
        yield part
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
