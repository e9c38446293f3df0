"""How a training run goes: what `fit` takes beside data, epochs and schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from art_mi.rules import BOOLEAN, FOLDER, PATH, POSITIVE, Rule, check, integer, one_of, or_none
from art_mi.trainers.validation import Validation

if TYPE_CHECKING:
    from art_mi.trainers.base import Callback, StepTrainer

RULES: dict[str, Rule] = {
    "nb_epochs": integer(1),
    "scheduler_interval": one_of(("epoch", "step")),
    "clip_grad_norm": or_none(POSITIVE),
    "ema_decay": or_none(("a number between 0 and 1", lambda v: POSITIVE[1](v) and v < 1)),
    "log_every": integer(1),
    "checkpoint_every": or_none(integer(1)),
    "validate_every": integer(1),
    "patience": or_none(integer(1)),
    "restore_best": BOOLEAN,
    "out": or_none(FOLDER),
    "resume_from": or_none(PATH),
}


@dataclass(frozen=True)
class FitOptions:
    """How a training run goes.

    :param nb_epochs: Number of epochs, those before a resumption included.
    :param scheduler: Any torch learning-rate scheduler of the classifier's optimizer.
    :param scheduler_interval: `"epoch"` or `"step"`: how often it is stepped. `ReduceLROnPlateau`, by epoch only, is
        given the accuracy under attack, or the clean one where there is no attack, after each validation (of mode
        `"min"`, its default, 1 minus that), and the epoch's loss where nothing is validated.
    :param clip_grad_norm: Largest norm of the gradient of the weights in the classifier's optimizer.
    :param ema_decay: Validate and keep a moving average of the weights with this decay.
    :param log_every: Steps between two looks at the terms, each a wait for the device.
    :param callbacks: Called with trainer and epoch record after each epoch, averaged weights in place; they may add to
        the record, and end the training by returning True. Of several processes each calls them, and the first one's
        answer counts.
    :param out: Folder for `history.csv` and `checkpoint.safetensors`, created where missing. What it holds of an
        earlier run is replaced; while another process trains into it, it is refused.
    :param checkpoint_every: Steps between checkpoints, beside the one at the end of each epoch.
    :param resume_from: Checkpoint, or folder of one, to go on from: weights, optimizers (learning rates too), schedule,
        average, dual variables, history and everything drawn are as they were, so that the run ends as if it had never
        stopped; but for what persistent workers, a data set or an attack draw from generators of their own. One of
        other settings, or other arrays, is refused. A run that callbacks or patience have ended stays ended.
    :param validate_every: Epochs between validations; the last epoch has one too.
    :param patience: Validations without improvement before stopping.
    :param restore_best: End with the weights of the best validation, by accuracy under attack where it is measured.
    """

    nb_epochs: int = 20
    scheduler: Any = None
    scheduler_interval: str = "epoch"
    clip_grad_norm: float | None = None
    ema_decay: float | None = None
    log_every: int = 50
    callbacks: Sequence[Callback] = ()
    out: str | Path | None = None
    checkpoint_every: int | None = None
    resume_from: str | Path | None = None
    validate_every: int = 1
    patience: int | None = None
    restore_best: bool = True

    def check(self, trainer: StepTrainer, validation: Validation | None, nb_batches: int) -> None:
        """Refuse what breaks a rule, before any work.

        :param trainer: Whose optimizer the scheduler must belong to.
        :param nb_batches: Batches of an epoch.
        :param validation: None where no validation data were given.
        :raises TypeError: If the scheduler is none, or a callback cannot be called.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        for name, rule in RULES.items():
            check(name, getattr(self, name), rule)
        if self.scheduler is not None:
            if not hasattr(self.scheduler, "step") or not hasattr(self.scheduler, "state_dict"):
                raise TypeError(f"`scheduler` must be a torch scheduler, got {type(self.scheduler).__name__}.")
            if getattr(self.scheduler, "optimizer", None) is not trainer.classifier.optimizer:
                raise ValueError("`scheduler` must belong to the classifier's optimizer, got one of another optimizer.")
            if isinstance(self.scheduler, ReduceLROnPlateau) and self.scheduler_interval == "step":
                raise ValueError("`scheduler_interval` must be 'epoch' for ReduceLROnPlateau, got 'step'.")
            steps = self.nb_epochs * (nb_batches if self.scheduler_interval == "step" else 1)
            if (total := getattr(self.scheduler, "total_steps", steps)) < steps:  # OneCycleLR counts them
                raise ValueError(f"`scheduler` must last for the run's {steps} steps, got one of {total}.")
        if not isinstance(self.callbacks, Sequence):
            raise TypeError(f"`callbacks` must be a list, got {type(self.callbacks).__name__}.")
        for callback in self.callbacks:
            if not callable(callback):
                raise TypeError(f"`callbacks` must be callable, got {type(callback).__name__}.")
        if self.checkpoint_every is not None and self.out is None:
            raise ValueError("`out` must be given with `checkpoint_every`, got None.")
        if self.patience is not None and validation is None:
            raise ValueError("`validation_data` must be given with `patience`, got None.")
