"""A training step with the papers' critic: ours against that of the published procedure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from art_mi.attacks.ascent import ascend
from art_mi.attacks.information import critic_information
from art_mi.critics import LocalCritic
from art_mi.fitting import fit_critic
from art_mi.randomness import isolated_randomness
from art_mi.splits import Split
from art_mi.threat import NormBall
from benchmarks.published import published
from benchmarks.timing import Row, Settings, Variant, interleaved

OURS, PUBLISHED = "ours", "published"
EPS, EPS_STEP, ATTACK_STEPS = 0.1, 0.03, 7
STEP_GOAL = 0.65


def rows(settings: Settings) -> Iterator[Row]:
    """Small and wide critics on two encoders, and the papers' width on one."""
    if settings.quick:
        yield from _steps(settings, "small CNN", width=8, steps=1, batch=8)
        return
    settings = replace(settings, threads=settings.threads[:1])
    for encoder in ENCODERS:
        for width in (64, 256):
            yield from _steps(settings, encoder, width=width, steps=256 // width)
    yield from _steps(settings, "small CNN", width=2048, steps=1)


def _steps(settings: Settings, encoder: str, *, width: int, steps: int, batch: int = 128) -> Iterator[Row]:
    device = torch.device(settings.device)
    with isolated_randomness(0, device):
        model = ENCODERS[encoder]().to(device).eval()
        x = torch.rand((steps * batch + 2, 1, 28, 28), device=device)
        variants = {
            OURS: _our_steps(model, x, width, steps, batch),
            PUBLISHED: _published_steps(model, x, width, steps, batch),
        }
    setting = (
        f"{encoder}, {sum(p.numel() for p in model.parameters()):,} parameters, 28 x 28, width {width}, batch {batch}, "
        f"{ATTACK_STEPS} attack steps through g(x') only, {steps} training steps a round; ours one bound of mean "
        "scores over positions, theirs the mean of a bound at each; no validation in either"
    )
    for times in interleaved(variants, settings):
        yield times.row("estimator step with the papers' critic", setting, OURS, PUBLISHED, STEP_GOAL)


def _published_steps(model: nn.Module, x: Tensor, width: int, steps: int, batch: int) -> Variant:
    procedure = published(model, x, width=width, eps=EPS, eps_step=EPS_STEP, lr=1e-4)
    return lambda: procedure.fit(x[: steps * batch].split(batch))


def _our_steps(model: nn.Module, x: Tensor, width: int, steps: int, batch: int) -> Variant:
    """:func:`fit_critic` as the metric calls it, but for two select samples that nobody attacks."""
    with torch.no_grad():
        z = model(x)
    critic = LocalCritic(1, z.shape[1], width=width).to(x.device)
    order = torch.arange(len(x))
    split = Split(fit=order[:-2], select=order[-2:], report=order[:0])
    ball = NormBall("inf", EPS, clip_values=(0.0, 1.0))

    def perturb(index: Tensor, current: nn.Module) -> tuple[Tensor, Tensor]:
        clean = x[index]
        if len(index) < batch:
            return clean, z[index]
        objective = critic_information(model, current, clean, detach_input=True)
        x_adv = ascend(objective, clean, ball, eps_step=EPS_STEP, max_iter=ATTACK_STEPS)
        with torch.no_grad():
            return x_adv, model(x_adv)

    def run() -> None:
        fit_critic(critic, x, z, split, max_steps=steps, batch_size=batch, lr=1e-4, perturb=perturb)

    return run


def _small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def _mlp() -> nn.Module:
    width = 1240
    hidden = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 400), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(400, 10))


ENCODERS: dict[str, Callable[[], nn.Module]] = {"small CNN": _small_cnn, "MLP": _mlp}
