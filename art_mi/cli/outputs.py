"""What a training leaves behind: weights, and a report of what they are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn

from art_mi.cli.inputs import Labelled
from art_mi.evaluation import accuracy, attacked_accuracy, standard_attacks
from art_mi.files import replace_file, replacing
from art_mi.finished import content_digest
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
        save_model(module, str(part), {"digest": content_digest("", module.state_dict())})


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
    replace_file(folder / RESULTS, f"{json.dumps(report, indent=2)}\n".encode())
    return accuracies
