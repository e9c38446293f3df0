"""What training changes, as one nested state: for checkpoints, and to go back to when a run fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from art_mi.trainers.average import MovingAverage
from art_mi.trainers.checkpoint import check_state

if TYPE_CHECKING:
    from art_mi.trainers.base import StepTrainer

State = dict[str, Any]


class Trained:
    """Weights, critics, average, optimizers, schedule, dual variables and gradient scale of a trainer.

    :param trainer: Whose they are; its `modules` must not be set up yet.
    :param scheduler: Learning-rate scheduler, or None.
    :param average: Moving average of the model's weights, or None.
    """

    def __init__(self, trainer: StepTrainer, scheduler: Any, average: MovingAverage | None) -> None:
        self.trainer, self.scheduler, self.average = trainer, scheduler, average
        self.modules: dict[str, nn.Module] = {"model": trainer.classifier.model, **trainer.modules}
        self.optimizers: dict[str, Optimizer] = {"model": trainer.classifier.optimizer, **trainer.optimizers}

    def state(self) -> State:
        """All of it; the tensors are the living ones."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state,
            "duals": self.trainer.duals,
            "precision": self.trainer.fabric.strategy.precision.state_dict(),
        }

    def load(self, state: State) -> None:
        """Make all of it what it was.

        :param state: What :meth:`state` gave to a trainer of the same kind.
        """
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            _copy(state["average"], self.average.state)
        self.trainer.duals = {name: value.to(self.trainer.classifier.device) for name, value in state["duals"].items()}
        self.trainer.fabric.strategy.precision.load_state_dict(state["precision"])

    def kind(self) -> dict[str, Any]:
        """What must be alike for a state of one run to be loaded into another, by the name of what differs."""
        names = {id(p): f"{name}.{key}" for name, m in self.modules.items() for key, p in m.named_parameters()}
        return {
            "trainer": type(self.trainer).__name__,
            "modules": list(self.modules),
            "optimizer": {name: _optimizer_kind(optimizer, names) for name, optimizer in self.optimizers.items()},
            "scheduler": None if self.scheduler is None else type(self.scheduler).__name__,
            "ema_decay": None if self.average is None else "given",
            "duals": sorted(self.trainer.duals),
        }

    def weights(self) -> list[State]:
        """Living weights and buffers of the modules, and the average."""
        states = [module.state_dict() for module in self.modules.values()]
        return states if self.average is None else [*states, self.average.state]

    def check(self, state: State) -> None:
        """Refuse weights of another architecture, before anything is loaded.

        :param state: As for :meth:`load`.
        :raises ValueError: If names, shapes or types differ.
        """
        for name, module in self.modules.items():
            check_state(module, state["modules"][name], "resume_from")
        if self.average is not None and state["average"] is not None:
            check_state(self.modules["model"], state["average"], "resume_from")

    def broken(self, before: State) -> list[str]:
        """Names of weights that are not finite now and were so before; waits for the device once.

        :param before: Copy of an earlier state.
        """
        names, broken = [], []
        for name, module in self.modules.items():
            for key, value in module.state_dict().items():
                if isinstance(value, Tensor):
                    names.append(key if name == "model" else f"{name}.{key}")
                    broken.append((before["modules"][name][key].isfinite() & ~value.isfinite()).any())
        found = torch.stack(broken).tolist() if broken else []
        return [name for name, is_broken in zip(names, found, strict=True) if is_broken]


def _optimizer_kind(optimizer: Optimizer, names: dict[int, str]) -> list[Any]:
    groups = [[names.get(id(parameter), "?") for parameter in group["params"]] for group in optimizer.param_groups]
    return [type(optimizer).__name__, *groups]


def _copy(state: State, into: State) -> None:
    with torch.no_grad():
        for name, value in into.items():
            if isinstance(value, Tensor):
                value.copy_(state[name])
