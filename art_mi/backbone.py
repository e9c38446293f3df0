"""Should I reuse this encoder? What heads on it reach under attack, and what its information allows."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_mi import bridge
from art_mi.evaluation import attacked_accuracy
from art_mi.evaluation.attacks import pgd
from art_mi.loaders import loaded
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.randomness import PREDICTION, isolated_randomness
from art_mi.representations import Representation, check_representation, in_batches, representation
from art_mi.results import Accuracy, BackboneReport, Flag, Probe
from art_mi.rules import POSITIVE, PROPORTION, check, integer, or_none
from art_mi.splits import split_samples
from art_mi.threat import BOX
from art_mi.trainers import MadryPGDTrainer, StandardTrainer, StepTrainer

PROBES: dict[str, tuple[str, type[StepTrainer]]] = {
    "SLF": ("linear", StandardTrainer),
    "ALF": ("linear", MadryPGDTrainer),
    "standard MLP": ("MLP", StandardTrainer),
    "robust MLP": ("MLP", MadryPGDTrainer),
}
HIDDEN = 200  # units of the MLP, as in https://arxiv.org/abs/2002.11798
SPEAK_OF = (
    "the floor is an accuracy without noise under one attack, which a stronger attack may lower; the ceiling holds for "
    "heads behind the noise; its information, and the accuracy measured behind the noise, are of all samples given, "
    "those that trained the head included"
)


def backbone_report(
    encoder: nn.Module | PyTorchClassifier,
    x: Any,
    y: Any = None,
    *,
    eps: float,
    layer: str | None = None,
    nb_classes: int | None = None,
    norm: float | str = math.inf,
    clip_values: tuple[Any, Any] | None = (0.0, 1.0),
    wanted: float = 0.5,
    nb_epochs: int = 20,
    max_iter: int = 40,
    batch_size: int = 128,
    noise_std: float = 1.0,
    random_state: int = 0,
    verbose: bool = True,
) -> BackboneReport:
    """What can be built on a frozen encoder: heads that were trained on it, and a bound on all others.

    Four heads are trained on three fifths of the samples: linear ones on clean (SLF) and on adversarial inputs (ALF),
    and MLPs likewise. The attack passes through the encoder, which stays in evaluation mode and is not trained. The
    best under attack is chosen on 15 % of the samples, and all are reported on the last quarter. The encoder should
    not have been trained on any of them.

    | Paper link: https://arxiv.org/abs/2002.11798 (section 6.2 and theorem 3.4)

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import backbone_report
    >>> report = backbone_report(classifier, x, y, eps=0.05, layer="features", nb_epochs=1, max_iter=5, verbose=False)
    >>> list(report.probes)
    ['SLF', 'ALF', 'standard MLP', 'robust MLP']
    >>> report.floor.value <= report.probes[report.best].clean.value
    True

    :param encoder: Torch module that gives features `(n, d)` (more dimensions are flattened), or ART
        `PyTorchClassifier`. Its weights, buffers, modes, gradients and hooks are as before afterwards.
    :param x: Raw inputs `(n, *input_shape)`, at least 100: array, tensor or `DataLoader`.
    :param y: Index `(n,)` or one-hot labels; not needed beside a loader that brings them.
    :param eps: Radius in raw input units, positive.
    :param layer: Dotted name of the layer whose output the features are; the output of the encoder by default.
    :param nb_classes: Number of classes; of a module by default one more than the largest label.
    :param norm: inf (or `"inf"`), 2 or 1.
    :param clip_values: Least and largest value of an input, of a module; an ART classifier brings its own.
    :param wanted: Accuracy under attack in [0, 1] that the verdict is about.
    :param nb_epochs: Epochs that each head is trained.
    :param max_iter: Steps of the attack on the information.
    :param batch_size: Samples in a training batch, and most through the network at once.
    :param noise_std: Noise level of the ceiling relative to the features' overall standard deviation.
    :param random_state: Seed. Global random state is as before afterwards.
    :param verbose: Show progress bars.
    :raises TypeError: If `encoder` is neither, or an argument of another type.
    :raises ValueError: If an argument breaks its rule; the message names it.
    """
    check("eps", eps, POSITIVE)
    check("wanted", wanted, PROPORTION)
    check("nb_epochs", nb_epochs, integer(1))
    check("clip_values", clip_values, or_none(BOX))
    estimator = WorstCaseMIEstimator(
        eps,
        norm=norm,
        max_iter=max_iter,
        batch_size=batch_size,
        layer="features",
        noise_std=check("noise_std", noise_std, POSITIVE),
        random_state=random_state,
        verbose=verbose,
    )
    x, y = loaded(x, y, random_state)
    if y is None:
        raise ValueError("`y` must hold labels, got None.")
    source = _classifier(encoder, x, y, nb_classes, clip_values)
    samples = _Samples.of(source, x, y, random_state)
    with isolated_randomness(random_state ^ PREDICTION, source.device), representation(source, layer) as represent:
        bench = _Bench(source, represent, samples, estimator, int(nb_epochs))
        heads, chosen = {}, {}
        for name in tqdm(PROBES, desc="probes", leave=False, disable=not verbose):
            heads[name] = bench.train(*PROBES[name])
            chosen[name] = bench.probe(heads[name], samples.select)
        best = max(PROBES, key=lambda name: (chosen[name].robust.value, chosen[name].clean.value))
        probes = {name: bench.probe(head, samples.report) for name, head in heads.items()}
        found = replace(estimator.evaluate(heads[best], samples.x, samples.y), layer=layer)
    settings = {
        **found.settings,
        "training": {
            "nb_epochs": nb_epochs,
            "batch_size": batch_size,
            "attack": "PGD-10",
            "nb_samples": len(samples.fit),
        },
        "evaluation": {"attack": "PGD-20", "nb_samples": len(samples.report), "chosen on": len(samples.select)},
        "wanted": wanted,
        "random_state": random_state,
        "floor and ceiling": SPEAK_OF,
    }
    report = BackboneReport(probes, best, found, "", settings)
    return replace(report, verdict=_verdict(report))


@dataclass(frozen=True)
class _Samples:
    """Inputs, labels, and the numbers of those that fit a head, select one, and are reported on."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    fit: NDArray[np.int64]
    select: NDArray[np.int64]
    report: NDArray[np.int64]

    @classmethod
    def of(cls, classifier: PyTorchClassifier, x: Any, y: Any, random_state: int) -> _Samples:
        inputs = bridge.input_tensor(classifier, x)
        if len(inputs) < FEWEST_PAIRS:
            raise ValueError(f"`x` must hold at least {FEWEST_PAIRS} samples, got {len(inputs)}.")
        labels = bridge.label_tensor(classifier, y, len(inputs))
        split = split_samples(inputs, random_state=random_state)
        parts = (part.numpy() for part in (split.fit, split.select, split.report))
        return cls(inputs.cpu().numpy(), labels.cpu().numpy(), *parts)


