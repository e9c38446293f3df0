"""`art-mi train`: a defence on a model and data of one's own, resumable, its resolved settings beside the results."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Optional, Union

import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from lightning_fabric import Fabric
from torch import nn

from art_mi.bridge import input_tensor, label_tensor
from art_mi.cli.inputs import Samples, fraction, load_model, split_samples
from art_mi.cli.outputs import RESULTS, write_report, write_weights
from art_mi.models import small_cnn
from art_mi.rules import POSITIVE, check, or_none
from art_mi.threat import BOX
from art_mi.trainers import RVMonitor, StepTrainer, TensorBoard, WorstCaseMITrainer
from art_mi.trainers.base import Callback

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
class Course:
    """How the training goes.

    Args:
        nb_epochs: Epochs.
        batch_size: Most samples in a batch, all processes together.
        scheduler_interval: How often the scheduler is stepped.
        clip_grad_norm: Largest gradient norm.
        ema_decay: Decay of a moving average of the weights.
        log_every: Steps between two looks at the loss.
        checkpoint_every: Steps between checkpoints; by default one an epoch.
        validate_every: Epochs between validations.
        patience: Validations without improvement before stopping.
        restore_best: End with the weights of the best validation.
    """

    nb_epochs: int = 20
    batch_size: int = 128
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    clip_grad_norm: float | None = None
    ema_decay: float | None = None
    log_every: int = 50
    checkpoint_every: int | None = None
    validate_every: int = 1
    patience: int | None = None
    restore_best: bool = True


def train(
    trainer: TrainerClass,
    data: str,
    out: str,
    model: str = "small-cnn",
    eps: Union[str, float, None] = None,  # noqa: UP007
    attack: Optional[AttackClass] = None,  # noqa: UP045
    validation_attack: Optional[AttackClass] = None,  # noqa: UP045
    optimizer: OptimizerClass = torch.optim.Adam,
    scheduler: Optional[SchedulerClass] = None,  # noqa: UP045
    validation_fraction: float = 0.1,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    data_dir: str | None = None,
    download: bool = False,
    random_state: int = 0,
    rv_every: int | None = None,
    tensorboard: bool = False,
    resume: bool = False,
    quiet: bool = False,
    **course: Any,
) -> None:
    """Train a defence; by `torchrun --nproc-per-node=N -m art_mi.cli train ...` on several processes.

    Args:
        trainer: standard, madry, trades, mart, mimae, dale or worst-case-mi, or the import path of a StepTrainer.
        data: digits, mnist, fashion-mnist, svhn or cifar10, or file .npz with x, y and optionally x_test, y_test.
        out: Folder for config.yaml, history.csv, checkpoint, model.safetensors and results.json.
        model: small-cnn, or `package.module:function` that returns a module.
        eps: Radius of the default attack, ten projected-gradient steps of eps / 4 in l_inf from a random start, and of
            the final evaluation; fractions such as 8/255 are understood. By default that of the attack given, where it
            is one of l_inf, or without an attack the data set's own.
        attack: pgd or langevin, or the import path of an ART attack, in place of the default one.
        validation_attack: The same for validation; by default twenty projected-gradient steps within the ball of the
            attack trained against.
        optimizer: Any torch optimizer.
        scheduler: Any torch learning-rate scheduler.
        validation_fraction: Share of the training samples that is held out for validation.
        clip_values: Least and largest input value; null for no limits.
        data_dir: Folder of torchvision's files, for all data sets but digits.
        download: Download what is missing into that folder.
        random_state: Seed of the model's first weights; `trainer.random_state` is that of the training.
        rv_every: Epochs between measurements of the representation vulnerability on the held-out inputs within eps in
            l_inf, at the trainer's layer where it has one and at the output otherwise; by default never.
        tensorboard: Write the history for TensorBoard too, into a folder of that name in `out`.
        resume: Go on from the checkpoint in `out`.
        quiet: No progress bar.
        **course: How the training goes; see :class:`Course`.
    """
    samples = split_samples(data, data_dir, validation_fraction, download=download)
    radius = None if eps is None else check("eps", fraction(eps), POSITIVE)
    fabric = _launched()
    module = _module(model, samples, random_state)
    classifier = _classifier(module, samples, optimizer(module.parameters()), clip_values)
    trained_against = _attack(classifier, attack, samples.eps if radius is None else radius)
    radius = _radius(trained_against) if radius is None else radius
    defence = trainer(classifier, trained_against, **({} if fabric is None else {"fabric": fabric}))
    defence.verbose = defence.verbose and not quiet
    x, y = samples.train
    defence.fit(
        x,
        y,
        **_validation(defence, samples, validation_attack),
        **vars(Course(**course)),
        scheduler=None if scheduler is None else scheduler(classifier.optimizer),
        callbacks=_callbacks(defence, samples, radius, rv_every, Path(out) / "tensorboard" if tensorboard else None),
        out=out,
        resume_from=out if resume else None,
    )
    if defence.fabric.is_global_zero:
        _finish(defence, samples, radius, Path(out))


def _module(model: str, samples: Samples, random_state: int) -> nn.Module:
    if model == "small-cnn":
        return small_cnn(samples.train[0].shape[1:], samples.nb_classes, random_state=random_state)
    return load_model(model, random_state)


def _classifier(
    module: nn.Module, samples: Samples, optimizer: torch.optim.Optimizer, clip_values: tuple[float, float] | None
) -> PyTorchClassifier:
    """ART's classifier, once the test samples are seen to fit it: before any training rather than after it."""
    check("clip_values", clip_values, or_none(BOX))
    shape = samples.train[0].shape[1:]
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), shape, samples.nb_classes, optimizer, clip_values=clip_values
    )
    if samples.test is not None:
        x, y = samples.test
        try:
            label_tensor(classifier, y, len(input_tensor(classifier, x)))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`data` must hold test samples like those trained on, but {error}") from error
    return classifier


