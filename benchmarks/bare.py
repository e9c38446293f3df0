"""The methods as loops of plain torch, without waste: what a trainer is compared with.

Attacks climb the cross-entropy where a trainer climbs the log odds: the signs of the two gradients are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div
from torch.optim import Optimizer

Step = Callable[[nn.Module, Tensor, Tensor], Tensor]


def fit(step: Step, model: nn.Module, optimizer: Optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Train on batches.

    :param step: The loss of a batch.
    :param model: Trained in place.
    :param optimizer: Of its weights.
    :param batches: Inputs and index labels.
    """
    model.train()
    for x, y in batches:
        loss = step(model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent in the l_inf norm and in [0, 1].

    :param eps: Radius.
    :param eps_step: Step size.
    :param max_iter: Number of steps.
    :param generator: Source of randomness.
    :param uniform: Start uniformly in the ball.
    :param start_std: Standard deviation of normal noise at the start.
    :param noise_std: Standard deviation of normal noise after each step.
    """

    eps: float
    eps_step: float
    max_iter: int
    generator: torch.Generator | None = None
    uniform: bool = False
    start_std: float = 0.0
    noise_std: float = 0.0

    def __call__(self, objective: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Inputs moved so that the objective, one number for the batch, rises."""
        low, high = (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)
        x_adv = torch.clamp(self._start(x), low, high)
        for _ in range(self.max_iter):
            x_adv.requires_grad_()
            (grad,) = torch.autograd.grad(objective(x_adv), x_adv)
            x_adv = x_adv.detach() + self.eps_step * grad.sign()
            if self.noise_std:
                x_adv += self.noise_std * self._normal(x)
            x_adv = torch.clamp(x_adv, low, high)
        return x_adv

    def _start(self, x: Tensor) -> Tensor:
        if self.uniform:
            return x + torch.empty_like(x).uniform_(-self.eps, self.eps, generator=self.generator)
        return x + self.start_std * self._normal(x) if self.start_std else x.clone()

    def _normal(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.generator, device=x.device)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without weight gradients, then training again."""
    model.eval().requires_grad_(False)
    yield
    model.train().requires_grad_(True)


def against_labels(attack: PGD, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The attack on the cross-entropy."""
    with frozen(model):
        return attack(lambda x_adv: cross_entropy(model(x_adv), y, reduction="sum"), x)


def madry(attack: PGD) -> Step:
    """Madry et al.: cross-entropy on adversarial inputs."""

    def step(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model(against_labels(attack, model, x, y)), y)

    return step


def trades(attack: PGD, beta: float = 6.0) -> Step:
    """TRADES: the attack climbs the divergence that is then minimised."""
    attack = replace(attack, start_std=0.001)

    def divergence(logits_adv: Tensor, log_p: Tensor) -> Tensor:
        return kl_div(logits_adv.log_softmax(1), log_p, reduction="sum", log_target=True)

    def step(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with frozen(model):
            with torch.no_grad():
                clean = model(x).log_softmax(1)
            x_adv = attack(lambda x_adv: divergence(model(x_adv), clean), x)
        logits, logits_adv = model(x), model(x_adv)
        return cross_entropy(logits, y) + beta * divergence(logits_adv, logits.log_softmax(1)) / len(x)

    return step


def mimae(attack: PGD, lamb: float = 0.4, beta: float = 1.0) -> Step:
    """MIMAE: boosted cross-entropy - lamb mutual information + beta distance of the logits."""
    attack = replace(attack, start_std=0.001)

    def step(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv = against_labels(attack, model, x, y)
        logits, logits_adv = model(x), model(x_adv)
        p, q = logits.softmax(1), logits_adv.softmax(1)
        rival = q.scatter(1, y[:, None], 0.0).amax(1)
        boosted = cross_entropy(logits_adv, y) - torch.log1p(-rival.clamp(max=1 - 1e-6)).mean()
        joint = p.T @ q / len(p)
        joint = ((joint + joint.T) / 2).clamp(min=1e-12)
        outer = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        information = (joint * (joint / outer).log()).sum()
        loss: Tensor = boosted - lamb * information + beta * (logits_adv - logits).abs().mean()
        return loss

    return step


def dale(attack: PGD, temperature: float, rho: float = 0.1, dual_lr: float = 0.1, device: str = "cpu") -> Step:
    """DALE with Langevin's sign attack: robust loss + nu clean loss, nu moved once a batch."""
    attack = replace(attack, noise_std=math.sqrt(2 * attack.eps_step * temperature))
    nu = torch.zeros((), device=device)

    def step(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        nonlocal nu
        x_adv = against_labels(attack, model, x, y)
        clean, robust = cross_entropy(model(x), y), cross_entropy(model(x_adv), y)
        loss = robust + nu * clean
        nu = (nu + dual_lr * (clean.detach() - rho)).clamp_(min=0)
        return loss

    return step
