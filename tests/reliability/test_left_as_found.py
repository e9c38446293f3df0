"""Every public call, whether it succeeds or not, leaves what it was given and the process as it found them."""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

import art_mi
from art_mi import attacks, evaluation, representations, trainers
from art_mi.critics import joint_critic
from art_mi.threat import NormBall
from tests.reliability import test_bad_calls as bad_calls

FEATURES, CLASSES, SAMPLES = 5, 3, 120
ABSTRACT = {"critics.Critic", "results.Flag", "trainers.StepTrainer"}
BY_TRAINING = {"weights", "gradients", "optimizer"}
AS_TORCH = {"randomness"}  # first weights are drawn from torch's generator, as torch's modules draw theirs
AS_THE_MODEL = {"randomness", "python's randomness"}  # of what a caller runs himself


class Network(nn.Module):
    """Modes, gradients and hooks that differ from module to module, and a forward pass that draws and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.neck = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
        self.head = nn.Linear(4, CLASSES)
        self.calls, self.fails_at = 0, 0
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.train()
        self.body[1].eval()
        self.neck.eval()
        self.neck[0].weight.requires_grad_(False)
        self.head.bias.grad = torch.full((CLASSES,), 0.25)
        self.neck[0].weight.grad = torch.ones(4, 8)
        self.body[0].register_forward_hook(lambda *call: None)
        self.head.register_forward_pre_hook(lambda *call: None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.body(x) + 1e-3 * (torch.randn(len(x), 8) + np.random.rand() + random.random())  # noqa: NPY002
        if self.calls == self.fails_at:
            raise RuntimeError("failed on purpose")
        out: Tensor = self.head(self.neck(hidden))
        return out


@dataclass
class Found:
    """What a call is given."""

    folder: Path
    model: Network = field(default_factory=Network)
    x: NDArray[np.float32] = field(
        default_factory=lambda: np.random.default_rng(1).random((SAMPLES, FEATURES), dtype=np.float32)
    )
    y: NDArray[np.int64] = field(default_factory=lambda: np.random.default_rng(2).integers(0, CLASSES, SAMPLES))

    def __post_init__(self) -> None:
        self.classifier = PyTorchClassifier(
            model=self.model,
            loss=nn.CrossEntropyLoss(),
            optimizer=torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9),
            input_shape=(FEATURES,),
            nb_classes=CLASSES,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        numbers = {"eps": 0.1, "eps_step": 0.04, "max_iter": 2, "num_random_init": 1}
        self.attack = ProjectedGradientDescent(self.classifier, **numbers, verbose=False)
        self.restless = ProjectedGradientDescent(self.classifier, random_eps=True, **numbers, verbose=False)
        own = {"eps": 0.1, "max_iter": 2, "num_random_init": 1, "random_state": 0, "verbose": False}
        self.margin = attacks.MarginAttack(self.classifier, **own)
        self.langevin = attacks.LangevinMonteCarlo(self.classifier, **own)
        self.tensor, self.ball = torch.from_numpy(self.x), NormBall(eps=0.1, clip_values=(0.0, 1.0))

    def objective(self, x_adv: Tensor) -> Tensor:
        out: Tensor = self.model.body[0](x_adv).square().sum(1)
        return out


def raw(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape), tensor.detach().numpy().tobytes())


def hooks(owner: Any) -> dict[str, list[Any]]:
    return {
        name: list(value.items()) for name, value in vars(owner).items() if "hooks" in name and hasattr(value, "items")
    }


def files(folder: Path) -> dict[str, Any]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def attributes(attack: EvasionAttack) -> dict[str, Any]:
    """All but the counters by which ART's `generate` finds its place; of an own generator its state."""
    return {
        name: raw(value.get_state()) if isinstance(value, torch.Generator) else value
        for name, value in vars(attack).items()
        if name not in ("_batch_id", "_i_max_iter")
    }


