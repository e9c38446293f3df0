"""Backbone reports on encoders whose worth is known, and encoders that leave as they came."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi import backbone, backbone_report
from art_mi.results import Accuracy, BackboneReport, Flag

PROBES = ("SLF", "ALF", "standard MLP", "robust MLP")


class Affine(nn.Module):
    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(np.atleast_2d(weight), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


class Restless(nn.Module):
    """Batch statistics that would move, dropout that would draw, modes and gradients of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Affine(np.eye(3)), nn.BatchNorm1d(3), nn.Dropout(0.3))
        self.frozen = nn.Linear(3, 2)
        self.frozen.weight.requires_grad_(False)
        self.body[1].running_mean.fill_(0.1)
        self.body[0].weight.grad = torch.ones(3, 3)
        self.body[2].eval()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.body(x)
        return z


def samples(n: int = 400, strong: float = 0.35, weak: float = 0.02) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two classes in [0, 1]^3: far apart along the first axis, close and sharp along the second, noise on the third."""
    generator = np.random.default_rng(0)
    y = np.arange(n) % 2
    sign = 2 * y - 1
    x = np.stack([0.5 + strong * sign, 0.5 + weak * sign, generator.random(n)], axis=1)
    x[:, 0] += 0.05 * generator.normal(size=n)
    x[:, 1] += 0.002 * generator.normal(size=n)
    return np.clip(x, 0, 1).astype(np.float32), y


def report(encoder: Any, x: Any = None, y: Any = None, **options: Any) -> BackboneReport:
    inputs, labels = samples()
    options = {"eps": 0.1, "nb_epochs": 3, "max_iter": 5, "verbose": False, **options}
    return backbone_report(encoder, inputs if x is None else x, labels if y is None else y, **options)


def state(model: nn.Module) -> tuple[Any, ...]:
    return (
        [module.training for module in model.modules()],
        [len(module._forward_hooks) for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [value.tolist() for value in model.state_dict().values()],
    )


def test_an_encoder_of_the_robust_feature_is_worth_its_while() -> None:
    found = report(Affine([1, 0, 0]), wanted=0.9, noise_std=0.2)
    assert tuple(found.probes) == PROBES
    assert found.floor == found.probes[found.best].robust
    assert found.floor.value > 0.97
    assert found.floor.value <= found.ceiling + 1e-9
    assert found.verdict.startswith(
        f"Yes, for an accuracy of 0.90 under attack, as far as PGD-20 shows: the {found.best} head keeps"
    )


def test_an_encoder_of_the_feeble_feature_is_not() -> None:
    """Within reach of the attack all inputs can be made alike: nothing is left, and the ceiling says so."""
    found = report(Affine([0, 50, 0]), wanted=0.9, max_iter=40)
    assert found.probes["SLF"].clean.value > 0.97
    assert found.floor.value < 0.6
    assert found.representation.worst_case.value < 0.02
    assert found.ceiling < 0.7
    assert found.verdict.startswith("Not shown for 0.90")
    assert "behind noise of 1 of the features' scale" in found.verdict
    assert f"no head exceeds {found.ceiling:.2f}" in found.verdict


def test_robust_heads_choose_the_robust_feature_of_both() -> None:
    found = report(Affine([[1, 0, 0], [0, 50, 0]]), nb_epochs=20, batch_size=32)
    assert found.probes["SLF"].clean.value > 0.97
    assert found.probes["SLF"].robust.value < 0.2, "which leans on the sharp feature"
    assert found.probes["ALF"].robust.value > 0.95
    assert found.best in ("ALF", "robust MLP")


def test_the_scale_of_the_features_does_not_matter() -> None:
    large, small = (report(Affine(scale * np.eye(3)), nb_epochs=2) for scale in (1.0, 2.0**-20))
    for name in PROBES:
        assert large.probes[name].clean.value == pytest.approx(small.probes[name].clean.value, abs=0.02)
        assert large.probes[name].robust.value == pytest.approx(small.probes[name].robust.value, abs=0.02)
    assert large.representation.worst_case.value == pytest.approx(small.representation.worst_case.value, abs=1e-3)


def test_an_attacked_sample_must_be_right_without_an_attack_too() -> None:
    for probe in report(Affine(np.eye(3)), nb_epochs=1).probes.values():
        assert not (probe.robust.correct & ~probe.clean.correct).any()
        assert probe.robust.nb_samples == 100


def test_samples_that_train_choose_and_report_are_disjoint() -> None:
    x, y = samples()
    art = PyTorchClassifier(Affine(np.eye(3)), nn.CrossEntropyLoss(), (3,), 2, device_type="cpu")
    parts = backbone._Samples.of(art, x, y, 0)
    together = np.concatenate([parts.fit, parts.select, parts.report])
    assert sorted(together.tolist()) == list(range(400))
    assert (len(parts.fit), len(parts.select), len(parts.report)) == (240, 60, 100)


def test_the_best_is_chosen_on_other_samples_than_it_is_reported_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def probe(bench: Any, classifier: Any, index: NDArray[np.int64]) -> backbone.Probe:
        asked.append(len(index))
        good = len(asked) % 4 == (2 if len(index) == 60 else 1)  # ALF when chosen, SLF when reported
        accuracy = Accuracy.of(np.full(len(index), good))
        return backbone.Probe(accuracy, accuracy)

    monkeypatch.setattr(backbone._Bench, "probe", probe)
    found = report(Affine(np.eye(3)), nb_epochs=1)
    assert asked == [60] * 4 + [100] * 4
    assert found.best == "ALF"
    assert found.floor.value == 0.0


def test_an_encoder_leaves_as_it_came_and_no_global_state_is_drawn() -> None:
    encoder = Restless()
    before, drawn = state(encoder), torch.get_rng_state()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002
    report(encoder, nb_epochs=1)
    assert state(encoder) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002


def test_an_encoder_leaves_as_it_came_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backbone, "attacked_accuracy", stop)
    encoder = Restless()
    before = state(encoder)
    with pytest.raises(KeyboardInterrupt):
        report(encoder, nb_epochs=1)
    assert state(encoder) == before


def test_a_seed_repeats_the_report() -> None:
    assert report(Affine(np.eye(3)), nb_epochs=1) == report(Affine(np.eye(3)), nb_epochs=1)


def test_a_layer_of_a_classifier_is_as_the_module_up_to_it() -> None:
    body = Affine([[1, 0, 0], [0, 5, 0]])
    art = PyTorchClassifier(
        nn.Sequential(body, nn.Linear(2, 2)), nn.CrossEntropyLoss(), (3,), 2, clip_values=(0.0, 1.0), device_type="cpu"
    )
    of_layer, of_module = report(art, layer="0", nb_epochs=1), report(body, nb_epochs=1)
    assert of_layer.probes == of_module.probes
    assert (of_layer.representation.layer, of_module.representation.layer) == ("0", None)
    assert of_layer.representation.worst_case == of_module.representation.worst_case
    assert of_layer.verdict == of_module.verdict


def test_preprocessing_of_a_classifier_is_part_of_the_encoder() -> None:
    shifted = PyTorchClassifier(
        Affine(np.eye(3)),
        nn.CrossEntropyLoss(),
        (3,),
        2,
        clip_values=(0.0, 1.0),
        preprocessing=(0.5, 0.25),
        device_type="cpu",
    )
    plain = report(Affine(4 * np.eye(3)), nb_epochs=1)
    assert report(shifted, nb_epochs=1).representation.normal.value == pytest.approx(
        plain.representation.normal.value, abs=1e-5
    )


def test_maps_are_flattened_and_soft_labels_read() -> None:
    x, y = samples(120)
    found = report(nn.Unflatten(1, (3, 1, 1)), x, np.eye(4)[y], nb_epochs=1)
    assert found.representation.settings["eps"] == 0.1
    assert found.probes["SLF"].clean.nb_samples == 30


def test_a_last_batch_of_one_sample_trains_like_any_other() -> None:
    x, y = samples(430)
    found = report(Affine(np.eye(3)), x[:215], y[:215], nb_epochs=1, max_iter=1)
    assert found.settings["training"]["nb_samples"] % 128 == 1


def test_a_result_survives_json() -> None:
    found = report(Affine(np.eye(3)), nb_epochs=1)
    assert BackboneReport.from_dict(found.to_dict()).to_json() == found.to_json()


@pytest.mark.parametrize(
    ("value", "ceilings", "start"),
    [
        (0.9, {"exact": 1.0}, "Yes, for an accuracy of 0.50 under attack, as far as PGD-20 shows"),
        (0.2, {"exact": 0.9, "label_aware": 0.4}, "Not shown for 0.50: the SLF head keeps 0.20"),
        (0.2, {"exact": 0.9, "label_aware": 0.8}, "Undecided for 0.50: the SLF head keeps 0.20"),
        (0.48, {"exact": 0.3}, "Not shown for 0.50: the SLF head keeps 0.48"),
        (0.53, {"exact": 0.9}, "Undecided for 0.50: the SLF head keeps 0.53"),
    ],
)
def test_a_verdict_is_decided_only_where_floor_or_ceiling_decides(
    value: float, ceilings: dict[str, float], start: str
) -> None:
    found = report(Affine([0, 50, 0]), nb_epochs=1, max_iter=1)
    accuracy = Accuracy.of(np.arange(200) < round(200 * value))
    made = replace(
        found,
        best="SLF",
        probes={"SLF": backbone.Probe(accuracy, accuracy)},
        representation=replace(found.representation, ceilings=ceilings),
    )
    verdict = backbone._verdict(made)
    assert verdict.startswith(start)
    if ceilings.get("label_aware", 0) == 0.8:
        assert "anywhere between" in verdict
    blind = replace(made, representation=replace(made.representation, flags=(Flag.ZERO_GRADIENT,)))
    assert "the attack saw no gradient" in backbone._verdict(blind)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"encoder": "resnet"}, TypeError, "`encoder` must be a torch module or an ART PyTorchClassifier, got str"),
        ({"y": ["a", "b"]}, TypeError, "`y` must be numeric, got an array of <U1"),
        ({"y": []}, ValueError, "`y` must hold labels, got none"),
        ({"eps": 0}, ValueError, "`eps` must be a positive number, got 0"),
        ({"wanted": 1.5}, ValueError, "`wanted` must be a number between 0 and 1, got 1.5"),
        ({"nb_epochs": 0}, ValueError, "`nb_epochs` must be an integer of at least 1, got 0"),
        ({"noise_std": 0}, ValueError, "`noise_std` must be a positive number, got 0"),
        ({"norm": 3}, ValueError, "`norm` must be inf, 2 or 1, got 3"),
        ({"nb_classes": 1}, ValueError, "`nb_classes` must be an integer of at least 2, got 1"),
        ({"layer": "nowhere"}, ValueError, "`layer` must name a module of the model, got 'nowhere'"),
        ({"x": np.zeros((50, 3), np.float32), "y": np.zeros(50, int)}, ValueError, "`nb_classes` must be an integer"),
        (
            {"x": np.zeros((50, 3), np.float32), "y": np.arange(50) % 2},
            ValueError,
            "`x` must hold at least 100 samples",
        ),
        ({"encoder": Affine(np.zeros((1, 3)))}, ValueError, "`layer` must give a representation that varies"),
        ({"random_state": -1}, ValueError, "`random_state` must be an integer from 0 to 4294967295, got -1"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], error: type[Exception], match: str) -> None:
    encoder = options.pop("encoder", Affine(np.eye(3)))
    with pytest.raises(error, match=match):
        report(encoder, **options)


def test_labels_are_needed() -> None:
    with pytest.raises(ValueError, match="`y` must hold labels, got None"):
        backbone_report(Affine(np.eye(3)), samples()[0], eps=0.1)


def test_the_number_of_classes_of_a_classifier_is_its_own() -> None:
    art = PyTorchClassifier(Affine(np.eye(3)), nn.CrossEntropyLoss(), (3,), 2, device_type="cpu")
    with pytest.raises(ValueError, match="`nb_classes` must be the classifier's own 2, got 3"):
        report(art, nb_classes=3)


def test_norms_other_than_infinity_are_honoured() -> None:
    found = report(Affine([1, 0, 0]), nb_epochs=1, norm=2)
    assert found.representation.settings["norm"] == 2.0
    assert found.representation.settings["norm"] != math.inf