class _Features(nn.Module):
    """Features of an encoder that is no part of this module, so that nothing here trains it or changes its mode."""

    def __init__(self, represent: Representation) -> None:
        super().__init__()
        self.represent = represent

    def forward(self, x: Tensor) -> Tensor:
        return self.represent(x)


class _Standardised(nn.Module):
    """A fixed shift and scale, so that heads train alike whatever the scale of the features."""

    mean: Tensor
    std: Tensor

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        std = z.std(0)
        self.register_buffer("mean", z.mean(0))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std


@dataclass(frozen=True)
class _Bench:
    """Trains and measures heads on one encoder."""

    source: PyTorchClassifier
    represent: Representation
    samples: _Samples
    estimator: WorstCaseMIEstimator
    nb_epochs: int

    def train(self, kind: str, trainer: type[StepTrainer]) -> PyTorchClassifier:
        """A trained head on the encoder, as a classifier of raw inputs whose layer `features` is the encoder's output.

        :param kind: `"linear"` or `"MLP"`.
        :param trainer: Class that trains it.
        """
        source, samples, seed = self.source, self.samples, self.estimator.random_state
        x, y = samples.x[samples.fit], samples.y[samples.fit]
        z = in_batches(self.represent, torch.as_tensor(x, device=source.device), self.estimator.batch_size)
        check_representation(z)
        with isolated_randomness(seed, source.device):
            head = _head(kind, z.shape[1], source.nb_classes)
        features = _Features(self.represent)
        model = nn.Sequential(OrderedDict(features=features, standardised=_Standardised(z), head=head))
        classifier = PyTorchClassifier(
            model,
            nn.CrossEntropyLoss(),
            source.input_shape,
            source.nb_classes,
            optimizer=torch.optim.Adam(model.parameters(), lr=1e-2 if kind == "linear" else 1e-3),
            clip_values=source.clip_values,
            device_type=source.device.type.replace("cuda", "gpu"),
        )
        made = trainer(classifier, self._pgd(classifier, 10), random_state=seed, verbose=False)
        made.fit(x, y, batch_size=self.estimator.batch_size, nb_epochs=self.nb_epochs)
        return classifier

    def probe(self, classifier: PyTorchClassifier, index: NDArray[np.int64]) -> Probe:
        """Accuracies on some of the samples; under attack a sample must be right without one, too.

        :param classifier: From :meth:`train`.
        :param index: Numbers of the samples.
        """
        x, y = self.samples.x[index], self.samples.y[index]
        inputs = torch.as_tensor(x, device=self.source.device)
        predicted = in_batches(partial(bridge.outputs, classifier), inputs, self.estimator.batch_size)
        clean = Accuracy.of(predicted.argmax(1).cpu().numpy() == y)
        attack = self._pgd(classifier, 20)
        attacked = attacked_accuracy(classifier, attack, x, y, random_state=self.estimator.random_state)
        return Probe(clean, Accuracy.of(clean.correct & attacked.correct))

    def _pgd(self, classifier: PyTorchClassifier, max_iter: int) -> EvasionAttack:
        estimator = self.estimator
        return pgd(classifier, float(estimator.norm), estimator.eps, max_iter=max_iter, batch_size=estimator.batch_size)