def snapshot(found: Found) -> dict[str, Any]:
    """All that must be as before, in comparable values."""
    model, numpy_state = found.model, np.random.get_state(legacy=False)  # noqa: NPY002
    frozen = {name: raw(p) for name, p in model.named_parameters() if not p.requires_grad}
    return {
        "weights": [(name, id(value), raw(value)) for name, value in model.state_dict(keep_vars=True).items()],
        "gradients": [(name, raw(p.grad)) for name, p in model.named_parameters()],
        "frozen": frozen,
        "requires_grad": [(name, p.requires_grad) for name, p in model.named_parameters()],
        "modes": [(name, module.training) for name, module in model.named_modules()],
        "modules": [(name, id(module), sorted(vars(module))) for name, module in model.named_modules()],
        "hooks": [hooks(module) for module in model.modules()] + [hooks(torch.nn.modules.module)],
        "optimizer": str(found.classifier.optimizer.state_dict()),
        "classifier": {name: id(value) for name, value in vars(found.classifier).items()},
        "attack": [attributes(part) for own in (found.attack, found.restless) for part in (own, own._attack)],
        "own attacks": [attributes(own) for own in (found.margin, found.langevin)],
        "inputs": [
            (array.dtype, array.shape, array.tobytes()) for array in (found.x, found.y, bad_calls.X, bad_calls.Y)
        ],
        "tensors": [raw(value) for value in bad_calls.GOOD.values() if isinstance(value, Tensor)],
        "randomness": (raw(torch.get_rng_state()), str(numpy_state), np.asarray(numpy_state["state"]["key"]).tobytes()),
        "python's randomness": random.getstate(),
        "folder": (os.getcwd(), files(Path.cwd())),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "torch": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_anomaly_enabled(),
        ),
        "numpy": np.geterr(),
    }


def measured(method: str) -> Callable[[Found], Any]:
    def call(found: Found) -> Any:
        copies = 4 if method == "critic" else 1
        options = {"eps": 0.1, "max_iter": 2, "method": method, "max_steps": 3, "attack_steps": 1, "verbose": False}
        x, y = (np.concatenate([part + 0] * copies) for part in (found.x, found.y))
        return art_mi.WorstCaseMIEstimator(**options, layer="neck").evaluate(found.classifier, x, y)

    return call


def perturbed(made: Any, **options: Any) -> Callable[[Found], Any]:
    options = {"eps": 0.1, "max_iter": 2, "num_random_init": 2, "random_state": 0, "verbose": False, **options}
    return lambda found: made(found.classifier, **options).generate(found.x, found.y)


def trained(name: str, attack: str = "attack", **options: Any) -> Callable[[Found], Any]:
    def call(found: Found) -> Any:
        trainer = getattr(trainers, name)(found.classifier, getattr(found, attack), verbose=False, **options)
        data, out = (found.x[:40], found.y[:40]), found.folder / name
        trainer.fit(found.x, found.y, validation_data=data, batch_size=60, nb_epochs=2, ema_decay=0.5, out=out)

    return call


def watched(made: Callable[[Found], Any]) -> Callable[[Found], Any]:
    """A callback, called as a trainer does."""

    def call(found: Found) -> Any:
        callback, trainer = made(found), trainers.StandardTrainer(found.classifier, verbose=False)
        callback(trainer, {"epoch": 1, "loss": 0.5})
        if hasattr(callback, "writer"):
            callback.writer.close()

    return call


def tried(dotted: str, **arguments: Any) -> Callable[[Found], Any]:
    """A call with good arguments, to its end."""

    def call(found: Found) -> Any:
        made = bad_calls.found(dotted)(**{**bad_calls.good(dotted, *arguments), **arguments})
        if isinstance(made, AbstractContextManager):
            with made:
                return None
        return list(made) if isinstance(made, Iterator) else made

    return call


def in_context(made: Callable[[Found], Any]) -> Callable[[Found], Any]:
    """What a context yields, called on samples."""

    def call(found: Found) -> Any:
        with made(found) as represent:
            return represent(found.tensor)

    return call


def within(found: Found) -> None:
    with evaluation.undisturbed(found.classifier, 0):
        found.attack.generate(found.x, found.y)


