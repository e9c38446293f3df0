"""A catalogue of wrong calls of the public functions: each has its exact error, naming argument, rule and value.

The arguments of a call that are not wrong are those of `GOOD`, or of `OF` for one callable.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.data_generators import NumpyDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import art_mi
from art_mi.critics import joint_critic
from art_mi.results import MIEstimate, ModelRecord
from art_mi.splits import split_samples
from art_mi.threat import NormBall

N = 120
V, T = ValueError, TypeError
POSITIVE, NON_NEGATIVE = "be a positive number", "be a non-negative number"
ONE, NONE_OR_ONE = "be an integer of at least 1", "be None or an integer of at least 1"
COUNT, SEED = "be an integer of at least 0", f"be an integer from 0 to {2**32 - 1}"
BOOL, NORM, UNKNOWN = "be True or False", "be inf, 2 or 1", "name a module of the model"
SQUARE, MATRIX = "be square with at least 2 rows", "be of shape (n, n), or of some samples (m, n)"
SHAPE = "share a shape (n, C) with n at least 1"
CLASSIFIER, RECORDS = "be an ART PyTorchClassifier", "hold at least one model"


class Twice(nn.Module):
    """Returns a tuple."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(x), x


class Rows(Dataset[Any]):
    """What a function makes of each of the samples."""

    def __init__(self, row: Callable[[int], Any]) -> None:
        self.row = row

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return self.row(index)


class Shown(str):
    """What a message shows in place of the value itself."""


def classifier(*, trained: bool = True) -> PyTorchClassifier:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if trained else None
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (4,), 3, optimizer, clip_values=(0, 1), device_type="cpu")


ART = classifier()
HALF, TUPLE = classifier(), classifier()
HALF.model.half()
TUPLE._model._model = Twice(TUPLE.model)
ATTACK = ProjectedGradientDescent(ART, eps=0.1, eps_step=0.05, max_iter=1, verbose=False)
TARGETED = ProjectedGradientDescent(ART, eps=0.1, eps_step=0.05, max_iter=1, targeted=True, verbose=False)
X = np.random.default_rng(0).random((N, 4), dtype=np.float32)
Y = np.arange(N) % 3
Z = torch.from_numpy(X[:, :2])
SQUARES = torch.eye(3)
LOADERS = [
    (DataLoader(Rows(lambda i: {"x": X[i], "y": 1}), batch_size=40), Shown("dict that is no tensor")),
    (DataLoader(Rows(lambda i: ((X[i], X[i]), 1)), batch_size=40), Shown("list that is no tensor")),
]
GOOD: dict[str, Any] = {
    **{"classifier": ART, "estimator": ART, "encoder": ART.model, "attack": ATTACK, "x": X, "y": Y, "z": Z, "eps": 0.1},
    **{"scores": SQUARES, "ratios": SQUARES, "p": SQUARES, "q": SQUARES, "logits": SQUARES, "logits_adv": SQUARES},
    **{"mi": 1.0, "nb_classes": 3, "records": [ModelRecord("model")], "path": "page.html", "folder": "new", "n": 3},
    **{"critic": joint_critic(4, 2), "split": split_samples(X, random_state=0), "index": torch.arange(N), "to": "bits"},
    **{"random_state": 0, "objective": lambda x: x.sum(1), "ball": NormBall(), "eps_step": 0.1, "max_iter": 1},
    **{
        "dim_in": 2,
        "dim_out": 1,
        "width": 4,
        "dim_x": 1,
        "dim_z": 1,
        "channels": 1,
        "dim": 2,
        "terms": [joint_critic(4, 2)],
        "table": np.eye(2),
        "bounds": ["nwj"],
        "correct": 1,
    },
    **{
        "x_encoder": nn.Identity(),
        "z_encoder": nn.Identity(),
        "x_features": nn.Identity(),
        "z_features": nn.Identity(),
    },
    **{"generator": torch.Generator(), "draws": [], "noise_std": 1.0, "kind": "gaussian", "shape": (2,), "like": Z},
    **{
        "model": ART.model,
        "layer": "0",
        "layers": ["0"],
        "function": nn.Identity(),
        "unit": "nats",
        "name": "resnet18",
    },
    **{"input_shape": (1, 8, 8), "covariance": np.eye(2), "dispersion": np.eye(2), "weights": np.eye(2), "df": 1.0},
    **{"m": 1.0, "s": 1.0, "h": 1.0, "reach": 1.0, "value": "NEGATIVE", "verbose": False, "content": {}, "cells": 2},
}
TENSORS = {"x": torch.from_numpy(X), "z": Z}
OF: dict[str, dict[str, Any]] = {
    "attacks.ascend": {"x": TENSORS["x"]},
    "channels": {"y": torch.zeros(3)},
    "datasets.load": {"name": "mnist"},
    "estimation.fit_critic": TENSORS,
    "estimation.read_bound": TENSORS,
    "losses": {"y": torch.zeros(3, dtype=torch.int64)},
    "metrics.representation_vulnerability": {"eps": 0.1, "verbose": False},
    "metrics.vulnerability_curve": {"eps": [0.1]},
    "representations": {**TENSORS, "noise": nn.Identity()},
    "results.wilson_interval": {"n": 3},
    "trainers.StandardTrainer.fit_generator": {"generator": NumpyDataGenerator(X, Y, batch_size=40)},
    "trainers.MadryPGDTrainer": {"attack": ATTACK},
    "trainers.RVMonitor": {"eps": 0.1},
    "trainers.WorstCaseMITrainer": {"layer": "0"},
}
OBJECTS: dict[str, Callable[[], Any]] = {
    "results.ModelRecord": lambda: ModelRecord("model"),
    "results.MIEstimate": lambda: MIEstimate(1.0, (0.0, 1.0), "estimator", "none", 9, 0),
}


def every(names: str, *rows: Any) -> Iterator[tuple[Any, ...]]:
    """The same wrong arguments of several callables."""
    for name in names.split():
        for row in rows:
            yield (name, *row)


