"""`art-mi train`: a defence on a model and data of one's own, resumable, its resolved settings beside the results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from lightning_fabric import Fabric
from numpy.typing import NDArray
from safetensors.torch import save_model
from torch import nn

from art_mi.bridge import input_tensor, label_tensor
from art_mi.cli.inputs import fraction, load_model
from art_mi.datasets import ImageData, load
from art_mi.evaluation import accuracy, attacked_accuracy, standard_attacks
from art_mi.models import small_cnn
from art_mi.trainers import StepTrainer

# jsonargparse turns such types into `--trainer NAME --trainer.option VALUE`
TrainerClass = Callable[[PyTorchClassifier, EvasionAttack], StepTrainer]
AttackClass = Callable[[PyTorchClassifier], EvasionAttack]
OptimizerClass = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerClass = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]

ALIASES = {
    "standard": "art_mi.trainers.StandardTrainer",
    "madry": "art_mi.trainers.MadryPGDTrainer",
    "trades": "art_mi.trainers.TRADESTrainer",
    "mart": "art_mi.trainers.MARTTrainer",
    "mimae": "art_mi.trainers.MIMAETrainer",
    "dale": "art_mi.trainers.DALETrainer",
    "worst-case-mi": "art_mi.trainers.WorstCaseMITrainer",
    "pgd": "art.attacks.evasion.ProjectedGradientDescentPyTorch",
    "langevin": "art_mi.attacks.LangevinMonteCarlo",
}


@dataclass(frozen=True)
class Samples:
    """What is trained, validated and tested on."""

    train: tuple[NDArray[Any], NDArray[Any]]
    validation: tuple[NDArray[Any], NDArray[Any]]
    test: tuple[NDArray[Any], NDArray[Any]] | None


def train(
    trainer: TrainerClass,
    data: str,
    out: str,
    model: str = "small-cnn",
    eps: Optional[str] = None,  # noqa: UP045
    attack: Optional[AttackClass] = None,  # noqa: UP045
    optimizer: OptimizerClass = torch.optim.Adam,
    scheduler: Optional[SchedulerClass] = None,  # noqa: UP045
    scheduler_interval: Literal["epoch", "step"] = "epoch",
    nb_epochs: int = 20,
    batch_size: int = 128,
    validation_fraction: float = 0.1,
    validate_every: int = 1,
    patience: int | None = None,
    restore_best: bool = True,
    clip_grad_norm: float | None = None,
    ema_decay: float | None = None,
    log_every: int = 50,
    checkpoint_every: int | None = None,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    data_dir: str | None = None,
    resume: bool = False,
) -> None:
    """Train a defence; under torchrun on several processes.

    Args:
        trainer: standard, madry, trades, mart, mimae, dale or worst-case-mi, or the import path of a StepTrainer.
        data: Name of a data set, or file .npz with x, y and optionally x_test, y_test.
        out: Folder for config.yaml, history.csv, checkpoint, model.safetensors and results.json.
        model: small-cnn, or `package.module:function` that returns a module.
        eps: Radius of the default attack, ten projected-gradient steps of eps / 4 in l_inf from a random start, and of
            the final evaluation; fractions such as 8/255 are understood. By default the data set's own.
        attack: pgd or langevin, or the import path of an ART attack, in place of the default one.
        optimizer: Any torch optimizer.
        scheduler: Any torch learning-rate scheduler.
        scheduler_interval: How often the scheduler is stepped.
        nb_epochs: Epochs.
        batch_size: Most samples in a batch, all processes together.
        validation_fraction: Share of the training samples that is held out for validation.
        validate_every: Epochs between validations.
        patience: Validations without improvement before stopping.
        restore_best: End with the weights of the best validation.
        clip_grad_norm: Largest gradient norm.
        ema_decay: Decay of a moving average of the weights.
        log_every: Steps between two looks at the loss.
        checkpoint_every: Steps between checkpoints; by default one an epoch.
        clip_values: Least and largest input value; null for no limits.
        data_dir: Folder of torchvision's files.
        resume: Go on from the checkpoint in `out`.
    """
    samples, nb_classes, usual = _samples(data, data_dir, validation_fraction)
    radius = usual if eps is None else fraction(eps)
    if radius is None and attack is None:
        raise ValueError("`eps` must be given for data of your own, or `attack`, got None.")
    fabric = _launched()
    shape = samples.train[0].shape[1:]
    module = small_cnn(shape, nb_classes) if model == "small-cnn" else load_model(model)
    chosen = optimizer(module.parameters())
    classifier = PyTorchClassifier(module, nn.CrossEntropyLoss(), shape, nb_classes, chosen, clip_values=clip_values)
    _check_test(classifier, samples)
    made = _default_attack(classifier, radius or 0.0) if attack is None else attack(classifier)
    if hasattr(made, "verbose"):
        made.set_params(verbose=False)
    defence = trainer(classifier, made, **({} if fabric is None else {"fabric": fabric}))
    defence.fit(
        *samples.train,
        validation_data=samples.validation,
        batch_size=batch_size,
        nb_epochs=nb_epochs,
        scheduler=None if scheduler is None else scheduler(chosen),
        scheduler_interval=scheduler_interval,
        clip_grad_norm=clip_grad_norm,
        ema_decay=ema_decay,
        log_every=log_every,
        validate_every=validate_every,
        patience=patience,
        restore_best=restore_best,
        checkpoint_every=checkpoint_every,
        out=out,
        resume_from=out if resume else None,
    )
    if defence.fabric.is_global_zero:
        module.to(memory_format=torch.contiguous_format)  # tied weights in another format cannot be stored
        save_model(module, str(Path(out) / "model.safetensors"))
        report = _results(defence, samples, radius)
        (Path(out) / "results.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        for name, value in report["accuracies"].items():
            low, high = value["confidence_interval"]
            print(f"{name:<12}{value['value']:>7.1%} [{low:.1%}, {high:.1%}] of {value['nb_samples']} test samples")
        print(Path(out) / "results.json")


def _samples(data: str, data_dir: str | None, validation_fraction: float) -> tuple[Samples, int, float | None]:
    if not 0 < validation_fraction < 1:
        raise ValueError(f"`validation_fraction` must lie between 0 and 1, got {validation_fraction}.")
    path, test, usual = Path(data), None, None
    if path.suffix == ".npz":
        if not path.is_file():
            raise ValueError(f"`data` must be a file or the name of a data set, got {data!r}, which does not exist.")
        content = np.load(path, allow_pickle=False)
        for name in ("x", "y"):
            if name not in content:
                raise ValueError(f"`data` must hold an array `{name}`, got {', '.join(content.files)}.")
        x, y = content["x"].astype(np.float32), content["y"].astype(np.int64)
        if "x_test" in content and "y_test" in content:
            test = content["x_test"].astype(np.float32), content["y_test"].astype(np.int64)
    else:
        known: ImageData = load(data, data_dir)
        x, y, test, usual = known.x_train, known.y_train, (known.x_test, known.y_test), known.eps
    order = np.random.default_rng(0).permutation(len(x))  # the same split whatever is trained
    held = max(1, round(validation_fraction * len(x)))
    parts = [(x[index], y[index]) for index in (order[held:], order[:held])]
    return Samples(parts[0], parts[1], test), int(y.max()) + 1, usual


def _check_test(classifier: PyTorchClassifier, samples: Samples) -> None:
    """Before any training rather than after it."""
    if samples.test is not None:
        x, y = samples.test
        try:
            label_tensor(classifier, y, len(input_tensor(classifier, x)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`data` must hold test samples like those trained on, but {error}") from error


def _default_attack(classifier: PyTorchClassifier, eps: float) -> EvasionAttack:
    return ProjectedGradientDescentPyTorch(
        classifier, eps=eps, eps_step=eps / 4, max_iter=10, num_random_init=1, verbose=False
    )


def _launched() -> Fabric | None:
    """Fabric for the processes torchrun started, None for a single one."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return None
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    fabric = Fabric(devices=local, num_nodes=processes // local, strategy="ddp_find_unused_parameters_true")
    fabric.launch()
    if torch.cuda.is_available():
        torch.cuda.set_device(fabric.local_rank)
    return fabric


def _results(defence: StepTrainer, samples: Samples, eps: float | None) -> dict[str, Any]:
    accuracies = {}
    if samples.test is not None:
        x, y = samples.test
        accuracies["clean"] = accuracy(defence.classifier, x, y)
        if eps is not None:
            for name, attack in standard_attacks(defence.classifier, eps).items():
                accuracies[name] = attacked_accuracy(defence.classifier, attack, x, y)
    return {
        "accuracies": {name: value.to_dict() for name, value in accuracies.items()},
        "eps (l_inf)": eps,
        "history": defence.history,
    }
