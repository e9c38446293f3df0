"""Representation vulnerability of an ART classifier."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from art.attacks.evasion import ProjectedGradientDescent
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
    ProjectedGradientDescentPyTorch,
)
from art.estimators.classification import PyTorchClassifier
from art.evaluations.evaluation import Evaluation
from torch import Tensor

from art_mi import bridge
from art_mi.channels import RATIOS
from art_mi.metrics import chunks, critic, noisy, quantised
from art_mi.metrics.conclusion import conclude
from art_mi.metrics.measurement import Measurement, Problem, constant
from art_mi.metrics.survey import Survey, survey
from art_mi.randomness import PREDICTION, isolated_randomness, shifted
from art_mi.representations import check_representation, in_batches, named_layer, representation
from art_mi.results import UNITS, RepresentationVulnerability
from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, PROPORTION, SEED, check, integer, one_of, or_none
from art_mi.threat import NormBall

CEILING = "a constant representation tells nothing of the label, on no inputs of these"
METHODS = ("noisy", "critic", "quantised")
ATTACKS = (ProjectedGradientDescent, ProjectedGradientDescentPyTorch)


class WorstCaseMIEstimator(Evaluation):  # type: ignore[misc]
    """Normal and worst-case mutual information between inputs and a representation, their drop, and what it allows.

    | Paper link: https://arxiv.org/abs/2002.11798

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import WorstCaseMIEstimator
    >>> result = WorstCaseMIEstimator(eps=0.1, verbose=False).evaluate(classifier, x, y)
    >>> round(result.normal.value, 1), round(result.worst_case.value, 1)
    (0.5, 0.3)
    >>> quantised = WorstCaseMIEstimator(eps=0.1, method="quantised", verbose=False).evaluate(classifier, x)
    >>> round(quantised.normal.value, 2)  # two equally likely decisions: log 2
    0.69
    """

    def __init__(
        self,
        eps: float | None = None,
        *,
        attack: ProjectedGradientDescent | ProjectedGradientDescentPyTorch | None = None,
        norm: float | str = math.inf,
        eps_step: float | None = None,
        max_iter: int = 40,
        num_random_init: int = 0,
        batch_size: int = 256,
        layer: str | None = None,
        method: str = "noisy",
        noise_std: float | Sequence[float] = 1.0,
        noise_nats: float | None = None,
        noise: str = "gaussian",
        codes: str | Callable[[Tensor], Any] = "argmax",
        max_codes: int = 128,
        attack_steps: int = 3,
        detach_input: bool = False,
        warm_start: bool = False,
        max_steps: int = 200,
        robust_accuracy: float | None = None,
        unit: str = "nats",
        random_state: int = 0,
        verbose: bool = True,
    ) -> None:
        """Create a :class:`.WorstCaseMIEstimator` instance.

        :param eps: Radius of the threat model in raw input units; or give `attack`.
        :param attack: An ART projected-gradient attack, from which `norm`, `eps`, `eps_step`, `max_iter`,
            `num_random_init` are read; it is not changed.
        :param norm: inf (or `"inf"`), 2 or 1.
        :param eps_step: Step size in raw input units; by default it falls linearly from 5 eps / max_iter to zero.
        :param max_iter: Steps of an attack.
        :param num_random_init: Random starts beside the one at the clean input.
        :param batch_size: Most samples through the network at once.
        :param layer: Dotted name of the submodule whose output is the representation; the model's output by default.
        :param method: `"noisy"` (two-sided and critic-free, Z = g(X) + sigma N), `"critic"` (the paper's) or
            `"quantised"` (exact entropy of codes).
        :param noise_std: Noise level of `"noisy"` relative to the clean representation's overall standard deviation; a
            sequence gives a sweep, its first level being the headline.
        :param noise_nats: Choose the noise level, in place of `noise_std`, so that the clean representation says that
            many nats, and networks start alike. Half the log of the number of classes hides much of what is known
            beyond the class. Over networks of digits that ordered robustness no better than the default did.
        :param noise: `"gaussian"` or `"uniform"`, the noise of `"noisy"`.
        :param codes: Codes of `"quantised"`: `"argmax"`, `"sign"` or a callable from `(n, d)` to integers `(n,)` or
            `(n, k)`. Those of a callable should be convex regions: they are aimed at by their clean samples' centre.
        :param max_codes: Most codes of `"quantised"` that samples are driven to, the most frequent ones and, of
            `"argmax"`, then outputs that no clean input has as its largest. All that are met on the way count.
        :param attack_steps: Attack steps a training batch of `"critic"`.
        :param detach_input: Attack through the representation only, as the paper's published code does (`"critic"`).
        :param warm_start: Keep perturbations from batch to batch (`"critic"`).
        :param max_steps: Training steps of each critic.
        :param robust_accuracy: Accuracy in [0, 1] measured under an attack of the same strength, to hold against the
            ceiling; for `"noisy"` that of a classifier behind the same noise, since the ceiling speaks of no other.
        :param unit: `"nats"` or `"bits"`.
        :param random_state: Seed, also of what a model draws when it predicts and a loader when it is read. Global
            random state is neither used nor changed.
        :param verbose: Show progress bars.
        :raises TypeError: If `attack` is not a projected-gradient attack, or `layer` or `codes` of another type.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        if attack is not None:
            if not isinstance(attack, ATTACKS):
                raise TypeError(f"`attack` must be an ART ProjectedGradientDescent, got {type(attack).__name__}.")
            if eps is not None:
                raise ValueError(f"`eps` must be left out where `attack` is given, got {eps}.")
            for name, plain in (("targeted", False), ("random_eps", False), ("decay", None)):
                # ART's wrapper does not show its momentum
                if (given := getattr(attack, name, getattr(getattr(attack, "_attack", None), name, plain))) != plain:
                    raise ValueError(f"`attack` must have {name}={plain}, got {given}.")
            norm, eps, eps_step = attack.norm, attack.eps, attack.eps_step
            max_iter, num_random_init = attack.max_iter, attack.num_random_init
        if eps is None:
            raise ValueError("`eps` must be a number, or `attack` be given, got None.")
        levels: Any = noise_std
        levels = levels.tolist() if isinstance(levels, np.ndarray) else levels
        levels = levels if isinstance(levels, Sequence) and len(levels) else (levels,)
        if not isinstance(layer, str | None):
            raise TypeError(f"`layer` must be a name, got {type(layer).__name__}.")
        if isinstance(codes, str):
            check("codes", codes, one_of(quantised.CODES))
        elif not callable(codes):
            raise TypeError(f"`codes` must be a name or a callable, got {type(codes).__name__}.")
        self.eps = float(check("eps", eps, NON_NEGATIVE))
        self.norm = NormBall(norm, self.eps).norm
        self.eps_step = None if eps_step is None else float(check("eps_step", eps_step, POSITIVE))
        self.max_iter = int(check("max_iter", max_iter, integer(1)))
        self.num_random_init = int(check("num_random_init", num_random_init, integer(0)))
        self.batch_size = int(check("batch_size", batch_size, integer(1)))
        self.layer = layer
        self.method = check("method", method, one_of(METHODS))
        self.noise_std = tuple(float(check("noise_std", level, POSITIVE)) for level in levels)
        self.noise_nats = check("noise_nats", noise_nats, or_none(POSITIVE))
        if noise_nats is not None and (method != "noisy" or noise != "gaussian"):
            raise ValueError(
                f"`noise_nats` must be left out but for Gaussian noise of method 'noisy', got {noise_nats}."
            )
        self.noise = check("noise", noise, one_of(RATIOS))
        self.codes, self.max_codes = codes, int(check("max_codes", max_codes, integer(1)))
        for name, switch in (("detach_input", detach_input), ("warm_start", warm_start), ("verbose", verbose)):
            check(name, switch, BOOLEAN)
        self.critic_options = critic.CriticOptions(
            attack_steps=int(check("attack_steps", attack_steps, integer(1))),
            detach_input=detach_input,
            warm_start=warm_start,
            max_steps=int(check("max_steps", max_steps, integer(1))),
        )
        self.robust_accuracy = (
            None if robust_accuracy is None else float(check("robust_accuracy", robust_accuracy, PROPORTION))
        )
        self.unit = check("unit", unit, one_of(UNITS))
        self.random_state = int(check("random_state", random_state, SEED))
        self.verbose = verbose

    def evaluate(self, classifier: PyTorchClassifier, x: Any, y: Any = None) -> RepresentationVulnerability:
        """Measure a classifier's representation on samples.

        The classifier's modes, weights, gradients and hooks and the inputs are as before afterwards, also after an
        error or an interrupt.

        The methods `"critic"` and `"quantised"` need all samples at once. `"noisy"` takes more than 5,120 of a
        `DataLoader` in chunks of 4,096, in time linear in their number and, but for a few dozen bytes a sample, flat
        memory. The loader is read twice, for the scale of the representation and to measure it, and must give its
        samples in random order, as `shuffle=True` does, since those of a chunk stand for all. Each chunk is attacked
        and read by itself: what the worst inputs tell of their chunk is not counted, which reads the worst case low.

        :param classifier: ART `PyTorchClassifier`, whose `clip_values` and PyTorch preprocessing are honoured.
        :param x: Raw inputs `(n, *input_shape)`: array, tensor, or `DataLoader` of inputs or (input, label) pairs.
        :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels, for the label-aware ceiling and the accuracy.
        :return: The result; with several noise levels that of the first, all of them in its `sweep`. A representation
            that is the same for all samples has 0 nats to lose.
        :raises TypeError: If `classifier` is not an ART `PyTorchClassifier` or `x` not numeric.
        :raises ValueError: If an argument breaks its rule; the message names it.
        """
        size = chunks.CHUNK if self.method == "noisy" else sys.maxsize
        with self._chunks(classifier, x, y, size) as problems:
            found = survey(problems())
            measured = self._measure(problems, found) if found.varies else self._constant(found)
        results = [conclude(found.problem, each, self.method, found.census, self.robust_accuracy) for each in measured]
        first = results[0]
        if len(results) > 1:
            first = RepresentationVulnerability(**{**vars(first), "sweep": tuple(results)})
        return first.in_unit(self.unit)

    __call__ = evaluate

    @contextmanager
    def problem(self, classifier: PyTorchClassifier, x: Any, y: Any = None) -> Iterator[Problem]:
        """What is to be measured, checked; the classifier is in evaluation mode while the context lasts.

        :param classifier: As for :meth:`evaluate`.
        :param x: As for :meth:`evaluate`.
        :param y: As for :meth:`evaluate`.
        :raises TypeError: As for :meth:`evaluate`.
        :raises ValueError: As for :meth:`evaluate`.
        """
        with self._chunks(classifier, x, y, sys.maxsize) as problems:
            (problem,) = problems()
            check_representation(in_batches(problem.represent, problem.x, self.batch_size))
            yield problem

    @contextmanager
    def _chunks(
        self, classifier: PyTorchClassifier, x: Any, y: Any, size: int
    ) -> Iterator[Callable[[], Iterator[Problem]]]:
        """What gives the samples a chunk at a time, each with a seed of its own; see :class:`.Chunks`."""
        bridge.check_classifier(classifier)
        if self.layer is not None:
            named_layer(classifier.model, self.layer)
        samples = chunks.Chunks(classifier, x, y, size, self.random_state)
        randomness = isolated_randomness(self.random_state ^ PREDICTION, classifier.device)
        with randomness, representation(classifier, self.layer) as represent:

            def problems() -> Iterator[Problem]:
                for number, (inputs, labels) in enumerate(samples):
                    if self.method == "critic":
                        critic.split_for(inputs, self.random_state)
                    yield Problem(
                        classifier=classifier,
                        layer=self.layer,
                        represent=represent,
                        x=inputs,
                        y=labels,
                        ball=bridge.norm_ball(classifier, self.norm, self.eps),
                        eps_step=self.eps_step,
                        max_iter=self.max_iter,
                        num_random_init=self.num_random_init,
                        batch_size=self.batch_size,
                        random_state=shifted(self.random_state, 2 * number),  # readings use the next one
                        verbose=self.verbose,
                    )

            yield problems

    def _levels(self, found: Survey) -> tuple[float, ...]:
        """Noise levels relative to the representation's scale, chosen on the first chunk where nats are given."""
        if self.noise_nats is None:
            return self.noise_std
        z = in_batches(found.problem.represent, found.problem.x, self.batch_size)
        return (noisy.noise_for(found.problem, z, self.noise_nats) / found.moments.overall_std,)

    def _measure(self, problems: Callable[[], Iterator[Problem]], found: Survey) -> list[Measurement]:
        if self.method == "noisy":
            return noisy.measure(problems(), found, self._levels(found), self.noise)
        if self.method == "critic":
            return [critic.measure(found.problem, self.critic_options)]
        return [quantised.measure(found.problem, self.codes, self.max_codes)]

    def _constant(self, found: Survey) -> list[Measurement]:
        """A representation that is the same for all samples carries 0 nats at any noise level."""
        none = constant("constant representation", found.census.gradients.nb_samples, self.random_state)
        label = None if found.problem.y is None else 0.0
        noises = [{"noise": self.noise, "noise_std": level, "noise_std_absolute": 0.0} for level in self.noise_std]
        return [
            Measurement(none, none, none, 0.0, CEILING, label_information=label, settings=settings)
            for settings in (noises if self.method == "noisy" else [{}])
        ]


def representation_vulnerability(classifier: PyTorchClassifier, x: Any, y: Any = None, **kwargs: Any) -> float:
    """RV of a classifier's representation as a number, in the style of `art.metrics`.

    | Paper link: https://arxiv.org/abs/2002.11798 (definition 3.1)

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import representation_vulnerability
    >>> round(representation_vulnerability(classifier, x, eps=0.1, verbose=False), 1)
    0.3
    >>> representation_vulnerability(classifier, x, eps=0.0, verbose=False)
    0.0

    :param classifier: ART `PyTorchClassifier`.
    :param x: Raw inputs `(n, *input_shape)`.
    :param y: Labels, which the number itself does not need.
    :param kwargs: Arguments of :class:`.WorstCaseMIEstimator`; `eps` or `attack` must be among them.
    :return: Representation vulnerability in nats, or in bits with `unit="bits"`.
    :raises TypeError: If a keyword is unknown.
    """
    known = inspect.signature(WorstCaseMIEstimator).parameters
    for name in kwargs:
        if name not in known:
            raise TypeError(
                f"`{name}` must be an argument of WorstCaseMIEstimator: {', '.join(known)}, got {kwargs[name]!r}."
            )
    return WorstCaseMIEstimator(**kwargs).evaluate(classifier, x, y).vulnerability.value
