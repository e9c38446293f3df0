"""What a run writes while it trains, and how a later one goes on from it."""

from __future__ import annotations

import csv
import inspect
import io
import reprlib
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_mi.evaluation.attacks import attack_settings, plain
from art_mi.files import replace_file, writing_alone
from art_mi.finished import content_digest
from art_mi.randomness import random_states, restore_random_states
from art_mi.trainers import processes
from art_mi.trainers.batches import ArrayBatches, Batches
from art_mi.trainers.checkpoint import check_state, load_checkpoint, save_checkpoint
from art_mi.trainers.encoding import encoded
from art_mi.trainers.trained import Trained

if TYPE_CHECKING:
    from art_mi.trainers.base import StepTrainer

CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.csv"
ELSEWHERE = ("classifier", "attack", "fabric", "verbose", "channels_last", "compiled")  # no settings of what is trained


@dataclass
class RunState:
    """Where a run is. With what is trained and what is drawn this is all that a checkpoint holds.

    :param epoch: Epochs that are complete.
    :param batch: Batches used of the present epoch.
    :param step: Steps of the optimizers in all.
    :param counted: Samples of the present epoch that are in `sums`.
    :param sums: Sums of the terms over these samples.
    :param waited: Validations since the best one.
    :param stopped: Whether a callback has ended the run.
    :param best: Value, epoch and weights of the best validation.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    counted: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    stopped: bool = False
    best: dict[str, Any] | None = None

    @property
    def begun(self) -> int:
        """Epochs that have begun."""
        return self.epoch + (self.batch > 0)


class Checkpoints:
    """Checkpoint and history of one run.

    :param trainer: The trainer.
    :param trained: What training changes.
    :param batches: Where batches come from.
    :param out: Folder to write to, None for nowhere.
    """

    def __init__(self, trainer: StepTrainer, trained: Trained, batches: Batches, out: str | Path | None) -> None:
        self.trainer, self.trained, self.batches = trainer, trained, batches
        self.device = trainer.classifier.device
        self.out = None if out is None else Path(out)
        self.claimed = ExitStack()  # of the folder; closed when the run ends
        self._drawn: dict[str, Any] | None = None  # states of the generators to go on from

    def check(self) -> None:
        """Refuse what no checkpoint can hold.

        :raises TypeError: If a scheduler or optimizer keeps such a thing.
        """
        if self.out is not None:
            encoded(self.trained.state(), "state", {})

    def claim(self) -> None:
        """Keep other runs out of the folder until `claimed` is closed, and remove what a killed one had half written.

        :raises ValueError: If another run is alive there; in all processes of this one.
        """
        if self.out is None:
            return
        refusal = None
        if self.trainer.fabric.is_global_zero:
            try:
                self.claimed.enter_context(writing_alone(self.out))
                for name in (CHECKPOINT, HISTORY):
                    for part in self.out.glob(f".{name}.*"):
                        part.unlink(missing_ok=True)
            except ValueError as error:
                refusal = str(error)
        refusal = self.trainer.fabric.broadcast(refusal)
        if refusal is not None:
            raise ValueError(refusal)

    def write(self, state: RunState) -> None:
        """Replace checkpoint and history; of several processes the first one writes.

        :param state: Where the run is.
        """
        if self.out is not None:
            self._write(self.out, self._content(state))

    def _write(self, out: Path, content: dict[str, Any]) -> None:
        if self.trainer.fabric.is_global_zero:
            save_checkpoint(out / CHECKPOINT, content)
            _write_table(out / HISTORY, content["history"])
        self.trainer.fabric.barrier()

    def _content(self, state: RunState) -> dict[str, Any]:
        drawn = {"global": random_states(self.device), "trainer": self.trainer.generator.get_state()}
        return {
            "kind": self.trained.kind(),
            "settings": self._settings,
            "epoch": self._epoch_setting(),
            "phase": self.trainer.phase(max(state.begun - 1, 0)),
            "state": vars(state),
            "history": self.trainer.history,
            "trained": self.trained.state(),
            "drawn": processes.gathered(self.trainer.fabric, drawn),
        }

    def resume(self, path: Path, nb_epochs: int) -> RunState:
        """Make everything what it was, but the generators, which :meth:`redraw` restores once used batches are skipped.

        :param path: Checkpoint, or folder of one.
        :param nb_epochs: Epochs of the whole run.
        :return: Where the run was.
        :raises ValueError: If it is not a checkpoint of such a run; nothing is changed then.
        """
        content = load_checkpoint(path / CHECKPOINT if path.is_dir() else path, "resume_from")
        before = deepcopy(self.trained.state())
        try:
            state = RunState(**content["state"])
            self._check(content, state, nb_epochs)
            drawn = content["drawn"][self.trainer.fabric.global_rank] if state.batch else None
            history = list(content["history"])
            self.trained.load(content["trained"])
            self.claim()
            if self.out is not None:  # a run that is killed at once can be resumed from there
                self._write(self.out, content)
        except (AttributeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            self.trained.load(before)
            if isinstance(error, OSError | ValueError):
                raise
            raise ValueError(
                f"`resume_from` must be a checkpoint of a training run, got {str(path)!r}: {error}."
            ) from error
        self.trainer.history, self._drawn = history, drawn
        return state

    def redraw(self) -> None:
        """Restore the generators where the run goes on in the middle of an epoch, once."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            restore_random_states(drawn["global"], self.device)
            self.trainer.generator.set_state(drawn["trainer"])

    def _check(self, content: dict[str, Any], state: RunState, nb_epochs: int) -> None:
        kept, own, what = content["kind"], self.trained.kind(), "a checkpoint of a run"
        _check_alike(kept, {name: own[name] for name in ("trainer", "modules")}, what)
        self.trained.check(content["trained"])  # first, as the optimizer's parameters go by the names of the layers
        _check_alike(kept, own, what)
        self._check_settings(content.get("settings", {}), content["epoch"])
        if state.best is not None:
            check_state(self.trainer.classifier.model, state.best["model"], "resume_from")
        if state.batch:
            _check_alike(
                content["epoch"], self._epoch_setting(), "a checkpoint, here in the middle of an epoch, of a run"
            )
        if state.begun > nb_epochs:
            raise ValueError(f"`nb_epochs` must be at least the {state.begun} of the checkpoint, got {nb_epochs}.")
        phase, kept = self.trainer.phase(max(state.begun - 1, 0)), content["phase"]
        if phase != kept:
            raise ValueError(
                f"`nb_epochs` must leave epoch {max(state.begun, 1)}, which was one of the {kept}, as it was; it would "
                f"be one of the {phase}."
            )

    def _check_settings(self, kept: dict[str, Any], epoch: dict[str, Any]) -> None:
        """Refuse other settings and data; what an older release did not keep or a loader does not tell passes."""
        what = "a checkpoint of a run"
        own = {name: value for name, value in self._settings.items() if name in kept}
        if None in (kept.get("data"), own.get("data")):
            own.pop("data", None)
        _check_alike(kept, own, what)
        name = "number of processes"
        if epoch[name] == self.trainer.fabric.world_size:
            _check_alike(epoch, {"number of batches": len(self.batches)}, what)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The trainer's settings, those of its attack, and a digest of arrays to train on."""
        trainer, data = self.trainer, None
        named = {name for kind in type(trainer).__mro__ for name in inspect.signature(kind).parameters}
        own = {name: plain(value) for name, value in vars(trainer).items() if name in named.difference(ELSEWHERE)}
        if trainer.attack is not None:
            attack = attack_settings(trainer.attack)
            own |= {"attack": attack.pop("attack"), **{f"attack's {name}": value for name, value in attack.items()}}
        if isinstance(self.batches, ArrayBatches):
            data = content_digest(
                "", {"x": self.batches.x, **({} if self.batches.y is None else {"y": self.batches.y})}
            )
        return {**own, "data": data and f"digest {data[:12]}"}

    def _epoch_setting(self) -> dict[str, Any]:
        """What must be alike to go on in the middle of an epoch."""
        return {
            "device": self.device.type,
            "number of processes": self.trainer.fabric.world_size,
            "number of batches": len(self.batches),
            "random_state": self.trainer.random_state,
        }


def _write_table(path: Path, records: list[dict[str, Any]]) -> None:
    if records:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for record in records for name in record)))
        writer.writeheader()
        writer.writerows(records)
        replace_file(path, text.getvalue().encode())


def _check_alike(kept: dict[str, Any], own: dict[str, Any], what: str) -> None:
    for name, value in own.items():
        if kept[name] != value:
            raise ValueError(
                f"`resume_from` must be {what} with the same {name}, got one with {reprlib.repr(kept[name])} where "
                f"this run has {reprlib.repr(value)}."
            )