def _attack(classifier: PyTorchClassifier, attack: AttackClass | None, eps: float | None) -> EvasionAttack:
    """The attack asked for, without its progress bars, or the default one."""
    if attack is not None:
        made = attack(classifier)
        if hasattr(made, "verbose"):
            made.set_params(verbose=False)
        return made
    if eps is None:
        raise ValueError("`eps` must be given for data of your own, or `attack`, got None.")
    return ProjectedGradientDescentPyTorch(
        classifier, eps=eps, eps_step=eps / 4, max_iter=10, num_random_init=1, verbose=False
    )


def _radius(attack: EvasionAttack) -> float | None:
    """Radius of an attack in l_inf, None for one of another norm or without a single radius."""
    norm, eps = getattr(attack, "norm", None), getattr(attack, "eps", None)
    return float(eps) if norm in ("inf", math.inf) and isinstance(eps, Real) and float(eps) > 0 else None


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


def _classifies(defence: StepTrainer) -> bool:
    """Whether the output is trained, and not a representation alone."""
    return not (isinstance(defence, WorstCaseMITrainer) and defence.head is None)


def _validation(defence: StepTrainer, samples: Samples, attack: AttackClass | None) -> dict[str, Any]:
    """What is validated, and under which attack."""
    data = {"validation_data": samples.validation} if _classifies(defence) else {}
    return data if attack is None else {**data, "validation_attack": _attack(defence.classifier, attack, None)}


def _callbacks(
    defence: StepTrainer, samples: Samples, eps: float | None, rv_every: int | None, tensorboard: Path | None
) -> list[Callback]:
    """What looks on after each epoch; TensorBoard last, as it writes what the others add."""
    callbacks: list[Callback] = []
    if rv_every is not None:
        layer = getattr(defence, "layer", None)
        try:
            callbacks.append(RVMonitor(samples.validation[0], every=rv_every, eps=eps, layer=layer))
        except ValueError as error:
            raise ValueError(f"`rv_every` must allow to measure the validation samples, but {error}") from error
    if tensorboard is not None and defence.fabric.is_global_zero:
        try:
            callbacks.append(TensorBoard(tensorboard))
        except ImportError as error:
            raise ValueError("`tensorboard` must be installed: pip install 'art-mi[tensorboard]'.") from error
    return callbacks


def _finish(defence: StepTrainer, samples: Samples, eps: float | None, out: Path) -> None:
    """Write what was trained, measure it, and say what was found and what was not measured."""
    write_weights(defence.classifier.model, out)
    accuracies = write_report(defence, samples.test if _classifies(defence) else None, eps, out)
    for name, found in accuracies.items():
        low, high = found.confidence_interval
        print(f"{name:<12}{found.value:>7.1%} [{low:.1%}, {high:.1%}] of {found.nb_samples} test samples")
    if not _classifies(defence):
        print("No accuracy is measured, as no head is trained.")
    elif samples.test is None:
        print("No accuracy is measured, as `data` holds no test samples.")
    elif eps is None:
        print("Only the clean accuracy is measured, as the attack has no radius in l_inf; --eps gives one.")
    print(out / RESULTS)
