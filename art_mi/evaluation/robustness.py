"""Accuracy under a set of attacks, the worst case over them, and whether they can be believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from art.attacks import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.estimators.classification.classifier import ClassGradientsMixin
from art.estimators.estimator import LossGradientsMixin
from art.utils import is_probability_array
from tqdm.auto import tqdm

from art_mi import bridge
from art_mi.evaluation.accuracy import outputs, undisturbed
from art_mi.evaluation.attacks import BUILDERS, DEFAULT, Radii, attack_settings, named_attacks
from art_mi.evaluation.masking import Correct, planned_checks
from art_mi.evaluation.target import Target, own_ball
from art_mi.finished import Finished, claimed, fingerprint
from art_mi.loaders import loaded
from art_mi.results import Accuracy, AttackedAccuracy, Check, RobustnessResult
from art_mi.rules import BOOLEAN, POSITIVE, SEED, check, integer, one_of, or_none
from art_mi.threat import NormBall

RESERVED = ("clean", "worst in the ball")  # names of other rows


def evaluate_robustness(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any = None,
    *,
    eps: float,
    norm: float | str = math.inf,
    eps_l2: float | None = None,
    attacks: Iterable[str] | Mapping[str, EvasionAttack] = DEFAULT,
    batch_size: int = 256,
    checks: bool = True,
    out: str | Path | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> RobustnessResult:
    """Accuracy without attack, under each attack and under the worst of them, sample by sample.

    Every attack is run on all samples, each accuracy is over all samples, and each attack starts from the same seed, so
    that its result does not depend on which others ran. An attacked accuracy is an upper bound of the robust accuracy;
    the checks look for signs that it is a loose one.

    | Paper link: https://proceedings.mlr.press/v157/atsague21a.html (section 5.1)

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import evaluate_robustness
    >>> result = evaluate_robustness(classifier, x, y, eps=0.1, attacks=["FGSM", "PGD-20"], verbose=False)
    >>> result.clean.value > result.worst_case.value
    True
    >>> result.flags
    ()

    :param classifier: ART `PyTorchClassifier` whose outputs are logits. FGSM and PGD climb its own loss. Its modes,
        weights, gradients and the global random state are left as found.
    :param x: Raw inputs `(n, *input_shape)`, array, tensor or `DataLoader`.
    :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels; those of the loader where `x` is one.
    :param eps: Radius of the threat model in raw input units, above 0.
    :param norm: Its norm: inf (or `"inf"`), 2 or 1.
    :param eps_l2: Radius of PGD-l2; by default 0.3 eps sqrt(d) for d features, 0.5 for 0.031 in 3,072 as in the paper.
    :param attacks: Names, described in :func:`.named_attacks`: `"FGSM"`, `"PGD-20"`, `"PGD-50"`, `"PGD-l2"`,
        `"CW-inf"`, `"APGD-CE"`, `"APGD-DLR"`, `"Square"`, `"AutoAttack"`; those without meaning here, as APGD-DLR for
        two classes, are left out and listed in `settings`. Or untargeted ART attacks on this classifier by name; one
        without a `norm` and `eps` of its own is held to the threat model.
    :param batch_size: Samples attacked at once by attacks given by name.
    :param checks: Look for masked gradients; see :mod:`art_mi.evaluation.masking`.
    :param out: Folder in which each finished attack is kept. A second call on the same weights, data and settings goes
        on from there. Attacks of one's own are told apart by name, class and what is plain of their `attack_params`.
    :param random_state: Seed.
    :param verbose: Show a progress bar.
    :raises TypeError: If `classifier` is not an ART `PyTorchClassifier`, an attack no ART attack, or data not numeric.
    :raises ValueError: If an argument breaks its rule or the classifier gives probabilities; the message names it.
    """
    check("batch_size", batch_size, integer(1))
    check("checks", checks, BOOLEAN)
    check("verbose", verbose, BOOLEAN)
    check("eps_l2", eps_l2, or_none(POSITIVE))
    check("random_state", random_state, SEED)
    target = _target(classifier, x, y, _ball(classifier, norm, eps), batch_size, random_state)
    clean = _clean(target)
    in_l2 = 0.3 * eps * math.sqrt(math.prod(target.x.shape[1:])) if eps_l2 is None else float(eps_l2)
    radii = Radii(float(target.ball.norm), target.ball.eps, in_l2, batch_size, random_state)
    with undisturbed(classifier, random_state):
        chosen, left_out = _chosen(classifier, attacks, radii)
    finished = Finished(out, fingerprint(classifier, target.x, target.y, asdict(radii)))
    with claimed(out):
        found = {name: _attacked(name, chosen[name], target, finished) for name in _bar(chosen, "attack", verbose)}
        passed = {}
        if checks:
            plan, unmade = planned_checks(target, *_evidence(target, chosen, found))
            left_out |= {f"check {name}": why for name, why in unmade.items()}
            passed = {name: _checked(name, plan[name], chosen, finished) for name in _bar(plan, "check", verbose)}
    return RobustnessResult(
        clean,
        found,
        _worst_case(target, clean, chosen, found, passed),
        radii.norm,
        radii.eps,
        passed,
        tuple(outcome.flag for outcome in passed.values() if not outcome.passed),
        random_state,
        {
            "batch_size": batch_size,
            "clip_values": None if classifier.clip_values is None else np.asarray(classifier.clip_values).tolist(),
            "eps_l2": radii.eps_l2,
            "left out": left_out,
            "nb_classes": classifier.nb_classes,
        },
    )


def _ball(classifier: Any, norm: float | str, eps: float) -> NormBall:
    bridge.check_classifier(classifier)
    return bridge.norm_ball(classifier, norm, check("eps", eps, POSITIVE))


def _target(
    classifier: PyTorchClassifier, x: Any, y: Any, ball: NormBall, batch_size: int, random_state: int
) -> Target:
    x, y = loaded(x, y, random_state)
    if y is None:
        raise ValueError("`y` must hold labels: accuracy is measured against them, got None.")
    inputs = bridge.input_tensor(classifier, x)
    if len(inputs) == 0:
        raise ValueError("`x` must hold at least 1 sample, got none.")
    labels = bridge.label_tensor(classifier, y, len(inputs))
    return Target(classifier, inputs.cpu().numpy(), labels.cpu().numpy(), ball, batch_size, random_state)


def _clean(target: Target) -> Accuracy:
    """Clean accuracy of a classifier that attacks can make sense of."""
    logits = outputs(target.classifier, target.x, target.batch_size, target.random_state)
    nb_classes = target.classifier.nb_classes
    if logits.ndim != 2 or logits.shape[1] != nb_classes or nb_classes < 2:
        raise ValueError(
            f"`classifier` must give one logit for each of at least 2 classes, got outputs of shape {logits.shape} for "
            f"nb_classes {nb_classes}."
        )
    if is_probability_array(logits):
        raise ValueError(
            "`classifier` must give logits, got probabilities: their gradients vanish where the classifier is sure, "
            "and attacks would seem to fail. Take the softmax out of the model."
        )
    return Accuracy.of(logits.argmax(1) == target.y)


def _chosen(
    classifier: PyTorchClassifier, attacks: Iterable[str] | Mapping[str, EvasionAttack], radii: Radii
) -> tuple[dict[str, EvasionAttack], dict[str, str]]:
    """Attacks by name, and why some were left out."""
    if not isinstance(attacks, Iterable):
        raise TypeError(f"`attacks` must be names, or a mapping from names to attacks, got {type(attacks).__name__}.")
    if not isinstance(attacks, Mapping):
        names = [attacks] if isinstance(attacks, str) else list(attacks)
        for name in names:
            check("attacks", name, one_of(BUILDERS))
        return named_attacks(classifier, names, radii)
    for name, attack in attacks.items():
        if not isinstance(name, str) or name in RESERVED:
            raise ValueError(f"`attacks` must have names other than {', '.join(map(repr, RESERVED))}, got {name!r}.")
        if not isinstance(attack, EvasionAttack):
            raise TypeError(f"`attacks` must hold ART EvasionAttacks, got {type(attack).__name__} for {name!r}.")
        if getattr(attack, "targeted", False):
            raise ValueError(f"`attacks` must be untargeted, got a targeted {type(attack).__name__} for {name!r}.")
        if getattr(attack.estimator, "model", None) is not classifier.model:
            raise ValueError(f"`attacks` must be on `classifier`, got one on another estimator for {name!r}.")
    return dict(attacks), {}


def _attacked(name: str, attack: EvasionAttack, target: Target, finished: Finished) -> AttackedAccuracy:
    """What was finished, or the attack is run."""
    settings = attack_settings(attack)
    kept = finished.get(f"attack {name}")
    if kept is not None and kept["settings"] == settings:
        outcome = AttackedAccuracy.from_dict(kept["outcome"])
        return replace(outcome, accuracy=Accuracy.of(np.array([bit == "1" for bit in kept["correct"]])))
    outcome = target.under(attack)
    correct = "".join("01"[int(right)] for right in outcome.accuracy.correct)
    finished.put(f"attack {name}", {"settings": settings, "correct": correct, "outcome": outcome.to_dict()})
    return outcome


def _checked(name: str, make: Callable[[], Check], chosen: Mapping[str, EvasionAttack], finished: Finished) -> Check:
    """What was finished after the same attacks, or the check is made."""
    after = {attack: attack_settings(made) for attack, made in chosen.items()}
    kept = finished.get(f"check {name}")
    if kept is not None and kept["after"] == after:
        return Check.from_dict(kept["outcome"])
    outcome = make()
    finished.put(f"check {name}", {"after": after, "outcome": outcome.to_dict()})
    return outcome


def _in_ball(attack: EvasionAttack, ball: NormBall) -> bool:
    own = own_ball(attack, ball)
    return own.norm == ball.norm and own.eps <= ball.eps


def _worst_case(
    target: Target,
    clean: Accuracy,
    chosen: Mapping[str, EvasionAttack],
    found: Mapping[str, AttackedAccuracy],
    passed: Mapping[str, Check],
) -> Accuracy:
    held = [found[name].accuracy.correct for name, attack in chosen.items() if _in_ball(attack, target.ball)]
    correct = np.logical_and.reduce([clean.correct, *held])
    for outcome in passed.values():
        correct[list(outcome.broken)] = False
    return Accuracy.of(correct)


def _evidence(
    target: Target, chosen: Mapping[str, EvasionAttack], found: Mapping[str, AttackedAccuracy]
) -> tuple[dict[str, Correct], Correct | None]:
    """What stays correct under each attack, and under all of those in the ball that follow gradients."""
    correct = {name: outcome.accuracy.correct for name, outcome in found.items()}
    gradient = [
        correct[name]
        for name, attack in chosen.items()
        if _in_ball(attack, target.ball)
        and {LossGradientsMixin, ClassGradientsMixin} & set(attack.estimator_requirements)
    ]
    return correct, np.logical_and.reduce(gradient) if gradient else None


def _bar(names: Iterable[str], kind: str, verbose: bool) -> Iterator[str]:
    """The names, behind a progress bar that says which is running."""
    bar = tqdm(list(names), leave=False, disable=not verbose)
    for name in bar:
        bar.set_description(f"{kind} {name}")
        yield name
