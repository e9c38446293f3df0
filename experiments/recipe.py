"""What one model is trained from, and the trainers by the names that tables give them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MARTTrainer,
    MIMAETrainer,
    StandardTrainer,
    StepTrainer,
    TRADESTrainer,
    WorstCaseMITrainer,
)
from experiments.constrained import ConstrainedMIMAETrainer
from experiments.plan import USUAL, Plan

METHODS: dict[str, type[StepTrainer]] = {
    "standard": StandardTrainer,
    "Madry": MadryPGDTrainer,
    "TRADES": TRADESTrainer,
    "MART": MARTTrainer,
    "MIMAE": MIMAETrainer,
    "DALE": DALETrainer,
    "worst-case MI": WorstCaseMITrainer,
    "MIMAE under DALE": ConstrainedMIMAETrainer,
}
VERSION = 1  # to be raised when code changes so that models trained before no longer count


@dataclass(frozen=True)
class Recipe:
    """One model to train.

    :param method: Out of :data:`METHODS`.
    :param network: Out of :data:`.NETWORKS`, by default the plan's usual one; or of :data:`.HEADS` on an `encoder`.
    :param seed: Of first weights and training.
    :param options: What its trainer takes, in place of the defaults.
    :param sampling: What :class:`~art_mi.LangevinMonteCarlo` takes where it crafts the training perturbations; None for
        projected gradient descent.
    :param radius: Training radius as a multiple of the data set's.
    :param encoder: Recipe of a frozen encoder under this head.
    :param rate: Learning rate as a multiple of the plan's.
    """

    method: str
    network: str = USUAL
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] | None = None
    radius: float = 1.0
    encoder: Recipe | None = None
    rate: float = 1.0

    def under(self, plan: Plan) -> Recipe:
        """The same with the plan's usual network named."""
        network = plan.usual if self.network == USUAL else self.network
        return replace(self, network=network, encoder=None if self.encoder is None else self.encoder.under(plan))

    def folder(self, plan: Plan) -> str:
        """Name of a folder of its own, the same for whatever experiment asks.

        :param plan: Sizes of the run.
        """
        recipe = self.under(plan)
        below = None if recipe.encoder is None else recipe.encoder.folder(plan)
        sizes = plan.training(recipe.network, on_encoder=below is not None)
        content = json.dumps([VERSION, sizes, below, asdict(recipe, dict_factory=_kept)], sort_keys=True)
        words = re.sub(r"[^a-z0-9]+", "-", f"{recipe.network} {recipe.method} {recipe.seed}".lower())
        return f"{words}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def setting(self, plan: Plan) -> dict[str, Any]:
        """All but the seed, as results keep it."""
        every = asdict(self.under(plan), dict_factory=_kept)
        return {key: value for key, value in every.items() if key != "seed"}


def _kept(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields without a rate that is the plan's, which models from before there were others do not name."""
    return {name: value for name, value in fields if (name, value) != ("rate", 1.0)}