MEASURED = (
    "metrics.representation_vulnerability metrics.layer_profile metrics.feature_profile metrics.vulnerability_curve"
)
TRAINERS = "trainers.StandardTrainer trainers.MadryPGDTrainer trainers.TRADESTrainer trainers.MARTTrainer "
TRAINERS += "trainers.MIMAETrainer trainers.DALETrainer trainers.WorstCaseMITrainer"
ATTACKS = "attacks.LangevinMonteCarlo attacks.MarginAttack attacks.WorstCaseMIAttack"
NETWORKS = "models.from_torchvision models.from_timm"
CALLS: list[tuple[Any, ...]] = [
    *every(
        "bounds.split_pairs bounds.donsker_varadhan bounds.nwj bounds.info_nce bounds.jensen_shannon",
        ("scores", torch.zeros(2, 3), V, SQUARE),
        ("scores", torch.zeros(1, 1), V, SQUARE),
        ("scores", torch.zeros(3), V, SQUARE),
    ),
    *[
        ("bounds.MovingAverageDV", "rate", rate, V, "be a number above 0, at most 1")
        for rate in (0, 1.5, math.nan, "a")
    ],
    ("bounds.MovingAverageDV.__call__", "scores", torch.zeros(2, 3), V, SQUARE),
    *every("channels.gaussian_parts channels.gaussian_ratios", ("z", torch.zeros(3), V, "be of shape (n, d)")),
    ("channels.uniform_ratios", "z", torch.zeros(3), V, "be of shape (n, d)", {"draws": [torch.zeros(3)]}),
    ("channels.overall_std", "z", torch.zeros(0, 2), V, "be of shape (n, d)"),
    *every(
        "channels.lower_bound channels.upper_bound channels.label_information",
        ("ratios", torch.zeros(3), V, MATRIX),
        ("ratios", torch.zeros(1, 1), V, MATRIX),
    ),
    ("channels.label_information", "y", torch.zeros(2), V, "hold one label a row of `ratios`"),
    ("channels.draw_noise", "kind", "laplace", V, "be one of 'gaussian', 'uniform'"),
    ("channels.read_channel", "z", torch.zeros(1, 2), V, "be of shape (n, d) with n at least 2"),
    ("channels.read_channel", "noise_std", 0, V, POSITIVE),
    ("channels.read_channel", "noise", "laplace", V, "be one of 'gaussian', 'uniform'"),
    ("channels.read_channel", "nb_noise", 0, V, ONE),
    ("channels.read_channel", "block", 1, V, "be an integer of at least 2"),
    ("critics.mlp", "dim_in", 0, V, ONE),
    ("critics.mlp", "depth", -1, V, ONE),
    *every("critics.separable_critic critics.joint_critic", ("dim_x", 0, V, ONE), ("width", 1.5, V, ONE)),
    *every("critics.ConvCritic critics.LocalCritic", ("channels", 0, V, ONE), ("dim_z", "a", V, ONE)),
    ("critics.JointCritic", "dim", 0, V, ONE),
    ("critics.SumCritic", "terms", [], V, "hold at least one critic", Shown("none")),
    ("critics.mean_critic", "critics", [], V, "hold at least one", Shown("none")),
    ("datasets.load", "name", "imagenet", V, "be one of 'digits', 'mnist'"),
    ("datasets.load", "name", 3, V, "be one of 'digits', 'mnist'"),
    ("datasets.load", "data_dir", None, V, "be a folder with torchvision's files", {"name": "mnist"}),
    ("datasets.load", "data_dir", "nowhere", FileNotFoundError, "hold the files of mnist", {"name": "mnist"}),
    ("datasets.load", "download", "yes", V, BOOL, {"name": "digits"}),
    *[("distributions.binary_entropy", "p", p, V, "be a number between 0 and 1") for p in (2, -1, math.nan, "a")],
    ("distributions.floor_worst_case", "cells", 0, V, "be an integer of at least 1"),
    ("distributions.floor_worst_case", "eps", 0.6, V, "be a number between 0 and 1/2"),
    ("distributions.gaussian_information", "covariance", [[1, 0]], V, "be a square matrix", Shown("shape (1, 2)")),
    (
        "distributions.gaussian_information",
        "covariance",
        [[1, 2], [2, 1]],
        V,
        "be positive definite",
        Shown("a matrix"),
    ),
    ("distributions.gaussian_information", "dim_x", 2, V, "be an integer from 1 to 1"),
    ("distributions.linear_gaussian_information", "noise_std", 0, V, POSITIVE),
    ("distributions.linear_gaussian_information", "covariance", np.eye(3), V, "have the 2 rows of X"),
    ("distributions.student_information", "df", 0, V, POSITIVE),
    ("distributions.student_information", "dispersion", 3, V, "be a square matrix", Shown("shape ()")),
    *[
        ("distributions.table_information", "table", t, V, "hold non-negative weights")
        for t in ([[-1, 1]], [1, 2], [[0]])
    ],
    ("distributions.additive_uniform_information", "half_width", 0, V, POSITIVE),
    ("distributions.two_point_gaussian_information", "t", math.nan, V, "be a finite number"),
    ("distributions.two_point_uniform_information", "m", math.inf, V, "be a finite number"),
    ("distributions.two_point_uniform_information", "h", 0, V, POSITIVE),
    ("distributions.zero_inflated_poisson_information", "p", 1, V, "be a number of at least 0 and below 1"),
    ("distributions.linear_sign_worst_case", "s", 0, V, POSITIVE),
    ("distributions.linear_sign_worst_case", "reach", -1, V, NON_NEGATIVE),
    ("distributions.linear_sign_worst_case", "m", "a", V, "be a finite number"),
    ("distributions.linear_sign_worst_case", "bias", math.inf, V, "be a finite number"),
    ("distributions.empirical_sign_worst_case", "scores", [], V, "hold at least one score"),
    ("distributions.empirical_sign_worst_case", "reach", -1, V, "be non-negative"),
    ("distributions.theorem_3_2_bounds", "adversarial_gap", 2, V, "be a number between 0 and 1"),
    *every(
        "estimation.split_samples estimation.cross_splits",
        ("fractions", (1, 1, 1), V, "be three positive numbers with sum 1"),
        ("fractions", (0.5, 0.5), V, "be three positive numbers with sum 1"),
        ("random_state", -1, V, SEED),
        ("random_state", None, V, SEED),
        ("x", np.empty((0, 2)), V, "hold samples"),
    ),
    ("estimation.cross_splits", "nb_folds", 0, V, ONE),
    ("estimation.default_critic", "index", torch.arange(0), V, "hold samples", Shown("none")),
    ("estimation.default_critic", "residual", "conv", V, "be 'separable', 'joint' or 'both'"),
    ("estimation.read_bound", "bounds", ["mine"], V, "be one of 'donsker_varadhan'", Shown("'mine'")),
    ("estimation.read_bound", "nb_bootstrap", 0, V, ONE),
    ("estimation.read_bound", "index", torch.arange(1), V, "hold at least 2 samples", Shown("1")),
    ("estimation.fit_critic", "critic", "joint", T, "be a torch module", Shown("str")),
    ("estimation.fit_critic", "split", None, T, "be a Split", Shown("NoneType")),
    *every(
        "estimation.fit_critic estimation.estimate_mutual_information",
        ("max_steps", -1, V, COUNT),
        ("batch_size", 1, V, "be an integer of at least 2"),
        ("lr", 0, V, POSITIVE),
        ("lr", "fast", V, POSITIVE),
        ("patience", 0, V, ONE),
        ("random_state", 1.5, V, SEED),
    ),
    ("estimation.estimate_mutual_information", "x", "text", T, "be numeric", Shown("dtype")),
    ("estimation.estimate_mutual_information", "x", X * np.nan, V, "be finite in float32", Shown("NaN")),
    ("estimation.estimate_mutual_information", "z", np.ones(N), V, "not be constant", Shown(f"{N} equal rows")),
    ("estimation.estimate_mutual_information", "bound", "mine", V, "be one of 'donsker_varadhan'"),
    ("estimation.estimate_mutual_information", "unit", "dits", V, "be one of 'nats', 'bits'"),
    ("estimation.estimate_mutual_information", "nb_folds", 2.5, V, "be an integer from 1 to 4"),
    ("estimation.estimate_mutual_information", "nb_seeds", 0, V, ONE),
    ("estimation.estimate_mutual_information", "nb_bootstrap", 0, V, ONE),
    ("estimation.estimate_mutual_information", "critic", "joint", T, "be a torch module", Shown("str")),
    ("estimation.estimate_mutual_information", "split", "half", T, "be a Split", Shown("str")),
    ("estimation.estimate_mutual_information", "device", "tpu9", V, "be a device of torch"),
    ("estimation.estimate_mutual_information", "verbose", 1, V, BOOL),
    *every(
        "losses.log_error_probability losses.log_odds losses.boosted_cross_entropy",
        ("logits", torch.zeros(3), V, "have shape (n, C) with at least 2 classes"),
        ("logits", torch.zeros(3, 1), V, "have shape (n, C) with at least 2 classes"),
    ),
    *every(
        "losses.log_error_probability losses.log_odds losses.boosted_cross_entropy losses.mart_regulariser",
        ("y", torch.zeros(2, dtype=torch.int64), V, "hold one index a row of `logits`"),
        ("y", torch.zeros(3), T, "hold indices of torch.int64", Shown("torch.float32")),
    ),
    *every("losses.kl_divergence losses.logit_distance", ("logits_adv", torch.zeros(3, 4), V, SHAPE)),
    ("losses.logit_distance", "order", "l1", V, "be one of 'mae', 'mse'"),
    ("losses.logit_distance", "reduction", "none", V, "be one of 'mean', 'sum'"),
    ("losses.class_mutual_information", "p", torch.zeros(2, 3), V, SHAPE),
    *every(
        "risk.adversarial_accuracy_upper_bound risk.adversarial_risk_lower_bound",
        ("mi", math.nan, V, "be a number of nats"),
        ("mi", "1", V, "be a number of nats"),
        ("nb_classes", 1, V, "be an integer of at least 2"),
        ("nb_classes", 2.5, V, "be an integer of at least 2"),
        ("form", "loose", V, "be one of 'exact', 'published'"),
        ("label_entropy", 3, V, "be between 0 and log(nb_classes)"),
        ("label_entropy", "a", V, "be between 0 and log(nb_classes)"),
    ),
    *[("threat.NormBall", "norm", norm, V, NORM) for norm in (3, "l2", None, True, np.array([1, 2]), torch.tensor(2))],
    *[("threat.NormBall", "eps", eps, V, NON_NEGATIVE) for eps in (-1, math.nan, math.inf, "a", True)],
    *[
        ("threat.NormBall", "clip_values", clip_values, V, "be None or a pair of values")
        for clip_values in (
            *(3, (1, 0), (0, 1, 2), "ab", ("a", "b"), (None, 1), (0, math.nan), ([[0], [0, 1]], 1)),
            *((np.zeros(2), np.ones(3)), (torch.ones(2), torch.zeros(2)), (0.0, torch.zeros(1) - 1)),
        )
    ],
    ("results.conversion", "unit", "dits", V, "be one of 'nats', 'bits'"),
    ("results.conversion", "to", None, V, "be one of 'nats', 'bits'"),
    ("results.wilson_interval", "correct", 4, V, "be an integer from 0 to 3"),
    ("results.wilson_interval", "n", 0, V, ONE),
    ("results.wilson_interval", "level", 1, V, "be a number above 0 and below 1"),
    ("results.Flag", "value", "HIGH", V, "be one of 'SATURATED'"),
    ("results.Accuracy.of", "correct", np.array([]), V, "hold at least one Boolean"),
    ("results.Accuracy.of", "correct", np.array([2.0]), V, "hold at least one Boolean"),
    ("results.MIEstimate.from_dict", "content", [], V, "be a MIEstimate as `to_dict` gives it", Shown("a list")),
    ("results.MIEstimate.from_dict", "content", {}, V, "be a MIEstimate", Shown("required field missing")),
    ("results.MIEstimate.in_unit", "unit", "dits", V, "be one of 'nats', 'bits'"),
    ("results.MIEstimate.to_json", "path", 3, V, "be None or a path"),
    ("results.ModelRecord.to_html", "path", 3, V, "be None or a path"),
    ("results.ModelRecord.save", "folder", 3, V, "be a folder, existing or new"),
    ("results.ModelRecord.load", "folder", 3, V, "be a path"),
    ("results.ModelRecord.load", "folder", "nowhere", V, "hold a readable results.json"),
    *every(
        "report.card report.text_table report.verdict report.write_card report.write_figures",
        ("records", [], V, RECORDS, Shown("none")),
        ("records", ["a"], T, "be a list of ModelRecords"),
        ("records", 3, T, "be a list of ModelRecords"),
    ),
    *every(
        "report.card report.write_card",
        ("records", [ModelRecord("a"), ModelRecord("a")], V, "have different names", Shown("'a' twice")),
        ("title", 3, V, "be a text"),
        ("settings", 3, T, "be a mapping", Shown("int")),
        ("command", 3, V, "be None or a text"),
    ),
    ("report.write_card", "path", "page.txt", V, "end in '.html'"),
    ("report.write_card", "path", 3, V, "be a path"),
    ("report.write_figures", "folder", 3, V, "be a path"),
    ("report.load_records", "folders", ["nowhere"], V, "hold a results.json", Shown("'nowhere'")),
    ("report.load_records", "folders", "nowhere", T, "be a list of folders"),
    ("report.load_records", "folders", [3], V, "be a path", Shown("3")),
    ("representations.named_layer", "layer", "none", V, UNKNOWN),
    ("representations.named_layer", "layer", 3, T, "be a name", Shown("int")),
    *every(
        "representations.representation representations.encoder representations.watching",
        ("layer", "none", V, UNKNOWN),
    ),
    ("representations.noisy_outputs", "layer", "none", V, UNKNOWN, {"noise": nn.Identity()}),
    ("representations.in_batches", "batch_size", 0, V, ONE),
    ("models.small_cnn", "input_shape", (8, 8), V, "be three positive integers (channels, height, width)"),
    ("models.small_cnn", "input_shape", "abc", V, "be three positive integers (channels, height, width)"),
    ("models.small_cnn", "nb_classes", 0, V, ONE),
    ("models.small_cnn", "width", 1.5, V, ONE),
    ("models.small_cnn", "random_state", -1, V, SEED),
    ("models.from_torchvision", "name", "resnet81", V, "be a classifier of torchvision"),
    ("models.from_torchvision", "weights", "BEST", V, "be one of 'DEFAULT'"),
    ("models.from_timm", "name", "resnet81", V, "be a network of timm"),
    ("models.from_timm", "pretrained", 1, V, BOOL),
    *every(
        NETWORKS,
        ("name", 3, V, "be a text"),
        ("nb_classes", 0, V, NONE_OR_ONE),
        ("input_shape", 3, V, "be None or three positive integers"),
        ("preprocessing", 3, V, "be None or a mean and a standard deviation"),
        ("preprocessing", ((0,), (1,)), V, "have the 3 channels of an input"),
        ("random_state", -1, V, SEED),
    ),
    ("models.from_robustbench", "model", "Standard", T, "be a torch module", Shown("str")),
    ("models.from_robustbench", "dataset", "mnist", V, "be one of 'cifar10', 'cifar100', 'imagenet'"),
    ("models.from_robustbench", "input_shape", (3,), V, "be None or three positive integers"),
    ("models.from_robustbench", "optimizer", 3, T, "make an optimizer of parameters", Shown("int")),
    ("models.from_robustbench", "device_type", "tpu", V, "be one of 'cpu', 'gpu'"),
    ("attacks.falling", "eps", -1, V, NON_NEGATIVE),
    ("attacks.falling", "max_iter", 1.5, V, COUNT),
    ("attacks.best_of", "candidates", [], V, "hold at least one tensor", Shown("none")),
    ("attacks.ascend", "ball", 0.1, T, "be a NormBall", Shown("float")),
    ("attacks.ascend", "eps_step", "a", V, POSITIVE),
    ("attacks.ascend", "max_iter", -1, V, COUNT),
    ("attacks.ascend", "start", torch.zeros(2, 4), V, f"have the shape ({N}, 4) of `x`"),
    *every(
        ATTACKS,
        ("estimator", 3, T, CLASSIFIER, Shown("int")),
        ("norm", 3, V, NORM),
        ("eps", -1, V, NON_NEGATIVE),
        ("eps", "a", V, NON_NEGATIVE),
        ("max_iter", 1.5, V, COUNT),
        ("num_random_init", -1, V, COUNT),
        ("random_state", -1, V, "be None or an integer from 0 to 4294967295"),
        ("verbose", 1, V, BOOL),
    ),
    ("attacks.LangevinMonteCarlo", "eps_step", 0, V, POSITIVE),
    ("attacks.LangevinMonteCarlo", "batch_size", 0, V, ONE),
    ("attacks.MarginAttack", "batch_size", 0, V, ONE),
    ("attacks.WorstCaseMIAttack", "batch_size", 0, V, "be an integer of at least 2"),
    *every("attacks.MarginAttack attacks.WorstCaseMIAttack", ("eps_step", 0, V, "be None or a positive number")),
    ("attacks.LangevinMonteCarlo", "noise", "pink", V, "be one of 'gaussian', 'laplace'"),
    ("attacks.LangevinMonteCarlo", "temperature", -1, V, NON_NEGATIVE),
    ("attacks.LangevinMonteCarlo", "step", 3, V, "be one of 'sign', 'gradient'"),
    ("attacks.LangevinMonteCarlo", "potential", 3, V, "be one of 'log_error'"),
    ("attacks.LangevinMonteCarlo", "start_std", -1, V, "be None or a non-negative number"),
    ("attacks.LangevinMonteCarlo", "summary_writer", 3, V, "be a folder, True, False or a SummaryWriter"),
    ("attacks.MarginAttack", "confidence", -1, V, NON_NEGATIVE),
    ("attacks.WorstCaseMIAttack", "layer", "none", V, UNKNOWN),
    ("attacks.WorstCaseMIAttack", "critic", 3, T, "be a torch module", Shown("int")),
    ("attacks.WorstCaseMIAttack", "bound", "mine", V, "be one of 'donsker_varadhan'"),
    ("attacks.WorstCaseMIAttack", "noise_std", 0, V, POSITIVE),
    ("attacks.WorstCaseMIAttack", "sigma", 0, V, "be None or a positive number"),
    ("attacks.WorstCaseMIAttack", "detach_input", 1, V, BOOL),
    *[
        (f"{name}.generate", argument, value, error, rule, *more)
        for name in ATTACKS.split()
        for argument, value, error, rule, *more in (
            ("x", "a", T, "be an array, a tensor or a DataLoader", Shown("str")),
            ("x", X[:, :3], V, "have shape (n, 4)"),
            ("x", torch.from_numpy(X).to_sparse(), T, "be numeric", Shown("Tensor that is not: complex or sparse")),
            ("mask", np.ones(3), V, "broadcast against `x`"),
            ("mask", [[1], [1, 2]], T, "be numeric", Shown("list that is not")),
            ("mask", "all", T, "be numeric", Shown("an array of <U3")),
        )
    ],
    *every(
        "attacks.LangevinMonteCarlo.generate attacks.MarginAttack.generate",
        ("y", Y[:3], V, f"hold one label for each of the {N} samples"),
    ),
    ("evaluation.accuracy", "batch_size", 0, V, ONE),
    *every(
        "evaluation.accuracy evaluation.attacked_accuracy",
        ("classifier", 3, T, CLASSIFIER),
        ("x", X[:, :3], V, "have shape (n, 4)"),
        ("y", Y[:3], V, f"hold one label for each of the {N} samples"),
        ("y", Y + 1, V, "hold integers from 0 to 2", Shown("values from 1 to 3")),
        ("y", [[0], [1, 2]], T, "be numeric", Shown("list that is not")),
        ("x", X * np.nan, V, "be finite", Shown("NaN")),
        ("x", "a", T, "be an array, a tensor or a DataLoader", Shown("str")),
    ),
    ("evaluation.attacked_accuracy", "attack", 3, T, "be an ART EvasionAttack", Shown("int")),
    ("evaluation.attacked_accuracy", "random_state", -1, V, SEED),
    ("evaluation.standard_attacks", "classifier", 3, T, CLASSIFIER, Shown("int")),
    ("evaluation.standard_attacks", "eps", 0, V, POSITIVE),
    ("evaluation.standard_attacks", "batch_size", 0, V, ONE),
    ("evaluation.undisturbed", "classifier", 3, T, CLASSIFIER, Shown("int")),
    ("evaluation.undisturbed", "random_state", -1, V, SEED),
    *every(
        "evaluation.evaluate_robustness assessment.assess",
        ("classifier", 3, T, CLASSIFIER),
        ("classifier", TUPLE, T, "have a model that returns one tensor", Shown("tuple")),
        ("classifier", HALF, T, "have a model that takes inputs of torch.float32", Shown("one with weights of")),
        ("eps", 0, V, POSITIVE),
        ("eps", "a", V, POSITIVE),
        ("norm", 3, V, NORM),
        ("attacks", ["PGD-7"], V, "be one of 'FGSM'", Shown("'PGD-7'")),
        ("attacks", 3, T, "be names, or a mapping from names to attacks"),
        ("attacks", {"mine": 3}, T, "hold ART EvasionAttacks", Shown("int")),
        ("attacks", {"mine": TARGETED}, V, "be untargeted", Shown("a targeted")),
        ("checks", 1, V, BOOL),
        ("random_state", -1, V, SEED),
        ("random_state", "a", V, SEED),
        ("verbose", 1, V, BOOL),
        ("y", Y[:3], V, f"hold one label for each of the {N} samples"),
        ("y", None, V, "hold labels"),
        ("x", X + 1, V, "lie within the classifier's clip_values [0, 1]", Shown("values from")),
    ),
    ("evaluation.evaluate_robustness", "batch_size", 0, V, ONE),
    ("evaluation.evaluate_robustness", "eps_l2", -1, V, "be None or a positive number"),
    ("assessment.assess", "name", 3, T, "be a text", Shown("int")),
    ("assessment.assess", "layer", "none", V, UNKNOWN),
    ("assessment.assess", "layer_profile", ["none"], V, UNKNOWN, Shown("'none'")),
    ("assessment.assess", "layer_profile", 3, V, "be True, False or a sequence of names"),
    ("assessment.assess", "feature_profile", 3, V, BOOL),
    ("assessment.assess", "curve", [-1], V, NON_NEGATIVE, Shown("-1")),
    ("assessment.assess", "curve", [0.2, 0.1], V, "hold ascending radii"),
    ("assessment.assess", "curve", 3, V, "be a sequence of radii"),
    ("assessment.assess", "representation", 3, V, "be None or a RepresentationVulnerability"),
    ("assessment.assess", "nb_profiled", 3, V, "be an integer of at least 100"),
    ("assessment.assess", "nb_images", 0, V, ONE),
    ("assessment.assess", "history", [3], V, "be a sequence of records"),
    ("assessment.assess", "settings", 3, V, "be None or a mapping"),
    ("assessment.assess", "command", 3, V, "be None or a text"),
    ("assessment.assess", "x", X[:50], V, "hold at least 100 samples", Shown("50"), {"y": Y[:50]}),
    ("backbone.backbone_report", "encoder", 3, T, "be a torch module or an ART PyTorchClassifier", Shown("int")),
    ("backbone.backbone_report", "eps", 0, V, POSITIVE),
    ("backbone.backbone_report", "layer", "none", V, UNKNOWN),
    ("backbone.backbone_report", "nb_classes", 1, V, "be an integer of at least 2"),
    ("backbone.backbone_report", "norm", 3, V, NORM),
    ("backbone.backbone_report", "clip_values", 3, V, "be None or a pair of values"),
    ("backbone.backbone_report", "clip_values", (1, 0), V, "be None or a pair of values"),
    ("backbone.backbone_report", "wanted", 2, V, "be a number between 0 and 1"),
    ("backbone.backbone_report", "nb_epochs", 0, V, ONE),
    ("backbone.backbone_report", "max_iter", 0, V, ONE),
    ("backbone.backbone_report", "batch_size", 0, V, ONE),
    ("backbone.backbone_report", "noise_std", 0, V, POSITIVE),
    ("backbone.backbone_report", "random_state", -1, V, SEED),
    ("backbone.backbone_report", "verbose", 1, V, BOOL),
    ("backbone.backbone_report", "y", None, V, "hold labels"),
    *every(
        MEASURED,
        ("classifier", 3, T, CLASSIFIER, Shown("int")),
        ("norm", 3, V, NORM),
        ("max_iter", 0, V, ONE),
        ("batch_size", 0, V, ONE),
        ("classifier", TUPLE, T, "have a model that returns one tensor", Shown("tuple")),
        ("classifier", HALF, T, "have a model that takes inputs of torch.float32", Shown("one with weights of")),
        *[
            ("x", loader, T, "come in batches of inputs, or of tuples that begin with inputs", kind)
            for loader, kind in LOADERS
        ],
        ("random_state", -1, V, SEED),
        ("verbose", 1, V, BOOL),
        ("x", X[:50], V, "hold at least 100 samples", Shown("50")),
    ),
    *every(
        "metrics.representation_vulnerability metrics.feature_profile metrics.vulnerability_curve",
        ("layer", "none", V, UNKNOWN),
    ),
    *every(
        "metrics.layer_profile metrics.feature_profile metrics.vulnerability_curve",
        ("out", 3, T, "be a folder", Shown("int")),
    ),
    *every("evaluation.evaluate_robustness assessment.assess", ("out", 3, T, "be a folder", Shown("int"))),
    *[(name, "eps", -1, V, NON_NEGATIVE) for name in MEASURED.split()[:3]],
    ("metrics.representation_vulnerability", "epz", 1, T, "be an argument of WorstCaseMIEstimator"),
    ("metrics.layer_profile", "layers", ["none"], V, UNKNOWN, Shown("'none'")),
    ("metrics.layer_profile", "layers", "some", T, "be 'all' or a sequence of names"),
    ("metrics.layer_profile", "layers", 3, T, "be 'all' or a sequence of names"),
    ("metrics.layer_profile", "layers", [], V, "hold at least one name", Shown("none")),
    ("metrics.layer_profile", "num_random_init", -1, V, COUNT),
    ("metrics.layer_profile", "eps_step", 0, V, POSITIVE),
    ("metrics.feature_profile", "units", [9], V, "be distinct integers from 0 to 2", Shown("9")),
    ("metrics.feature_profile", "units", [], V, "be distinct integers from 0 to 2"),
    ("metrics.feature_profile", "units", 3, T, "be a sequence of integers", Shown("int")),
    ("metrics.feature_profile", "eps_step", 0, V, POSITIVE),
    ("metrics.vulnerability_curve", "eps", 0.1, T, "be a sequence of radii", Shown("float")),
    ("metrics.vulnerability_curve", "eps", [0.2, 0.1], V, "hold ascending radii"),
    ("metrics.vulnerability_curve", "eps", ["a"], V, NON_NEGATIVE, Shown("'a'")),
    ("metrics.vulnerability_curve", "num_random_init", -1, V, COUNT),
    ("metrics.WorstCaseMIEstimator", "method", "mine", V, "be one of 'noisy', 'critic', 'quantised'"),
    ("metrics.WorstCaseMIEstimator", "noise", "pink", V, "be one of 'gaussian', 'uniform'"),
    *every(
        "metrics.representation_vulnerability metrics.feature_profile metrics.vulnerability_curve",
        ("noise_std", 0, V, POSITIVE),
    ),
    ("metrics.layer_profile", "noise_std", 0, V, "be None or a positive number"),
    *[
        ("metrics.WorstCaseMIEstimator", "noise_std", np.array(level), V, POSITIVE, Shown(shown))
        for level, shown in ((0.0, "0.0"), ([1.0, 0.0], "0.0"), ([[1.0]], "[1.0]"), ([], "[]"))
    ],
    ("metrics.WorstCaseMIEstimator", "noise_nats", 0, V, "be None or a positive number"),
    ("metrics.WorstCaseMIEstimator", "codes", "kmeans", V, "be one of 'argmax', 'sign'"),
    ("metrics.WorstCaseMIEstimator", "codes", 3, T, "be a name or a callable", Shown("int")),
    ("metrics.WorstCaseMIEstimator", "max_codes", 0, V, ONE),
    ("metrics.WorstCaseMIEstimator", "attack", 3, T, "be an ART ProjectedGradientDescent", Shown("int"), {"eps": None}),
    ("metrics.WorstCaseMIEstimator", "attack", TARGETED, V, "have targeted=False", Shown("True"), {"eps": None}),
    ("metrics.WorstCaseMIEstimator", "attack_steps", 0, V, ONE),
    ("metrics.WorstCaseMIEstimator", "detach_input", 1, V, BOOL),
    ("metrics.WorstCaseMIEstimator", "warm_start", "no", V, BOOL),
    ("metrics.WorstCaseMIEstimator", "max_steps", 0, V, ONE),
    ("metrics.WorstCaseMIEstimator", "robust_accuracy", 2, V, "be a number between 0 and 1"),
    ("metrics.WorstCaseMIEstimator", "unit", "dits", V, "be one of 'nats', 'bits'"),
    ("metrics.WorstCaseMIEstimator.evaluate", "x", X[:, :3], V, "have shape (n, 4)"),
    ("metrics.WorstCaseMIEstimator.evaluate", "y", Y[:3], V, f"hold one label for each of the {N} samples"),
    *every(
        "saliency.information_saliency saliency.loss_saliency",
        ("classifier", 3, T, CLASSIFIER),
        ("noise_std", 0, V, POSITIVE),
        ("batch_size", 0, V, "be an integer of at least"),
        ("random_state", -1, V, "be an integer"),
        ("x", X + 1, V, "lie within the classifier's clip_values [0, 1]", Shown("values from")),
    ),
    ("saliency.information_saliency", "layer", "none", V, UNKNOWN),
    ("saliency.information_saliency", "nb_draws", 0, V, ONE),
    ("saliency.loss_saliency", "method", "gradcam", V, "be one of 'gradient'"),
    ("saliency.loss_saliency", "nb_points", 0, V, ONE),
    ("saliency.loss_saliency", "y", None, T, "be numeric", Shown("an array of object")),
    ("saliency.loss_saliency", "x", X[:0], V, "hold samples", Shown("none"), {"y": Y[:0]}),
    *every(
        TRAINERS,
        ("classifier", 3, T, CLASSIFIER),
        (
            "classifier",
            classifier(trained=False),
            V,
            "have an optimizer",
        ),
        ("precision", "8", V, "be one of '32-true'"),
        ("channels_last", 1, V, BOOL),
        ("compiled", 1, V, BOOL),
        ("fabric", 3, T, "be a Lightning Fabric"),
        ("random_state", -1, V, SEED),
        ("verbose", 1, V, BOOL),
        ("attack", 3, T, "be an ART EvasionAttack"),
        ("attack", TARGETED, V, "be untargeted"),
    ),
    *every(
        "trainers.TRADESTrainer trainers.MARTTrainer",
        ("beta", "a", V, NON_NEGATIVE),
        ("start_std", -1, V, NON_NEGATIVE),
    ),
    ("trainers.MIMAETrainer", "lamb", -1, V, NON_NEGATIVE),
    ("trainers.MIMAETrainer", "adversarial_loss", "hinge", V, "be one of 'boosted', 'cross_entropy'"),
    ("trainers.MIMAETrainer", "distance", "l1", V, "be one of 'mae', 'mse'"),
    ("trainers.MIMAETrainer", "reduction", "none", V, "be one of 'mean', 'sum'"),
    ("trainers.MIMAETrainer", "symmetric", 1, V, BOOL),
    ("trainers.DALETrainer", "rho", -1, V, NON_NEGATIVE),
    ("trainers.DALETrainer", "dual_step", "run", V, "be one of 'epoch', 'batch'"),
    ("trainers.DALETrainer", "dual_warmup", -1, V, COUNT),
    ("trainers.DALETrainer", "robust_loss", "hinge", V, "be one of 'cross_entropy', 'kl'"),
    ("trainers.DALETrainer", "multiplier", -1, V, "be None or"),
    ("trainers.WorstCaseMITrainer", "layer", "none", V, UNKNOWN),
    ("trainers.WorstCaseMITrainer", "layer", None, V, "name a layer before the output"),
    ("trainers.WorstCaseMITrainer", "head", "wide", V, "be None or one of 'robust', 'standard'"),
    ("trainers.WorstCaseMITrainer", "head_epochs", 0, V, NONE_OR_ONE),
    ("trainers.WorstCaseMITrainer", "bound", "mine", V, "be one of 'donsker_varadhan'"),
    ("trainers.WorstCaseMITrainer", "tau", -1, V, "be None or a non-negative number"),
    ("trainers.WorstCaseMITrainer", "critic", 3, T, "be a Critic", Shown("int")),
    ("trainers.WorstCaseMITrainer", "critic_lr", 0, V, POSITIVE),
    ("trainers.StandardTrainer.fit", "x", "a", T, "be an array, a tensor or a DataLoader", Shown("str")),
    ("trainers.StandardTrainer.fit", "y", Y[:3], V, f"hold one label for each of the {N} samples"),
    ("trainers.StandardTrainer.fit", "y", None, V, "be given to StandardTrainer", Shown("no labels")),
    ("trainers.StandardTrainer.fit", "y", [[0], [1, 2]], T, "be numeric", Shown("list that is not")),
    ("trainers.StandardTrainer.fit", "batch_size", 0, V, ONE),
    ("trainers.StandardTrainer.fit", "nb_epochs", 0, V, ONE),
    ("trainers.StandardTrainer.fit", "scheduler", 3, T, "be a torch scheduler", Shown("int")),
    ("trainers.StandardTrainer.fit", "scheduler_interval", "run", V, "be one of 'epoch', 'step'"),
    ("trainers.StandardTrainer.fit", "clip_grad_norm", 0, V, "be None or a positive number"),
    ("trainers.StandardTrainer.fit", "ema_decay", 2, V, "be None or a number between 0 and 1"),
    ("trainers.StandardTrainer.fit", "log_every", 0, V, ONE),
    ("trainers.StandardTrainer.fit", "callbacks", 3, T, "be a list", Shown("int")),
    ("trainers.StandardTrainer.fit", "callbacks", [3], T, "be callable", Shown("int")),
    ("trainers.StandardTrainer.fit", "out", 3, V, "be None or a folder"),
    ("trainers.StandardTrainer.fit", "out", __file__, V, "be None or a folder"),
    ("trainers.StandardTrainer.fit", "checkpoint_every", 0, V, NONE_OR_ONE),
    ("trainers.StandardTrainer.fit", "resume_from", 3, V, "be None or a path"),
    ("trainers.StandardTrainer.fit", "resume_from", "nowhere", V, "be a complete checkpoint"),
    ("trainers.StandardTrainer.fit", "validate_every", 0, V, ONE),
    ("trainers.StandardTrainer.fit", "patience", 0, V, NONE_OR_ONE),
    ("trainers.StandardTrainer.fit", "restore_best", 1, V, BOOL),
    ("trainers.StandardTrainer.fit", "validation_data", 3, V, "be a pair (x, y)", Shown("int")),
    ("trainers.StandardTrainer.fit", "nb_epoch", 3, T, "be an option of fit"),
    ("trainers.StandardTrainer.fit_generator", "generator", 3, T, "be an ART DataGenerator", Shown("int")),
    ("trainers.RVMonitor", "every", 0, V, ONE),
    ("trainers.RVMonitor", "x", 3, T, "be an array, a tensor or a DataLoader", Shown("int")),
    ("trainers.RVMonitor", "x", X[:3], V, "hold at least 100 samples", Shown("3")),
    ("trainers.RVMonitor", "eps", -1, V, NON_NEGATIVE),
    ("trainers.TensorBoard", "folder", 3, V, "be a path"),
]

