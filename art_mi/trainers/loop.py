"""The one outer loop: epochs, steps, validation, schedules, checkpoints. What a step is, the trainer says."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from art_mi.trainers.batches import Batches
from art_mi.trainers.checkpoint import check_state, load_checkpoint, save_checkpoint
from art_mi.trainers.randomness import isolated_randomness, random_states, restore_random_states
from art_mi.trainers.validation import Validation

if TYPE_CHECKING:
    from art_mi.trainers.base import Callback, StepTrainer

CHECKPOINT = "checkpoint.safetensors"
INTERVALS = ("epoch", "step")


@dataclass(frozen=True)
class FitOptions:
    """How a training run goes.

    :param nb_epochs: Number of epochs.
    :param scheduler: Any torch learning-rate scheduler of the classifier's optimizer.
    :param scheduler_interval: `"epoch"` or `"step"`: how often it is stepped. `ReduceLROnPlateau`, always by epoch, is
        given the accuracy under attack, the clean one, or the loss, whichever of them is there first.
    :param clip_grad_norm: Largest norm of the gradient of the model's weights.
    :param ema_decay: Validate and keep a moving average of the weights with this decay.
    :param log_every: Steps between two looks at the terms, each a wait for the device.
    :param callbacks: Called with trainer and epoch record after each epoch; they may add to the record, and end the
        training by returning True.
    :param out: Folder for `history.csv` and the checkpoint, created where missing.
    :param checkpoint_every: Steps between checkpoints; by default one an epoch.
    :param resume_from: Checkpoint, or folder of one, to go on from.
    :param validate_every: Epochs between validations.
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

    def check(self, trainer: StepTrainer, validation: Validation | None) -> None:
        """Refuse what breaks a rule, before any work.

        :param trainer: Whose optimizer the scheduler must belong to.
        :param validation: None where no validation data were given.
        :raises TypeError: If the scheduler is none, or a callback cannot be called.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        for name in ("nb_epochs", "log_every", "validate_every", "checkpoint_every", "patience"):
            value = getattr(self, name)
            optional = name in ("checkpoint_every", "patience") and value is None
            if not optional and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
                raise ValueError(f"`{name}` must be an integer of at least 1, got {value!r}.")
        if self.clip_grad_norm is not None and not self.clip_grad_norm > 0:
            raise ValueError(f"`clip_grad_norm` must be positive, got {self.clip_grad_norm!r}.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must lie between 0 and 1, got {self.ema_decay!r}.")
        if self.scheduler_interval not in INTERVALS:
            raise ValueError(f"`scheduler_interval` must be 'epoch' or 'step', got {self.scheduler_interval!r}.")
        if self.scheduler is not None:
            if not hasattr(self.scheduler, "step") or not hasattr(self.scheduler, "state_dict"):
                raise TypeError(f"`scheduler` must be a torch scheduler, got {type(self.scheduler).__name__}.")
            if getattr(self.scheduler, "optimizer", None) is not trainer.classifier.optimizer:
                raise ValueError("`scheduler` must belong to the classifier's optimizer, got one of another optimizer.")
        for callback in self.callbacks:
            if not callable(callback):
                raise TypeError(f"`callbacks` must be callable, got {type(callback).__name__}.")
        if self.checkpoint_every is not None and self.out is None:
            raise ValueError("`out` must be given with `checkpoint_every`, got None.")
        if self.patience is not None and validation is None:
            raise ValueError("`validation_data` must be given with `patience`, got None.")


@dataclass
class RunState:
    """Where a run is. Together with weights, optimizers and generators this is all a checkpoint holds."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    stopped: bool = False
    best: dict[str, Any] | None = None


