"""Whatever an attack is given to climb, what it returns is finite, in the ball, in the box and of the inputs' kind.

Gradients and outputs of the networks are hostile: zero, NaN, infinite, the largest and the smallest numbers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_mi.attacks import LangevinMonteCarlo, MarginAttack, WorstCaseMIAttack, ascend, best_of, falling
from art_mi.threat import NormBall

CLASSES = 3
DTYPES = (torch.float16, torch.float32, torch.float64)
SHAPES = ((2, 1), (3, 2), (2, 7), (4, 40), (2, 1, 2, 2), (3, 2, 3, 1), (2, 3, 4, 4))
BOXES = ("none", "unit", "features", "samples", "huge", "thin", "denormal", "half")
SIZES = (
    5e-324,
    1e-45,
    1e-44,
    1e-39,
    6e-8,
    3e-7,
    1e-6,
    3e-6,
    8 / 255,
    0.3,
    1.0,
    1e3,
    6e4,
    1e10,
    1e30,
    1e38,
    3e38,
    1e300,
)
HOSTILE = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, -1e-40, 1e300, 1.0, -1.0, 0.3)

sizes = st.one_of(st.sampled_from(SIZES), st.floats(1e-45, 1e39))
palettes = st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=4)
cases = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(["inf", math.inf, 2, 1]),
        "eps": st.one_of(st.just(0.0), sizes),
        "eps_step": st.one_of(st.none(), sizes),
        "max_iter": st.integers(0, 3),
        "starts": st.integers(0, 2),
        "dtype": st.sampled_from(DTYPES),
        "shape": st.sampled_from(SHAPES),
        "box": st.sampled_from(BOXES),
        "mask": st.sampled_from(["none", "feature", "sample", "all", "number"]),
        "gradients": palettes,
        "outputs": st.one_of(st.just([]), palettes),
        "labelled": st.booleans(),
        "seed": st.integers(0, 2**31),
        "whole": st.sampled_from(["array", "tensor", "no"]),
        "langevin": st.fixed_dictionaries(
            {
                "temperature": st.one_of(st.just(0.0), sizes),
                "step": st.sampled_from(["sign", "gradient"]),
                "noise": st.sampled_from(["gaussian", "laplace"]),
                "potential": st.sampled_from(["log_error", "cross_entropy", "kl"]),
                "start_std": st.one_of(st.none(), st.just(0.0), sizes),
            }
        ),
        "bound": st.sampled_from(["donsker_varadhan", "nwj", "info_nce", "jensen_shannon"]),
    }
)


class Replaced(torch.autograd.Function):
    """Passes inputs on, and in place of their gradient returns another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(grad)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


class Hostile(nn.Module):
    """A linear map whose gradients, and where wanted some outputs, are drawn anew in each pass from a palette."""

    def __init__(self, case: dict[str, Any]) -> None:
        super().__init__()
        self.case, self.generator = case, torch.Generator().manual_seed(case["seed"])
        width = math.prod(case["shape"][1:])
        weight = torch.randn(width, CLASSES, generator=self.generator)
        self.weight = nn.Parameter(weight.to(case["dtype"]))

    def drawn(self, palette: list[float], like: Tensor) -> Tensor:
        values = torch.tensor(palette, dtype=torch.float64).to(like.dtype)
        return values[torch.randint(len(palette), like.shape, generator=self.generator)]

    def forward(self, x: Tensor) -> Tensor:
        x = Replaced.apply(x, self.drawn(self.case["gradients"], x))  # type: ignore[no-untyped-call]
        out = x.flatten(1) @ self.weight.to(x.dtype)
        if not self.case["outputs"]:
            return out.nan_to_num()
        spoilt = torch.rand(out.shape, generator=self.generator) < 0.3
        return torch.where(spoilt, self.drawn(self.case["outputs"], out), out)


