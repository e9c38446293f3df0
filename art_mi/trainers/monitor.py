"""Callbacks: what may look on after each epoch."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from art_mi.extras import needing
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.rules import PATH, check, integer

if TYPE_CHECKING:
    from art_mi.trainers.base import StepTrainer


class RVMonitor:
    """Records normal information, worst-case information and representation vulnerability every few epochs.

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi.trainers import RVMonitor, StandardTrainer
    >>> trainer = StandardTrainer(classifier, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=2, callbacks=[RVMonitor(x, every=2, eps=0.1, max_iter=5)])
    >>> ["vulnerability" in record for record in trainer.history]
    [False, True]

    :param x: Raw inputs to measure on, better not the training inputs.
    :param every: Epochs between measurements.
    :param kwargs: Arguments of :class:`.WorstCaseMIEstimator`; `eps` or `attack` must be among them.
    :raises TypeError: If `x` holds no samples.
    :raises ValueError: If an argument breaks its rule.
    """

    def __init__(self, x: Any, *, every: int = 1, **kwargs: Any) -> None:
        check("every", every, integer(1))
        if not isinstance(x, Sized):
            raise TypeError(f"`x` must be an array, a tensor or a DataLoader, got {type(x).__name__}.")
        if not isinstance(x, DataLoader) and len(x) < FEWEST_PAIRS:
            raise ValueError(f"`x` must hold at least {FEWEST_PAIRS} samples, got {len(x)}.")
        self.estimator = WorstCaseMIEstimator(**{"verbose": False, **kwargs})
        self.x, self.every = x, every

    def __call__(self, trainer: StepTrainer, record: dict[str, Any]) -> None:
        """Add `normal_information`, `worst_case_information` and `vulnerability` to the record.

        :param trainer: What is being trained.
        :param record: Record of the epoch.
        """
        if record["epoch"] % self.every == 0:
            result = self.estimator.evaluate(trainer.classifier, self.x)
            record["normal_information"] = result.normal.value
            record["worst_case_information"] = result.worst_case.value
            record["vulnerability"] = result.vulnerability.value


class TensorBoard:
    """Writes every number of the epoch records for TensorBoard (extra `tensorboard`).

    It comes last among the callbacks, as it writes what those before it have added.

    :param folder: Where to write.
    :raises ValueError: If `folder` is no path.
    """

    def __init__(self, folder: str | Path) -> None:
        check("folder", folder, PATH)
        with needing("tensorboard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def __call__(self, trainer: StepTrainer, record: dict[str, Any]) -> None:
        """Write one record.

        :param trainer: What is being trained.
        :param record: Record of the epoch.
        """
        if trainer.fabric.is_global_zero:
            for name, value in record.items():
                if isinstance(value, int | float) and name != "epoch":
                    self.writer.add_scalar(name, value, record["epoch"])
            self.writer.flush()