class Loop:
    """One training run.

    :param trainer: Says what a step is.
    :param batches: Where batches come from.
    :param options: How the run goes.
    :param validation: What is validated, None for nothing.
    :raises ValueError: If the checkpoint to go on from is not one of this trainer and architecture.
    """

    def __init__(
        self, trainer: StepTrainer, batches: Batches, options: FitOptions, validation: Validation | None
    ) -> None:
        self.trainer, self.batches, self.options, self.validation = trainer, batches, options, validation
        self.model = trainer.classifier.model
        self.device = trainer.classifier.device
        self.average = _average(self.model, options.ema_decay)
        self.state, self.pending = RunState(), list[dict[str, Tensor]]()
        self.random: dict[str, Any] | None = None
        self.out = None if options.out is None else Path(options.out)
        self.checkpoint = None if options.resume_from is None else self._checked(Path(options.resume_from))

    def run(self) -> None:
        """Train to the end; `trainer.history` holds a record an epoch."""
        trainer = self.trainer
        if self.out is not None and trainer.fabric.is_global_zero:
            self.out.mkdir(parents=True, exist_ok=True)
        if self.checkpoint is None:
            trainer.history = []
        with trainer.set_up() as self.optimizers:
            if self.checkpoint is not None:
                self._load(self.checkpoint)
            total = self.options.nb_epochs * len(self.batches)
            with tqdm(total=total, initial=self.state.step, disable=not self._shown) as self.bar:
                while self.state.epoch < self.options.nb_epochs and not self.state.stopped:
                    self._epoch()
        if self.state.best is not None and self.options.restore_best:
            self.model.load_state_dict(self.state.best["model"])
        elif self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())

    @property
    def _shown(self) -> bool:
        return self.trainer.verbose and bool(self.trainer.fabric.is_global_zero)

    def _epoch(self) -> None:
        state, trainer = self.state, self.trainer
        trainer.before_epoch(state.epoch, self.options.nb_epochs)
        trainer.training_mode()
        self.bar.set_description(f"{type(trainer).__name__} {state.epoch + 1}/{self.options.nb_epochs}")
        good = _copied(self.model.state_dict())
        seed = int(np.random.SeedSequence([trainer.random_state, state.epoch]).generate_state(1)[0])
        try:
            with isolated_randomness(seed + trainer.fabric.global_rank, self.device):
                batches = self.batches.epoch(seed)
                next(islice(batches, state.batch, state.batch), None)  # on resuming, what was already used
                if self.random is not None:
                    restore_random_states(self.random, self.device)
                    self.random = None
                for x, y in batches:
                    self._step(x, y)
                self._end_of_epoch()
        except FloatingPointError:
            self.model.load_state_dict(good)
            raise

    def _step(self, x: Tensor, y: Tensor | None) -> None:
        trainer, fabric, options, state = self.trainer, self.trainer.fabric, self.options, self.state
        if len(x) < trainer.smallest_batch:
            state.batch += 1
            return
        terms = trainer.step(x, y)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        fabric.backward(terms["loss"])
        if options.clip_grad_norm is not None:
            fabric.clip_gradients(
                trainer.running, self.optimizers["model"], max_norm=options.clip_grad_norm, error_if_nonfinite=False
            )
        for optimizer in self.optimizers.values():
            optimizer.step()
        seen = {name: value.detach().float() for name, value in terms.items()}
        if fabric.world_size > 1:
            means = fabric.all_reduce(torch.stack(list(seen.values())), reduce_op="mean")
            seen = dict(zip(seen, means, strict=True))
        trainer.after_step(seen)
        if self.average is not None:
            self.average.update_parameters(self.model)
        if options.scheduler is not None and options.scheduler_interval == "step":
            options.scheduler.step()
        self.pending.append(seen)
        state.batch, state.step = state.batch + 1, state.step + 1
        self.bar.update()
        saving = options.checkpoint_every is not None and state.step % options.checkpoint_every == 0
        if saving or len(self.pending) >= options.log_every:
            self._look()
        if saving:
            self._save()

    def _look(self) -> None:
        """Wait for the device, add up the terms, and refuse to go on with one that is not finite."""
        if not self.pending:
            return
        names = list(self.pending[0])
        values = torch.stack([torch.stack(list(terms.values())) for terms in self.pending]).double().cpu().numpy()
        first = self.state.batch - len(values)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise FloatingPointError(
                f"`{names[column]}` must stay finite, got {values[row, column]} in epoch {self.state.epoch + 1}, batch "
                f"{first + row + 1}. The weights are those of the epoch's start: lower the learning rate, or clip "
                "gradients with `clip_grad_norm`."
            )
        for row in values:
            for name, value in zip(names, row, strict=True):
                self.state.sums[name] = self.state.sums.get(name, 0.0) + float(value)
        self.pending.clear()
        if self._shown:
            shown = {name: f"{value:.3g}" for name, value in zip(names, values[-1], strict=True)}
            self.bar.set_postfix({**shown, **self._accuracies()}, refresh=False)

    def _accuracies(self) -> dict[str, str]:
        last = self.trainer.history[-1] if self.trainer.history else {}
        return {k: f"{v:.1%}" for k, v in last.items() if k in ("clean_accuracy", "robust_accuracy")}

    def _end_of_epoch(self) -> None:
        self._look()
        state, trainer, options = self.state, self.trainer, self.options
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise FloatingPointError(
                f"`weights` must stay finite, got NaN or infinity in epoch {state.epoch + 1}, batch {state.batch}. The "
                "weights are those of the epoch's start."
            )
        rate = trainer.classifier.optimizer.param_groups[0]["lr"]
        means = {name: total / max(1, state.batch) for name, total in state.sums.items()}
        record: dict[str, Any] = {"epoch": state.epoch + 1, "lr": float(rate), **means}
        trainer.after_epoch(record)
        due = (state.epoch + 1) % options.validate_every == 0 or state.epoch + 1 == options.nb_epochs
        if self.validation is not None and due and trainer.validates(state.epoch):
            self._validate(self.validation, record)
        for callback in options.callbacks:
            state.stopped |= bool(callback(trainer, record))
        self._schedule(record)
        trainer.history.append(record)
        self.bar.set_postfix({**{k: f"{v:.3g}" for k, v in means.items()}, **self._accuracies()})
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
        if self.out is not None:
            self._save()

    def _validate(self, validation: Validation, record: dict[str, Any]) -> None:
        state = self.state
        kept = _copied(self.model.state_dict())
        try:
            if self.average is not None:
                self.model.load_state_dict(self.average.module.state_dict())
            record.update(validation.measure())
            value = record.get("robust_accuracy", record["clean_accuracy"])
            if state.best is None or value > state.best["value"]:
                state.best = {"value": value, "epoch": state.epoch + 1, "model": _copied(self.model.state_dict())}
                state.waited = 0
            else:
                state.waited += 1
        finally:
            if self.average is not None:
                self.model.load_state_dict(kept)
        patience = self.options.patience
        state.stopped |= patience is not None and state.waited >= patience

    def _schedule(self, record: dict[str, Any]) -> None:
        scheduler = self.options.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            measured = [record[k] for k in ("robust_accuracy", "clean_accuracy", "loss") if k in record]
            scheduler.step(measured[0])
        elif scheduler is not None and self.options.scheduler_interval == "epoch":
            scheduler.step()

    def _save(self) -> None:
        trainer, state = self.trainer, self.state
        if self.out is None:
            return
        if trainer.fabric.is_global_zero:
            content = {
                "trainer": type(trainer).__name__,
                "state": {**vars(state)},
                "history": trainer.history,
                "model": self.model.state_dict(),
                "modules": {name: module.state_dict() for name, module in trainer.modules.items()},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "scheduler": None if self.options.scheduler is None else self.options.scheduler.state_dict(),
                "duals": trainer.duals,
                "average": None if self.average is None else self.average.state_dict(),
                "precision": trainer.fabric.strategy.precision.state_dict(),
                "generator": trainer.generator.get_state(),
                "random": random_states(self.device),
            }
            save_checkpoint(self.out / CHECKPOINT, content)
            _write_history(self.out / "history.csv", trainer.history)
        trainer.fabric.barrier()

    def _checked(self, path: Path) -> dict[str, Any]:
        content = load_checkpoint(path / CHECKPOINT if path.is_dir() else path)
        wanted = type(self.trainer).__name__
        if content.get("trainer") != wanted:
            raise ValueError(f"`resume_from` must be a checkpoint of {wanted}, got one of {content.get('trainer')!r}.")
        check_state(self.model, content["model"], "resume_from")
        for name, module in self.trainer.modules.items():
            check_state(module, content["modules"].get(name, {}), "resume_from")
        for name, given in (("ema_decay", self.average), ("scheduler", self.options.scheduler)):
            kept = content["average" if name == "ema_decay" else name]
            if (kept is None) != (given is None):
                raise ValueError(f"`{name}` must be given as it was when the checkpoint was written, got {given!r}.")
        return content

    def _load(self, content: dict[str, Any]) -> None:
        trainer = self.trainer
        self.model.load_state_dict(content["model"])
        for name, module in trainer.modules.items():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        if self.options.scheduler is not None:
            self.options.scheduler.load_state_dict(content["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        trainer.fabric.strategy.precision.load_state_dict(content["precision"])
        trainer.generator.set_state(content["generator"])
        trainer.duals = {name: value.to(self.device) for name, value in content["duals"].items()}
        trainer.history = content["history"]
        self.state = RunState(**content["state"])
        self.random = content["random"] if self.state.batch else None  # else the epoch seeds itself


def _average(model: torch.nn.Module, decay: float | None) -> AveragedModel | None:
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _write_history(path: Path, history: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for record in history for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(history)
    part = path.with_suffix(".part")
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)
