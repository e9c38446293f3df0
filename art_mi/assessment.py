"""Everything about one classifier in one call: accuracy under attack, vulnerability, profiles, images."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier

from art_mi import bridge, metrics
from art_mi.evaluation import DEFAULT, evaluate_robustness, undisturbed
from art_mi.evaluation.attacks import pgd
from art_mi.finished import Finished, claimed, fingerprint
from art_mi.loaders import loaded
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.representations import named_layer
from art_mi.results import ModelRecord, RepresentationVulnerability
from art_mi.rules import BOOLEAN, NON_NEGATIVE, TEXT, Rule, check, integer, or_none
from art_mi.saliency import information_saliency, loss_saliency

__all__ = ["assess"]


def _all(kind: type, values: Any) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(v, kind) for v in values)


RULES: dict[str, Rule] = {
    "layer_profile": ("True, False or a sequence of names", lambda v: isinstance(v, bool) or _all(str, v)),
    "feature_profile": BOOLEAN,
    "curve": ("a sequence of radii", lambda v: _all(object, v)),
    "history": ("a sequence of records", lambda v: _all(Mapping, v)),
    "representation": or_none(("a RepresentationVulnerability", lambda v: isinstance(v, RepresentationVulnerability))),
    "settings": or_none(("a mapping", lambda v: isinstance(v, Mapping))),
    "command": or_none(TEXT),
}
PACKAGES = ("art-mi", "adversarial-robustness-toolbox", "torch", "numpy")


def assess(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any = None,
    *,
    eps: float,
    norm: float | str = math.inf,
    name: str = "model",
    layer: str | None = None,
    attacks: Iterable[str] | Mapping[str, EvasionAttack] = DEFAULT,
    checks: bool = True,
    layer_profile: bool | Sequence[str] = True,
    feature_profile: bool = True,
    curve: Sequence[float] = (),
    representation: RepresentationVulnerability | None = None,
    nb_profiled: int = 200,
    nb_images: int = 12,
    history: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    command: str | None = None,
    out: str | Path | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> ModelRecord:
    """What a robustness card shows about a classifier.

    An assessment that was interrupted goes on from the parts it finished when it is called again with the same `out`.

    Given an ART `classifier`, inputs `x` and labels `y`:

    >>> from art_mi import assess
    >>> record = assess(
    ...     classifier, x, y, eps=0.1, attacks=["FGSM"], checks=False,
    ...     layer_profile=False, feature_profile=False, verbose=False,
    ... )
    >>> record.robustness.clean.value, record.representation.method
    (0.995, 'noisy')

    :param classifier: ART `PyTorchClassifier`; left as it was.
    :param x: Raw inputs `(n, *input_shape)` that it was not trained on, or a `DataLoader` of inputs and labels.
    :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels.
    :param eps: Radius of the threat model in raw input units.
    :param norm: inf (or `"inf"`), 2 or 1.
    :param name: What reports call the model.
    :param layer: Dotted name of the layer whose vulnerability is measured; the output by default.
    :param attacks: As in :func:`.evaluate_robustness`.
    :param checks: Look for masked gradients.
    :param layer_profile: Measure every layer, or those named: of a large network a few.
    :param feature_profile: Measure every unit of `layer`.
    :param curve: Radii at which vulnerability and accuracy are measured.
    :param representation: Its vulnerability where it has been measured before, such as on more samples.
    :param nb_profiled: Most samples of the profiles and the curve, evenly spaced; their cost grows with the square.
    :param nb_images: Samples, evenly spaced, that are kept with their perturbations and saliency maps.
    :param history: Records of the epochs of its training.
    :param settings: What else reports should list, such as the data.
    :param command: Shell command that repeats it.
    :param out: Folder in which finished parts are kept, and at the end the record.
    :param random_state: Seed. Global random state is neither used nor changed.
    :param verbose: Show progress bars.
    :return: The record, saved in `out` where that is given.
    :raises TypeError: If an argument is of another type.
    :raises ValueError: If an argument breaks its rule; the message names it.
    """
    x, y = loaded(x, y, random_state)
    if y is None:
        raise ValueError("`y` must hold labels, or come with the loader, got None.")
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a text, got {type(name).__name__}.")
    check("nb_profiled", nb_profiled, integer(FEWEST_PAIRS))
    check("nb_images", nb_images, integer(1))
    parts = {"layer_profile": layer_profile, "feature_profile": feature_profile, "curve": curve, "history": history}
    texts = {"representation": representation, "settings": settings, "command": command}
    for argument, value in (parts | texts).items():
        check(argument, value, RULES[argument])
    for radius in curve:
        check("curve", radius, NON_NEGATIVE)
    if list(curve) != sorted(set(curve)):
        raise ValueError(f"`curve` must hold ascending radii, got {list(curve)}.")
    bridge.check_classifier(classifier)
    x = bridge.input_tensor(classifier, x).cpu().numpy()
    y = bridge.label_tensor(classifier, y, len(x)).cpu().numpy()
    if len(x) < FEWEST_PAIRS:
        raise ValueError(f"`x` must hold at least {FEWEST_PAIRS} samples, got {len(x)}.")
    measured = _layers(classifier, layer_profile)
    without = {"layers": "left out: no hook can read any"} if layer_profile is True and not measured else {}
    if layer is not None:
        named_layer(classifier.model, layer)
    for wanted in [] if measured == "all" else measured:
        named_layer(classifier.model, wanted, "layer_profile")
    threat: dict[str, Any] = {"eps": eps, "norm": norm}
    shared: dict[str, Any] = {**threat, "random_state": random_state, "verbose": verbose}
    with claimed(out):
        robustness = evaluate_robustness(classifier, x, y, attacks=attacks, checks=checks, out=out, **shared)
        if representation is None:
            representation = _representation(classifier, x, y, out, layer=layer, **shared)
        few_x, few_y = _spread(x, nb_profiled), _spread(y, nb_profiled)
        layers = (
            metrics.layer_profile(classifier, few_x, few_y, layers=measured, out=out, **shared) if measured else None
        )
        features = metrics.feature_profile(classifier, few_x, layer, out=out, **shared) if feature_profile else None
        along = {**shared, "eps": curve, "layer": layer, "out": out}
        radii = metrics.vulnerability_curve(classifier, few_x, few_y, **along) if curve else None
        record = ModelRecord(
            name,
            representation,
            robustness,
            layers,
            features,
            radii,
            history=tuple(history),
            settings={**(settings or {}), **without, "samples": len(x), "random_state": random_state, **versions()},
            command=command,
            images=_images(classifier, x, y, threat, layer, nb_images, random_state),
        )
        if out is not None:
            record.save(out)
    return record


def _layers(classifier: PyTorchClassifier, wanted: bool | Sequence[str]) -> str | Sequence[str]:
    """Layers to measure: none of a model that has none, or lets no hook read them."""
    single = len(list(classifier.model.modules())) == 1 or isinstance(classifier.model, torch.jit.ScriptModule)
    if isinstance(wanted, bool):
        return "all" if wanted and not single else []
    return wanted


def _spread(samples: Any, most: int) -> Any:
    """At most so many samples, evenly spaced, as data may lie sorted by class."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, by name."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def _representation(
    classifier: PyTorchClassifier, x: Any, y: Any, out: str | Path | None, **settings: Any
) -> RepresentationVulnerability:
    """Representation vulnerability by the noisy method, kept once it is known."""
    kept_for = {name: value for name, value in settings.items() if name != "verbose"}
    finished = Finished(out, fingerprint(classifier, x, y, kept_for))
    if (kept := finished.get("representation")) is not None:
        return RepresentationVulnerability.from_dict(kept)
    found = WorstCaseMIEstimator(**settings).evaluate(classifier, x, y)
    finished.put("representation", found.to_dict())
    return found


def _images(
    classifier: PyTorchClassifier,
    x: Any,
    y: Any,
    threat: Mapping[str, Any],
    layer: str | None,
    nb_images: int,
    random_state: int,
) -> dict[str, Any]:
    """A few samples before and after PGD-20, and where the information and the loss lie in them."""
    batch, labels = _spread(x, 256), _spread(y, 256)  # the samples of an estimate
    few_x, few_y, shown = (
        _spread(batch, nb_images),
        _spread(labels, nb_images),
        _spread(np.arange(len(batch)), nb_images),
    )
    with undisturbed(classifier, random_state):
        x_adv = pgd(classifier, **threat, max_iter=20, batch_size=nb_images).generate(few_x, few_y)
        predicted, predicted_adv = (classifier.predict(inputs).argmax(1) for inputs in (few_x, x_adv))
    information = information_saliency(classifier, batch, layer=layer, random_state=random_state)
    return {
        "x": few_x,
        "x_adv": np.asarray(x_adv),
        "y": few_y,
        "predicted": predicted,
        "predicted_adv": predicted_adv,
        "saliency_information": information[shown],
        "saliency_loss": loss_saliency(classifier, few_x, few_y, method="gradient"),
    }