Call = tuple[Callable[[Found], Any], set[str]]
QUIET: dict[str, Any] = {"eps": 0.1, "verbose": False}
PLAIN: dict[str, dict[str, Any]] = {
    # what these need besides the good arguments of `test_bad_calls`
    "channels.gaussian_ratios": {"draws": [torch.ones(120, 2)]},
    "channels.uniform_ratios": {"draws": [torch.ones(120, 2)]},
    "channels.read_channel": {"y": None},
    "critics.SumCritic": {"terms": [joint_critic(4, 2)]},
    "critics.mean_critic": {"critics": [joint_critic(4, 2), joint_critic(4, 2)]},
    "datasets.load": {"name": "digits"},
    "distributions.additive_uniform_information": {"half_width": 0.5},
    "distributions.binary_entropy": {"p": 0.5},
    "distributions.table_information": {"table": np.eye(2) / 2},
    "distributions.theorem_3_2_bounds": {"adversarial_gap": 0.2},
    "distributions.two_point_gaussian_information": {"t": 1.0},
    "distributions.zero_inflated_poisson_information": {"p": 0.5},
    "estimation.fit_critic": {"max_steps": 2},
    "report.load_records": {"folders": []},
    "estimation.block_scores": {"x": torch.ones(6, 4), "z": torch.ones(6, 2)},
    "representations.in_batches": {"batch_size": 50},
}
CALLS: dict[str, Call] = {
    "DALETrainer": (trained("DALETrainer"), BY_TRAINING),
    "MARTTrainer": (trained("MARTTrainer"), BY_TRAINING),
    "MIMAETrainer": (trained("MIMAETrainer"), BY_TRAINING),
    "MadryPGDTrainer": (trained("MadryPGDTrainer"), BY_TRAINING),
    "MadryPGDTrainer, radius drawn": (trained("MadryPGDTrainer", "restless"), BY_TRAINING),
    "StandardTrainer": (trained("StandardTrainer"), BY_TRAINING),
    "TRADESTrainer": (trained("TRADESTrainer"), BY_TRAINING),
    "WorstCaseMITrainer": (trained("WorstCaseMITrainer", layer="neck"), BY_TRAINING),
    "RVMonitor": (watched(lambda f: trainers.RVMonitor(f.x, eps=0.1, max_iter=2)), set()),
    "TensorBoard": (watched(lambda f: trainers.TensorBoard(f.folder / "board")), set()),
    "LangevinMonteCarlo": (perturbed(attacks.LangevinMonteCarlo), set()),
    "LangevinMonteCarlo, kl": (perturbed(attacks.LangevinMonteCarlo, potential="kl"), set()),
    "MarginAttack": (perturbed(attacks.MarginAttack), set()),
    "WorstCaseMIAttack": (perturbed(attacks.WorstCaseMIAttack, layer="neck"), set()),
    "ascend": (lambda f: attacks.ascend(f.objective, f.tensor, f.ball, eps_step=0.05, max_iter=2), set()),
    "best_of": (lambda f: attacks.best_of(f.objective, [f.tensor, f.tensor / 2]), set()),
    "falling": (lambda f: attacks.falling(0.1, 4)(1), set()),
    "WorstCaseMIEstimator, noisy": (measured("noisy"), set()),
    "WorstCaseMIEstimator, quantised": (measured("quantised"), set()),
    "WorstCaseMIEstimator, critic": (measured("critic"), set()),
    "representation_vulnerability": (
        lambda f: art_mi.representation_vulnerability(f.classifier, f.x, attack=f.attack, verbose=False),
        set(),
    ),
    "layer_profile": (lambda f: art_mi.layer_profile(f.classifier, f.x, f.y, max_iter=2, **QUIET), set()),
    "feature_profile": (lambda f: art_mi.feature_profile(f.classifier, f.x, "neck", max_iter=2, **QUIET), set()),
    "vulnerability_curve": (
        lambda f: art_mi.vulnerability_curve(f.classifier, f.x, f.y, eps=[0.05, 0.1], max_iter=2, verbose=False),
        set(),
    ),
    "assess": (
        lambda f: art_mi.assess(f.classifier, f.x, f.y, attacks=["FGSM"], checks=False, out=f.folder / "card", **QUIET),
        set(),
    ),
    "backbone_report": (
        lambda f: art_mi.backbone_report(f.classifier, f.x, f.y, layer="neck", nb_epochs=1, max_iter=2, **QUIET),
        set(),
    ),
    "evaluate_robustness": (
        lambda f: art_mi.evaluate_robustness(f.classifier, f.x[:40], f.y[:40], attacks={"own": f.attack}, **QUIET),
        set(),
    ),
    "evaluate_robustness, by name": (
        lambda f: art_mi.evaluate_robustness(
            f.classifier, f.x[:20], f.y[:20], attacks=["FGSM", "PGD-20", "APGD-CE"], checks=False, **QUIET
        ),
        set(),
    ),
    "information_saliency": (lambda f: art_mi.information_saliency(f.classifier, f.x, layer="neck"), set()),
    "loss_saliency": (
        lambda f: [
            art_mi.loss_saliency(f.classifier, f.x[:8], f.y[:8], method=method, nb_points=4)
            for method in ("gradient", "integrated_gradients", "smoothgrad")
        ],
        set(),
    ),
    "estimate_mutual_information": (
        lambda f: art_mi.estimate_mutual_information(
            np.concatenate([f.x] * 4), np.concatenate([f.x] * 4)[:, :2], max_steps=3, nb_bootstrap=10
        ),
        set(),
    ),
    "adversarial_accuracy_upper_bound": (lambda f: art_mi.adversarial_accuracy_upper_bound(1.0, CLASSES), set()),
    "adversarial_risk_lower_bound": (lambda f: art_mi.adversarial_risk_lower_bound(1.0, CLASSES), set()),
    "accuracy": (lambda f: evaluation.accuracy(f.classifier, f.x, f.y), set()),
    "attacked_accuracy": (lambda f: evaluation.attacked_accuracy(f.classifier, f.attack, f.x, f.y), set()),
    "attacked_accuracy, of this package": (
        lambda f: [evaluation.attacked_accuracy(f.classifier, own, f.x, f.y) for own in (f.margin, f.langevin)],
        set(),
    ),
    "evaluate_robustness, of this package": (
        lambda f: art_mi.evaluate_robustness(
            f.classifier, f.x[:40], f.y[:40], attacks={"m": f.margin, "l": f.langevin}, checks=False, **QUIET
        ),
        set(),
    ),
    "attacked_accuracy, radius drawn": (
        lambda f: evaluation.attacked_accuracy(f.classifier, f.restless, f.x, f.y),
        set(),
    ),
    "standard_attacks": (lambda f: list(evaluation.standard_attacks(f.classifier, 0.1).values()), set()),
    "undisturbed": (within, set()),
    "representation": (in_context(lambda f: representations.representation(f.classifier, "neck")), AS_THE_MODEL),
    "layer_outputs": (in_context(lambda f: representations.layer_outputs(f.classifier, ["neck"])), AS_THE_MODEL),
    "noisy_outputs": (
        in_context(lambda f: representations.noisy_outputs(f.classifier, "neck", torch.ones_like)),
        AS_THE_MODEL,
    ),
    "running_order": (lambda f: representations.running_order(f.classifier, f.tensor), set()),
    "encoder": (lambda f: representations.encoder(f.classifier, "neck"), set()),
    "write_card": (lambda f: tried("report.write_card", path=f.folder / "page.html")(f), set()),
    "write_figures": (lambda f: tried("report.write_figures", folder=f.folder / "figures")(f), set()),
    "named_layer": (lambda f: representations.named_layer(f.model, "neck"), set()),
}
GIVEN = {name.partition(",")[0] for name in CALLS}
CALLS |= {
    dotted: (tried(dotted, **PLAIN.get(dotted, {})), AS_TORCH if dotted.startswith("critics.") else set())
    for dotted in bad_calls.public()
    if dotted not in ABSTRACT and dotted.split(".")[1] not in GIVEN
}


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """In a working directory of its own, beside the folder in which a call may write."""
    (tmp_path / "working").mkdir()
    (tmp_path / "working" / "notes.txt").write_text("kept", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "working")
    return Found(tmp_path)


