"""Where models are trained and measured, once each, and everything that is finished is kept."""

from __future__ import annotations

import fcntl
import math
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import LangevinMonteCarlo
from art_mi.critics import LocalCritic
from art_mi.evaluation import evaluate_robustness
from art_mi.evaluation.attacks import pgd
from art_mi.finished import Finished, fingerprint
from art_mi.randomness import isolated_randomness
from art_mi.results import Accuracy
from art_mi.trainers import StepTrainer, WorstCaseMITrainer
from experiments.networks import HEADS, Frozen, encoder, network
from experiments.plan import Plan, Samples
from experiments.recipe import METHODS, Recipe
from experiments.record import made_by

Measure = Callable[["Workshop", Recipe, PyTorchClassifier], dict[str, Any]]


@dataclass(frozen=True)
class Workshop:
    """Trains and measures models of a plan on one data set.

    :param plan: Sizes.
    :param samples: Images.
    :param folder: A folder for each model, with its checkpoint and what was measured on it.
    :param device: `"cpu"` or `"gpu"`, as in ART.
    """

    plan: Plan
    samples: Samples
    folder: Path
    device: str = "cpu"

    def row(self, recipe: Recipe, measure: Measure | None = None) -> dict[str, Any]:
        """A model as results keep it: training and accuracies, with their intervals, of its last and best checkpoint.

        :param recipe: What it is trained from.
        :param measure: What else is measured, on the last checkpoint; kept under its name, for as long as the model and
            the `SETTINGS` of its module stay.
        :return: What was found; where the training or an attack failed, why, under `"failed"`, and printed whole.
        """
        row: dict[str, Any] = {"setting": recipe.setting(self.plan), "seed": recipe.seed}
        with self._alone(recipe):
            try:
                last, history = self._trained(recipe, "last")
                row |= self._course(recipe, last, history)
                if recipe.method != "worst-case MI":
                    row["last"] = self._accuracies(recipe, last, "last")
                    row["best"] = self._best(recipe, history, row["last"])
                if measure is not None:
                    row |= self._measured(recipe, last, measure)
            except (FloatingPointError, ValueError) as error:
                traceback.print_exc()
                row["failed"] = f"{type(error).__name__}: {error}"
        return row

    def trained(self, recipe: Recipe, checkpoint: str = "last") -> PyTorchClassifier:
        """A trained model, from its folder where it is finished, trained to the end from wherever it was otherwise.

        :param recipe: What it is trained from.
        :param checkpoint: `"last"`, or `"best"` by accuracy under PGD-20 on the held-out images, epoch by epoch.
        """
        with self._alone(recipe):
            return self._trained(recipe, checkpoint)[0]

    def _trained(self, recipe: Recipe, checkpoint: str) -> tuple[PyTorchClassifier, list[dict[str, Any]]]:
        plan, folder = self.plan, self._folder(recipe)
        finished = Finished(folder, "made by")
        if finished.get("made by") is None:
            finished.put("made by", made_by(self.device))
        classifier = self._classifier(recipe)
        trainer = self._trainer(recipe, classifier)
        nb_epochs = plan.nb_epochs if recipe.encoder is None else plan.head_epochs
        nb_steps = nb_epochs * math.ceil(len(self.samples.train[0]) / plan.batch_size)
        x, y = self.samples.train
        validation: dict[str, Any] = {
            "validation_data": self.samples.validation,
            "validation_attack": pgd(classifier, math.inf, self.samples.eps, max_iter=20, batch_size=plan.batch_size),
        }
        unlabelled = isinstance(trainer, WorstCaseMITrainer)
        trainer.fit(
            x,
            None if unlabelled else y,
            batch_size=plan.batch_size,
            nb_epochs=nb_epochs,
            scheduler=torch.optim.lr_scheduler.OneCycleLR(
                classifier.optimizer, recipe.rate * plan.lr, total_steps=nb_steps
            ),
            scheduler_interval="step",
            restore_best=checkpoint == "best",
            callbacks=[_Clock()],
            out=folder,
            resume_from=folder if (folder / "checkpoint.safetensors").exists() else None,
            **({} if unlabelled else validation),
        )
        return classifier, trainer.history

    def _classifier(self, recipe: Recipe) -> PyTorchClassifier:
        shape, nb_classes = self.samples.train[0].shape[1:], self.samples.nb_classes
        name = recipe.under(self.plan).network
        if recipe.encoder is None:
            model = network(name, shape, nb_classes, random_state=recipe.seed, **self.plan.sizes.get(name, {}))
        else:
            frozen = Frozen(encoder(self.trained(recipe.encoder).model).cpu())
            with isolated_randomness(recipe.seed, torch.device("cpu")):
                head = nn.Sequential(*HEADS[name](nb_classes))
                model = nn.Sequential(OrderedDict(features=frozen, head=head)).eval()
                model(torch.zeros(1, *shape))  # lazy layers learn their shapes
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            shape,
            nb_classes,
            optimizer=torch.optim.Adam(trainable, lr=recipe.rate * self.plan.lr),
            clip_values=(0.0, 1.0),
            device_type=self.device,
        )

    def _trainer(self, recipe: Recipe, classifier: PyTorchClassifier) -> StepTrainer:
        options: dict[str, Any] = {"random_state": recipe.seed, "verbose": False, **recipe.options}
        if recipe.method == "worst-case MI":
            with isolated_randomness(recipe.seed, torch.device("cpu")):
                images = torch.zeros(1, *classifier.input_shape, device=classifier.device)
                nb_features = encoder(classifier.model).eval()(images).shape[1]
                critic = LocalCritic(classifier.input_shape[0], nb_features, width=self.plan.critic_width)
            critics = {"critic": critic.to(classifier.device), "critic_lr": self.plan.critic_lr}
            options = {"layer": "features", "head": None, **critics, **options}
        return METHODS[recipe.method](classifier, self._attack(recipe, classifier), **options)

    def _attack(self, recipe: Recipe, classifier: PyTorchClassifier) -> EvasionAttack:
        """Equal radius, steps and starts for all methods."""
        eps = recipe.radius * self.samples.eps
        plan = self.plan
        if recipe.sampling is None:
            return pgd(classifier, math.inf, eps, max_iter=plan.max_iter, batch_size=plan.batch_size)
        common = {"eps": eps, "eps_step": eps / 4, "max_iter": plan.max_iter, "num_random_init": 1}
        return LangevinMonteCarlo(classifier, **{**common, **recipe.sampling}, verbose=False)

    def _course(self, recipe: Recipe, classifier: PyTorchClassifier, history: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "made_by": Finished(self._folder(recipe), "made by").get("made by"),
            "nb_parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
            "seconds_per_epoch": float(np.median([record["seconds"] for record in history])),
            "history": history,
        }

    def _best(self, recipe: Recipe, history: list[dict[str, Any]], last: dict[str, Any]) -> dict[str, Any]:
        """Accuracies of the best checkpoint, which may be the last."""
        epoch = max(history, key=lambda record: (record["robust_accuracy"], -record["epoch"]))["epoch"]
        if epoch == len(history):
            return {**last, "epoch": epoch}
        classifier, _ = self._trained(recipe, "best")
        return {**self._accuracies(recipe, classifier, "best"), "epoch": epoch}

    def _accuracies(self, recipe: Recipe, classifier: PyTorchClassifier, checkpoint: str) -> dict[str, Any]:
        x, y = self.samples.test
        out, few = self._folder(recipe) / checkpoint, self.plan.nb_auto_attack
        many = self._attacked(classifier, x, y, "PGD-20", out / "pgd")
        strong = self._attacked(classifier, x[:few], y[:few], "AutoAttack", out / "auto-attack")
        return {**many, "AutoAttack": strong["AutoAttack"], "clean of those": strong["clean"]}

    def _attacked(self, classifier: PyTorchClassifier, x: Any, y: Any, attack: str, out: Path) -> dict[str, Any]:
        eps = self.samples.eps
        result = evaluate_robustness(classifier, x, y, eps=eps, attacks=[attack], checks=False, out=out, verbose=False)
        return {"clean": _kept(result.clean), attack: _kept(result.attacks[attack].accuracy)}

    def _measured(self, recipe: Recipe, classifier: PyTorchClassifier, measure: Measure) -> dict[str, Any]:
        name = f"{measure.__module__}.{measure.__name__}"
        settings = getattr(sys.modules[measure.__module__], "SETTINGS", None)
        work = {"plan": asdict(self.plan), "settings": settings, "name": name}
        finished = Finished(self._folder(recipe), fingerprint(classifier, *self.samples.test, work))
        kept = finished.get(name)
        if kept is None:
            kept = {"measure": measure(self, recipe, classifier), "measured_by": made_by(self.device)}
            finished.put(name, kept)
        return kept

    def _folder(self, recipe: Recipe) -> Path:
        return self.folder / recipe.folder(self.plan)

    @contextmanager
    def _alone(self, recipe: Recipe) -> Iterator[None]:
        """One process at a time works on a model."""
        folder = self._folder(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Clock:
    """Adds the seconds of an epoch to its record, validation included."""

    def __init__(self) -> None:
        self.began = time.perf_counter()

    def __call__(self, trainer: StepTrainer, record: dict[str, Any]) -> None:
        now = time.perf_counter()
        record["seconds"], self.began = now - self.began, now


def _kept(accuracy: Accuracy) -> dict[str, Any]:
    """An accuracy with the answers it is made of, a bit an image."""
    return {**accuracy.to_dict(), "correct": np.packbits(accuracy.correct).tobytes().hex()}
