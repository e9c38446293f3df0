"""Records of two models, made from the dataclasses: nothing is trained or measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from art_mi.results import (
    Accuracy,
    AttackedAccuracy,
    BackboneReport,
    Check,
    FeatureProfile,
    Flag,
    LayerProfile,
    MIEstimate,
    ModelRecord,
    Probe,
    RepresentationVulnerability,
    RobustnessResult,
    UnitVulnerability,
    VulnerabilityCurve,
)

EPS = 0.12
BALL = {"norm": math.inf, "eps": EPS, "max_iter": 40, "clip_values": [0.0, 1.0]}
FINDINGS = {
    "accuracy falls with eps": Flag.ABOVE_CHANCE,
    "more steps never help the model": Flag.STEPS_HELP_THE_MODEL,
    "no black-box attack is stronger": Flag.BLACK_BOX_STRONGER,
    "random noise is not worse": Flag.NOISE_STRONGER,
}


def make_estimate(value, width=0.03, **changes):
    options = {
        "estimator": "noisy channel",
        "bias": "between its lower and its upper bound for these inputs, in expectation over the noise",
        "nb_samples": 1797,
        "random_state": 3,
        "lower": value,
        "upper": value + width / 2,
        **changes,
    }
    return MIEstimate(value, (value - width, value + width), **options)


def make_vulnerability(normal, worst, level=1.0, ceiling=None, **changes):
    ceiling = min(1.0, 0.42 + 0.27 * worst) if ceiling is None else ceiling
    options = {
        "accuracy_ceiling": ceiling,
        "ceilings": {"exact": ceiling, "published": min(1.0, ceiling + 0.08), "label_aware": ceiling - 0.12},
        "ceiling_direction": "in expectation over the noise, no classifier on the noisy representation is more "
        "accurate on these perturbed inputs: it comes from the upper bound of their information",
        "method": "noisy",
        "layer": None,
        "flags": (),
        "settings": {**BALL, "noise": "gaussian", "noise_std": level},
        "measured_accuracy": 0.2 + 0.2 * worst,
        **changes,
    }
    drop = make_estimate(
        normal - worst,
        estimator="difference of noisy channel estimates",
        bias="low where the attack is weak; two-sided otherwise",
    )
    return RepresentationVulnerability(make_estimate(normal), make_estimate(worst), drop, **options)


def make_accuracy(hits, n=500):
    return Accuracy.of(np.arange(n) < hits)


def make_robustness(clean, attacks, failing=()):
    found = {
        name: AttackedAccuracy(make_accuracy(hits), 2.0 if name == "PGD-l2" else math.inf, EPS, 1.25, {"max_iter": 20})
        for name, hits in attacks.items()
    }
    checks = {
        name: Check(flag not in failing, f"accuracy {0.1 * (index + 1):.1%} against {0.05:.1%}", flag)
        for index, (name, flag) in enumerate(FINDINGS.items())
    }
    worst = make_accuracy(min(attacks.values()) - 2)
    settings = {"batch_size": 256, "checks": "500 samples"}
    return RobustnessResult(make_accuracy(clean), found, worst, math.inf, EPS, checks, tuple(failing), 3, settings)


def make_curve(normal, slope, hits):
    eps = (0.0, 0.03, 0.06, 0.09, 0.12, 0.16, 0.2)
    results = tuple(make_vulnerability(normal, max(0.02, normal - slope * radius)) for radius in eps)
    accuracies = {"PGD-20": tuple(make_accuracy(max(1, round(500 - hits * radius))) for radius in eps)}
    return VulnerabilityCurve(eps, results, accuracies, {"max_iter": 40})


def make_images(wrong):
    rng = np.random.default_rng(0)
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[:12, None] / 16).astype(np.float32)
    x_adv = np.clip(x + EPS * np.sign(rng.normal(size=x.shape)), 0, 1).astype(np.float32)
    y = digits.target[:12]
    maps = {"saliency_information": rng.normal(size=x.shape) * (0.2 + x), "saliency_loss": rng.normal(size=x.shape)}
    return {"x": x, "x_adv": x_adv, "y": y, "predicted": y, "predicted_adv": (y + np.arange(12) % wrong) % 10, **maps}


def make_record(name, *, drop, clean, attacks, wrong, failing=()):
    rng = np.random.default_rng(1)
    depth = ("features.0", "features.3", "features.7", "head.1", "head.3")
    units = [
        UnitVulnerability(i, *(make_estimate(v) for v in (n, n - d, d)))
        for i, (n, d) in enumerate(
            zip(rng.normal(0.6 + drop / 5, 0.1, 32), drop / 3 * rng.beta(2, 4, size=32), strict=True)
        )
    ]
    return ModelRecord(
        name,
        representation=make_vulnerability(
            2.42,
            2.42 - drop,
            flags=(Flag.UNDERSAMPLED,) if failing else (),
            sweep=(make_vulnerability(2.42, 2.42 - drop), make_vulnerability(3.6, 3.6 - 1.6 * drop, 0.5)),
        ),
        robustness=make_robustness(clean, attacks, failing),
        layers=LayerProfile(
            {
                layer: make_vulnerability(3.4 - 0.25 * i, 3.4 - 0.25 * i - drop * (i + 1) / 5, layer=layer)
                for i, layer in enumerate(depth)
            },
            dict.fromkeys(depth[2:], depth[-1]),
            {"eps": EPS},
        ),
        features=FeatureProfile("features.7", tuple(units), {"eps": EPS}),
        curve=make_curve(2.42, drop / EPS, 500 * wrong),
        backbone=BackboneReport(
            {
                probe: Probe(make_accuracy(clean - 10 * i), make_accuracy(attacks["PGD-20"] - 30 + 12 * i))
                for i, probe in enumerate(("SLF", "ALF", "standard MLP", "robust MLP"))
            },
            "robust MLP",
            make_vulnerability(2.42, 2.42 - drop, layer="features"),
            "Reuse it only where 40 % accuracy under attack is enough: no probe did better.",
        ),
        history=tuple(
            {
                "epoch": e + 1,
                "lr": 1e-3,
                "loss": 2 / (e + 1) + 0.1,
                "boosted": 1.5 / (e + 1),
                "information": 1 - 0.5 / (e + 1),
                "clean_accuracy": 0.97 - 0.6 / (e + 1) ** 2,
                "robust_accuracy": attacks["PGD-20"] / 500 * (1 - 0.7 / (e + 1)),
            }
            for e in range(20)
        ),
        settings={"dataset": "digits", "images": 500, "random_state": 3, "torch": "2.9.0"},
        command=f"art-mi evaluate --model art_mi.models:digits --weights {name}/model.safetensors --out {name}",
        images=make_images(wrong),
    )


ATTACKS = ("FGSM", "PGD-20", "PGD-50", "PGD-l2", "CW-inf", "APGD-CE", "APGD-DLR")


@pytest.fixture(scope="session")
def records():
    """A standard model, one of whose checks failed, and a robust one."""
    weak = dict(zip(ATTACKS, (231, 171, 170, 190, 172, 169, 168), strict=True))
    strong = dict(zip(ATTACKS, (430, 412, 412, 405, 409, 413, 408), strict=True))
    return (
        make_record("standard", drop=1.076, clean=486, attacks=weak, wrong=2, failing=(Flag.BLACK_BOX_STRONGER,)),
        make_record("MIMAE", drop=0.57, clean=487, attacks=strong, wrong=6),
    )