def test_every_call_is_of_something_public_and_every_name_at_the_top_is_called() -> None:
    """What is public is found by :func:`.public`, and of what is not in the catalogue the good call is tried."""
    public = {dotted.split(".")[1] for dotted in bad_calls.public()}
    assert public >= GIVEN
    assert set(PLAIN) | ABSTRACT <= set(bad_calls.public())
    at_the_top = {name for name in art_mi.__all__ if not isinstance(getattr(art_mi, name), ModuleType)}
    assert at_the_top <= public | {"MIEstimate", "RepresentationVulnerability"}  # results


def assert_left(found: Found, before: dict[str, Any], may_change: set[str]) -> None:
    after = snapshot(found)
    assert [part for part in before if part not in may_change and after[part] != before[part]] == []


@pytest.mark.parametrize("nb_failures", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CALLS)
def test_everything_is_left_as_found(name: str, nb_failures: int, found: Found, tmp_path: Path, tally: Any) -> None:
    call, may_change = CALLS[name]
    before = snapshot(found)
    call(found)
    assert_left(found, before, may_change)
    passes = found.model.calls
    stops = range(passes, 0, -math.ceil(passes / nb_failures)) if passes else ()
    for fails_at in stops:
        again = Found(tmp_path / str(fails_at))
        again.model.fails_at = fails_at
        before = snapshot(again)
        with pytest.raises(RuntimeError, match="failed on purpose"):
            call(again)
        assert_left(again, before, may_change)
    tally("Left as found", "public calls, whole and failing on the way", 1 + len(stops), "all as before")