EXCUSED = {
    "critics.Critic": "abstract",
    "critics.SeparableCritic": "takes any two modules",
    "distributions.problems": "takes nothing",
    "distributions.vulnerability_problems": "takes nothing",
    "estimation.block_scores": "inner loop, on tensors of the estimate",
    "representations.layer_outputs": "calls a wrong name `layer`, as those that call it do",
    "representations.check_finite": "is a check itself",
    "representations.check_representation": "is a check itself",
    "representations.running": "takes any module",
    "representations.running_order": "takes what was checked before",
    "trainers.StepTrainer": "abstract; its constructor is that of StandardTrainer",
}


def found(dotted: str) -> Any:
    """What a name of the catalogue names; a method is bound to an object where it needs one."""
    module, name, *method = dotted.split(".")
    made = getattr(getattr(art_mi, module), name)
    if not method:
        return made
    if inspect.ismethod(bound := getattr(made, method[0])):
        return bound
    owner = f"{module}.{name}"
    return getattr(OBJECTS[owner]() if owner in OBJECTS else made(**good(owner)), method[0])


def good(dotted: str, *wrong: str) -> dict[str, Any]:
    """Arguments of a call that nothing is wrong with, without those that are; most that have a default are left out."""
    own = {**GOOD, **OF.get(dotted.partition(".")[0], {}), **OF.get(dotted, {})}
    given = inspect.signature(found(dotted)).parameters
    needed = {name for name, p in given.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    wanted = needed | given.keys() & {"y", "eps", "verbose"} | OF.get(dotted, {}).keys()
    return {name: own[name] for name in sorted(wanted.difference(wrong))}


def run(call: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """The call, as far as its first yield where it is a context manager or gives one thing after another."""
    made = call(**arguments)
    if isinstance(made, AbstractContextManager):
        made.__enter__()
    elif isinstance(made, Iterator):
        next(made)


def values_shown(value: Any, more: tuple[Any, ...]) -> list[str]:
    """How a message may show a value: as it is, by its shape, or by its type."""
    told = [str(part) for part in more if isinstance(part, Shown)]
    shape = [str(tuple(value.shape)), f"shape {tuple(value.shape)}"] if isinstance(value, np.ndarray | Tensor) else []
    return told or [repr(value), *shape, type(value).__name__]


def label(row: tuple[Any, ...]) -> str:
    return f"{row[0]}-{row[1]}-{str(row[2])[:20]}"


def state() -> tuple[bytes, ...]:
    """Weights, gradients and modes of the classifier, and the global generators."""
    weights = [value.numpy().tobytes() for value in ART.model.state_dict().values()]
    rest = [repr([(m.training, len(m._forward_hooks)) for m in ART.model.modules()]).encode()]
    rest += [repr([(p.requires_grad, p.grad) for p in ART.model.parameters()]).encode()]
    return (*weights, *rest, torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes())  # noqa: NPY002


@pytest.mark.parametrize("row", CALLS, ids=label)
def test_a_wrong_call_is_refused_by_name_and_changes_nothing(
    row: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotted, argument, value, error, rule, *more = row
    monkeypatch.chdir(tmp_path)
    others: dict[str, Any] = next((part for part in more if isinstance(part, dict)), {})
    call, arguments = found(dotted), {**good(dotted, argument), **others, argument: value}
    as_found = state()
    with pytest.raises(error) as caught:
        run(call, arguments)
    assert type(caught.value) is error
    message = str(caught.value)
    assert re.search(rf"`{argument}`.* must {re.escape(rule)}", message), message
    assert any(
        f"got {shown}" in message or f" {shown}" in message.rpartition("got")[2]
        for shown in values_shown(value, tuple(more))
    ), message
    assert state() == as_found
    assert not list(tmp_path.iterdir())


def public() -> Iterator[str]:
    """Dotted names of all public functions and classes that take arguments."""
    for name in art_mi.__all__:
        if not isinstance(module := getattr(art_mi, name), ModuleType):
            continue
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        for key in getattr(module, "__all__", [key for key in own if not key.startswith("_")]):
            made = getattr(module, key)
            is_data = inspect.isclass(made) and is_dataclass(made) and made is not NormBall
            if (inspect.isfunction(made) or inspect.isclass(made)) and not is_data and not get_origin(made):
                yield f"{name}.{key}"


def test_every_public_function_and_class_is_called_wrongly() -> None:
    """Data classes are left out: the package makes them, and what comes from a file is checked by `from_dict`."""
    called = {".".join(row[0].split(".")[:2]) for row in CALLS}
    assert EXCUSED.keys() == set(public()) - called
    at_the_top = {name for name in art_mi.__all__ if not isinstance(getattr(art_mi, name), ModuleType)}
    assert at_the_top <= {name.split(".")[1] for name in public()} | {"MIEstimate", "RepresentationVulnerability"}


class Useless:
    """No number, text, array, collection, module or function."""

    def __repr__(self) -> str:
        return "Useless()"


INNER = {  # run on what others have checked, or hand on what is typed as a tensor, a module or a function
    "attacks.ascend": "objective move mask",
    "attacks.WorstCaseMIAttack.generate": "y",  # not read: it needs no labels
    "attacks.best_of": "objective candidates",
    "channels.draw_noise": "shape generator like",
    "channels.gaussian_parts": "draws nb_rows",
    "channels.gaussian_ratios": "draws",
    "channels.read_channel": "y generator",
    "channels.uniform_ratios": "draws",
    "critics.JointCritic": "x_encoder z_encoder",
    "critics.SumCritic": "x_features z_features weight",
    "estimation.default_critic": "x z",
    "estimation.fit_critic": "x z bound perturb progress",
    "estimation.read_bound": "critic x z index log_partition",
    "representations.encoder": "classifier",
    "representations.in_batches": "function x",
    "representations.named_layer": "model name",
    "representations.noisy_outputs": "classifier noise",
    "representations.representation": "classifier",
    "representations.watching": "model",
    "results.Flag": "names module qualname type start boundary",
}


def parameters() -> Iterator[tuple[str, str]]:
    """What can be given to each public function, class and method of the catalogue, but for `INNER`."""
    for dotted in sorted({row[0] for row in CALLS} | set(public()) - EXCUSED.keys()):
        for name, parameter in inspect.signature(found(dotted)).parameters.items():
            is_rest = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if not is_rest and name not in INNER.get(dotted, "").split():
                yield dotted, name


@pytest.mark.parametrize(("dotted", "argument"), list(parameters()))
def test_a_value_of_no_use_is_refused_by_name_whatever_it_is_given_for(
    dotted: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, arguments, as_found = found(dotted), {**good(dotted, argument), argument: Useless()}, state()
    with pytest.raises((TypeError, ValueError), match=rf"`{argument}`.* must .*got .*(Useless|object|shape \(\))"):
        run(call, arguments)
    assert state() == as_found
    assert not list(tmp_path.iterdir())


def test_the_catalogue_is_counted(tally: Callable[[str, str, int, str], None]) -> None:
    assert len(CALLS) >= 80
    tally(
        "The input", "wrong calls of public functions and classes", len(CALLS), "each refused by name, rule and value"
    )
