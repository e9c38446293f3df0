"""The one outer loop: epochs, steps, validation, schedules. What a step is, the trainer says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.auto import tqdm

from art_mi.interrupts import undivided
from art_mi.loaders import check_complete
from art_mi.randomness import isolated_randomness
from art_mi.trainers import processes
from art_mi.trainers.average import MovingAverage
from art_mi.trainers.batches import Batch, Batches
from art_mi.trainers.options import FitOptions
from art_mi.trainers.resume import Checkpoints, RunState
from art_mi.trainers.trained import State, Trained
from art_mi.trainers.validation import Validation

if TYPE_CHECKING:
    from art_mi.trainers.base import StepTrainer

ACCURACIES = ("robust_accuracy", "clean_accuracy")


class Loop:
    """One training run.

    :param trainer: Says what a step is.
    :param batches: Where batches come from.
    :param options: How the run goes.
    :param validation: What is validated, None for nothing.
    """

    def __init__(
        self, trainer: StepTrainer, batches: Batches, options: FitOptions, validation: Validation | None
    ) -> None:
        self.trainer, self.batches, self.options, self.validation = trainer, batches, options, validation
        self.fabric, self.model, self.scheduler = trainer.fabric, trainer.classifier.model, options.scheduler
        self.average = None if options.ema_decay is None else MovingAverage(self.model, options.ema_decay)
        self.trained = Trained(trainer, self.scheduler, self.average)
        self.checkpoints = Checkpoints(trainer, self.trained, batches, options.out)
        self.state = RunState()
        self.good: State = {}  # what was trained when the epoch began
        self.unseen: list[tuple[int, int, list[str], Tensor]] = []  # batch, its size, terms that nobody has looked at

    def run(self) -> None:
        """Train to the end; `trainer.history` holds a record an epoch.

        :raises ValueError: If the checkpoint to go on from is not one of such a run, or another run is alive in the
            folder; nothing is changed then.
        :raises FloatingPointError: If a term or a weight is not finite.
        """
        with undivided(), self.checkpoints.claimed:
            self._begin()
            self._train()

    def _begin(self) -> None:
        options = self.options
        self.checkpoints.check()
        if options.resume_from is None:
            self.checkpoints.claim()
            self.trainer.history = []
            self.checkpoints.write(self.state)
        else:
            self.state = self.checkpoints.resume(Path(options.resume_from), options.nb_epochs)

    def _train(self) -> None:
        options = self.options
        total = options.nb_epochs * len(self.batches)
        self.bar = tqdm(total=total, initial=self.state.step, disable=not self._shown)
        with self.trainer.set_up(), self.bar:
            while not self._finished:
                self._epoch()
        if self.state.best is not None and options.restore_best and self.validation is not None:
            self.model.load_state_dict(self.state.best["model"])
        elif self.average is not None:
            self.model.load_state_dict(self.average.state)

    @property
    def _finished(self) -> bool:
        state, patience = self.state, self.options.patience
        impatient = patience is not None and state.waited >= patience
        return state.epoch >= self.options.nb_epochs or state.stopped or impatient

    @property
    def _shown(self) -> bool:
        return self.trainer.verbose and bool(self.fabric.is_global_zero)

    def _epoch(self) -> None:
        state, trainer = self.state, self.trainer
        self.bar.set_description(f"{type(trainer).__name__} {state.epoch + 1}/{self.options.nb_epochs}")
        trainer.before_epoch(state.epoch, self.options.nb_epochs)
        trainer.training_mode()
        changed = state.epoch == 0 or trainer.phase(state.epoch) != trainer.phase(state.epoch - 1)
        self._begins = changed and state.batch == 0
        self.good = deepcopy(self.trained.state())
        order, own, crafting = self._seeds()
        trainer.generator.manual_seed(crafting)
        try:
            with isolated_randomness(own, trainer.classifier.device):
                for x, y in self._remaining_batches(order):
                    state.batch += 1
                    if len(x) >= trainer.smallest_batch:
                        self._step(x, y)
                        self._after_step()
                self._end_of_epoch()
        except Exception:
            self.trained.load(self.good)
            raise

    def _seeds(self) -> list[int]:
        """Of the order of samples, alike in all processes, and of what this one draws globally and for its attack."""
        epoch = [self.trainer.random_state, self.state.epoch]
        order = np.random.SeedSequence(epoch).generate_state(1)
        own = np.random.SeedSequence([*epoch, self.fabric.global_rank + 1]).generate_state(2)
        return [*map(int, order), *map(int, own)]

    def _remaining_batches(self, seed: int) -> Iterator[Batch]:
        """The epoch's batches; on resuming those not yet used, with the generators as they were then."""
        batches = self.batches.epoch(seed)
        next(islice(batches, self.state.batch, self.state.batch), None)
        self.checkpoints.redraw()
        return batches

    def _step(self, x: Tensor, y: Tensor | None) -> None:
        terms = self.trainer.step(x, y)
        self._descend(terms["loss"])
        values = processes.mean(self.fabric, torch.stack([value.detach().float() for value in terms.values()]))
        self.unseen.append((self.state.batch, len(x), list(terms), values))
        self.trainer.after_step(dict(zip(terms, values, strict=True)))
        if self.average is not None:
            self.average.update(self.model, first=self._begins)
            self._begins = False
        if self.scheduler is not None and self.options.scheduler_interval == "step":
            self.scheduler.step()

    def _descend(self, loss: Tensor) -> None:
        optimizers, largest = self.trained.optimizers, self.options.clip_grad_norm
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        self.fabric.backward(loss)
        processes.average_gradients(self.fabric, optimizers.values())
        if largest is not None:
            self.fabric.clip_gradients(self.model, optimizers["model"], max_norm=largest, error_if_nonfinite=False)
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is None:
            for optimizer in optimizers.values():
                optimizer.step()
        else:  # not by Fabric, which would change the scale between two optimizers
            for optimizer in optimizers.values():
                if any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
                    scaler.step(optimizer)
            scaler.update()

    def _after_step(self) -> None:
        self.state.step += 1
        self.bar.update()
        every = self.options.checkpoint_every
        saving = every is not None and self.state.step % every == 0
        if saving or len(self.unseen) >= self.options.log_every:
            self._look()
        if saving:
            self._check_weights()
            self.checkpoints.write(self.state)

    def _look(self) -> None:
        """Wait for the device, add up the terms, and refuse to go on with one that is not finite."""
        if not self.unseen:
            return
        unseen, self.unseen = self.unseen, []
        values = iter(torch.cat([values for *_, values in unseen]).tolist())
        for batch, size, names, _ in unseen:
            terms = dict(zip(names, values, strict=False))  # takes one value a name
            for name, value in terms.items():
                if not math.isfinite(value):
                    raise self._failure(name, str(value), batch)
                self.state.sums[name] = self.state.sums.get(name, 0.0) + size * value
            self.state.counted += size
        self._show(terms)

    def _check_weights(self) -> None:
        broken = self.trained.broken(self.good)
        if broken:
            raise self._failure(broken[0], "NaN or infinity", self.state.batch)

    def _failure(self, name: str, value: str, batch: int) -> FloatingPointError:
        return FloatingPointError(
            f"`{name}` must stay finite, got {value} in epoch {self.state.epoch + 1}, batch {batch}. Weights, "
            "optimizers and schedule are as when the epoch began or was resumed: lower the learning rate, or clip "
            "gradients with `clip_grad_norm`."
        )

    def _show(self, terms: dict[str, float]) -> None:
        if self._shown:
            measured = (record for record in reversed(self.trainer.history) if not record.keys().isdisjoint(ACCURACIES))
            accuracies = {k: f"{v:.1%}" for k, v in next(measured, {}).items() if k in ACCURACIES}
            self.bar.set_postfix({**{k: f"{v:.3g}" for k, v in terms.items()}, **accuracies}, refresh=False)

    def _end_of_epoch(self) -> None:
        state, trainer = self.state, self.trainer
        check_complete(state.batch, len(self.batches), f" in epoch {state.epoch + 1}")
        self._look()
        self._check_weights()
        if not state.counted:
            raise ValueError(f"`x` must give batches of at least {trainer.smallest_batch} samples, got none.")
        processes.share(self.fabric, self.trained.weights())  # batch statistics differ between processes
        means = {name: total / state.counted for name, total in state.sums.items()}
        record = {"epoch": state.epoch + 1, "lr": float(trainer.classifier.optimizer.param_groups[0]["lr"]), **means}
        trainer.after_epoch(record)
        with nullcontext() if self.average is None else self.average.in_place(self.model):
            self._validate(record)
            stops = [bool(callback(trainer, record)) for callback in self.options.callbacks]
        record, state.stopped = self.fabric.broadcast((record, any(stops)))
        self._schedule(record)
        trainer.history.append(record)
        self._show(means)
        state.epoch, state.batch, state.counted, state.sums = state.epoch + 1, 0, 0, {}
        self.checkpoints.write(self.state)

    def _validate(self, record: dict[str, Any]) -> None:
        """Add accuracies to the record where they are due, and keep the best weights."""
        state = self.state
        due = (state.epoch + 1) % self.options.validate_every == 0 or state.epoch + 1 == self.options.nb_epochs
        if self.validation is None or not due or not self.trainer.validates(state.epoch):
            return
        record.update(self.fabric.broadcast(self.validation.measure()))
        value = next(record[name] for name in ACCURACIES if name in record)
        state.waited += 1
        if state.best is None or value > state.best["value"]:
            state.best = {"value": value, "epoch": state.epoch + 1, "model": deepcopy(self.model.state_dict())}
            state.waited = 0

    def _schedule(self, record: dict[str, Any]) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            measured = [record[k] for k in (("loss",) if self.validation is None else ACCURACIES) if k in record]
            if measured:  # a scheduler that waits for a minimum is given the error
                falling = self.validation is not None and self.scheduler.mode == "min"
                self.scheduler.step(1 - measured[0] if falling else measured[0])
        elif self.scheduler is not None and self.options.scheduler_interval == "epoch":
            self.scheduler.step()