def _head(kind: str, width: int, nb_classes: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(width, nb_classes, dtype=torch.float32)
    first, last = nn.Linear(width, HIDDEN, dtype=torch.float32), nn.Linear(HIDDEN, nb_classes, dtype=torch.float32)
    return nn.Sequential(first, nn.LayerNorm(HIDDEN, dtype=torch.float32), nn.ReLU(), last)


def _classifier(encoder: Any, x: Any, y: Any, nb_classes: int | None, clip_values: Any) -> PyTorchClassifier:
    """The encoder as an ART classifier, which gives input shape, clip values, preprocessing and device."""
    if isinstance(encoder, PyTorchClassifier):
        bridge.check_classifier(encoder, "encoder")
        if nb_classes not in (None, encoder.nb_classes):
            raise ValueError(f"`nb_classes` must be the classifier's own {encoder.nb_classes}, got {nb_classes}.")
        return encoder
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"`encoder` must be a torch module or an ART PyTorchClassifier, got {type(encoder).__name__}.")
    if nb_classes is None:
        labels = bridge.numbers("y", y)
        if labels.size == 0:
            raise ValueError("`y` must hold labels, got none.")
        nb_classes = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else int(labels.max()) + 1
    first = next(encoder.parameters(), None)
    return PyTorchClassifier(
        encoder,
        nn.CrossEntropyLoss(),
        tuple(np.shape(x)[1:]),
        int(check("nb_classes", nb_classes, integer(2))),
        clip_values=clip_values,
        device_type="cpu" if first is None or first.device.type == "cpu" else "gpu",
    )


def _verdict(report: BackboneReport) -> str:
    """Yes where the floor's interval lies above what is wanted and the attack saw a gradient, else what is not known.

    There is no plain No: the ceiling holds behind noise, and heads without it may do better.
    """
    wanted, ceiling = report.settings["wanted"], report.ceiling
    low, high = report.floor.confidence_interval
    reached = (
        f"the {report.best} head keeps {report.floor.value:.2f} under PGD-20 (95 % interval {low:.2f} to {high:.2f})"
    )
    behind = f"behind noise of {report.settings['noise_std']:g} of the features' scale"
    if {Flag.ZERO_GRADIENT, Flag.MISLEADING_GRADIENT} & set(report.representation.flags):
        return (
            f"Undecided for {wanted:.2f}: {reached}, but the attack saw no gradient through this encoder or a "
            "misleading one."
        )
    if low >= wanted:
        return f"Yes, for an accuracy of {wanted:.2f} under attack, as far as PGD-20 shows: {reached}."
    if ceiling < wanted:
        return (
            f"Not shown for {wanted:.2f}: {reached}; {behind} no head exceeds {ceiling:.2f}, without that noise one "
            "might."
        )
    return (
        f"Undecided for {wanted:.2f}: {reached}, and {behind} up to {ceiling:.2f} is not excluded; the truth may lie "
        "anywhere between."
    )