class PairCritic(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return z.sum(1)[:, None] + x.flatten(1).sum(1)[None]


def box(case: dict[str, Any]) -> tuple[Any, Any] | None:
    """Clip values: numbers, one a feature or a sample's own shape, and at the ends of what a dtype holds.

    Those of ART's classifiers are of 32 bits; these are also numbers of 16 bits.
    """
    shape, info = case["shape"][1:], torch.finfo(torch.float16 if case["dtype"] is torch.float16 else torch.float32)
    channels = np.linspace(-0.25, 0.25, shape[0], dtype=np.float16).reshape(-1, *[1] * (len(shape) - 1))
    features = np.linspace(-2.0, 2.0, math.prod(shape), dtype=np.float16).reshape(shape)
    clips: dict[str, tuple[Any, Any] | None] = {
        "none": None,
        "unit": (0.0, 1.0),
        "features": (channels, channels + np.float16(0.7)),
        "samples": (features, features + np.float16(0.1)),
        "huge": (info.min, info.max),
        "thin": (1.0, 1.0 + 2 * info.eps),
        "denormal": (0.0, 50 * info.smallest_normal * info.eps),
        "half": (0.0, math.inf),
    }
    return clips[case["box"]]


def centres(case: dict[str, Any]) -> Tensor:
    """Points of the box, some on its faces, some at zero, some far out."""
    generator, dtype, info = torch.Generator().manual_seed(case["seed"]), case["dtype"], torch.finfo(case["dtype"])
    x = 3 * torch.rand(case["shape"], generator=generator, dtype=torch.float64) - 1
    x = x * (torch.rand(case["shape"], generator=generator) < 0.7)
    if case["seed"] % 4 == 0:
        x = x * (info.max / 2)
    low, high = (-math.inf, math.inf) if box(case) is None else box(case)
    low, high = (torch.as_tensor(v, dtype=dtype) for v in (low, high))
    return x.to(dtype).maximum(low).minimum(high)


def masks(case: dict[str, Any]) -> Any:
    shape, seed = case["shape"], case["seed"]
    drawn = np.random.default_rng(seed).random(shape) < 0.5
    return {"none": None, "feature": drawn[0], "sample": drawn, "all": np.zeros(shape[1:]), "number": 0.5 * drawn[0]}[
        case["mask"]
    ]


def classifier(case: dict[str, Any]) -> PyTorchClassifier:
    parts = {"input_shape": case["shape"][1:], "nb_classes": CLASSES, "clip_values": box(case), "device_type": "cpu"}
    return PyTorchClassifier(model=Hostile(case), loss=nn.CrossEntropyLoss(), **parts)


def attacked(made: Callable[..., Any], case: dict[str, Any], x: Tensor, **own: Any) -> Tensor:
    """By `generate`, where the case wants the whole and 32 bits can hold the inputs, or by `perturb`."""
    options = {"norm": case["norm"], "eps": case["eps"], "max_iter": case["max_iter"]}
    options |= {"num_random_init": case["starts"], "random_state": case["seed"], "batch_size": 2, "verbose": False}
    if case["eps_step"] is not None:
        options["eps_step"] = case["eps_step"]
    attack = made(classifier(case), **options, **own)
    y = torch.arange(len(x)) % CLASSES if case["labelled"] else None
    mask = masks(case)
    if case["whole"] == "array" and torch.isfinite(x.float()).all():
        return torch.from_numpy(attack.generate(x.numpy(), None if y is None else y.numpy(), mask=mask))
    if case["whole"] == "tensor" and torch.isfinite(x.float()).all():
        generated: Tensor = attack.generate(x, y, mask=mask)
        return generated
    found: Tensor = attack.perturb(x, y, mask=None if mask is None else torch.as_tensor(mask))
    return found


def by_ascent(case: dict[str, Any], x: Tensor) -> Tensor:
    network, ball = Hostile(case), NormBall(case["norm"], case["eps"], box(case))
    mask, generator = masks(case), torch.Generator().manual_seed(case["seed"])
    step = falling(case["eps"], max(1, case["max_iter"])) if case["eps_step"] is None else case["eps_step"]

    def objective(x_adv: Tensor) -> Tensor:
        value = network(x_adv).sum(1)
        return value.sum() if case["labelled"] else value

    def run() -> Tensor:
        start = ball.random_start(x, generator) if case["starts"] else None
        kept = None if mask is None else torch.as_tensor(mask)
        return ascend(objective, x, ball, eps_step=step, max_iter=case["max_iter"], start=start, mask=kept)

    return best_of(objective, (run() for _ in range(max(1, case["starts"]))))


def by_langevin(case: dict[str, Any], x: Tensor) -> Tensor:
    own = dict(case["langevin"])
    own["noise"] = "gaussian" if own["step"] == "gradient" else own["noise"]
    return attacked(LangevinMonteCarlo, case, x, **own)


def by_margin(case: dict[str, Any], x: Tensor) -> Tensor:
    return attacked(MarginAttack, case, x, confidence=1.0)


def by_noisy_information(case: dict[str, Any], x: Tensor) -> Tensor:
    return attacked(WorstCaseMIAttack, case, x, sigma=0.5)


def by_critic(case: dict[str, Any], x: Tensor) -> Tensor:
    return attacked(WorstCaseMIAttack, case, x, critic=PairCritic(), bound=case["bound"])


ATTACKS = {
    "ascend": by_ascent,
    "LangevinMonteCarlo": by_langevin,
    "MarginAttack": by_margin,
    "WorstCaseMIAttack behind noise": by_noisy_information,
    "WorstCaseMIAttack with a critic": by_critic,
}


def lengths(moved: np.ndarray[Any, Any], norm: float) -> np.ndarray[Any, Any]:
    """Norms of rows in extended precision, scaled first: squares of tiny and huge moves under- or overflow."""
    moved = np.abs(moved).reshape(len(moved), -1)
    largest = np.maximum(moved.max(1), np.finfo(np.longdouble).tiny)
    scaled = moved / largest[:, None]
    return ((scaled**norm).sum(1) ** (1 / np.longdouble(norm))) * largest


def assert_allowed(x_adv: Tensor, x: Tensor, case: dict[str, Any]) -> None:
    """Finite, in ball, box and mask, of the same shape, dtype and device.

    In l_inf the difference, in the inputs' dtype, is at most the radius in it. Other norms are sums that stay below the
    radius, but for the smallest number of float64, in which they are made.
    """
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device)
    assert not x_adv.requires_grad
    assert torch.isfinite(x_adv).all()
    norm = float(case["norm"])
    if norm == math.inf:
        assert ((x_adv - x).abs() <= torch.tensor(case["eps"], dtype=x.dtype)).all()
    else:
        moved = x_adv.numpy().astype(np.longdouble) - x.numpy().astype(np.longdouble)
        rounding = 1 + 100 * np.finfo(np.longdouble).eps
        assert (lengths(moved, norm) <= (np.longdouble(case["eps"]) + 5e-324) * rounding).all()
    if case["eps"] == 0:
        assert torch.equal(x_adv, x)
    if (clip := box(case)) is not None:
        low, high = (torch.as_tensor(v, dtype=x.dtype) for v in clip)
        assert (low <= x_adv).all()
        assert (x_adv <= high).all()
    if (mask := masks(case)) is not None:
        fixed = torch.as_tensor(mask == 0).broadcast_to(x.shape)
        assert torch.equal(x_adv[fixed], x[fixed])


@pytest.mark.parametrize("nb_cases", [60, pytest.param(4_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ATTACKS)
def test_perturbed_inputs_are_finite_and_allowed_whatever_is_climbed(name: str, nb_cases: int, tally: Any) -> None:
    tried = 0

    @settings(max_examples=nb_cases, deadline=None, derandomize=True, print_blob=True, database=None)
    @given(cases)
    def every(case: dict[str, Any]) -> None:
        nonlocal tried
        tried += 1
        x = centres(case)
        before = x.clone()
        found = ATTACKS[name](case, x)
        assert_allowed(found, x, case)
        assert torch.equal(x, before)

    every()
    assert tried >= nb_cases
    tally("The perturbation", f"hostile gradients, {name}", tried, "finite, in ball and box, same dtype and device")
