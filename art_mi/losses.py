"""Losses of the defences: pure functions of logits, exact in log space, so that saturated networks keep their gradient.

Values are one a sample, shape `(n,)`, unless the quantity belongs to the batch. Plain cross-entropy is torch's own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import kl_div, logsigmoid

from art_mi.rules import BOOLEAN, check, check_type, one_of


def log_error_probability(logits: Tensor, y: Tensor) -> Tensor:
    """log(1 - p_y), the potential that DALE's sampler climbs.

    As 1 - p_y is the logistic function of minus the log odds of p_y, neither value nor gradient is lost when p_y rounds
    to 1. The gradient points along that of the cross-entropy, p_y / (1 - p_y) times as long.

    | Paper link: https://arxiv.org/abs/2110.15767 (algorithm 1)

    >>> import torch
    >>> from art_mi.losses import log_error_probability
    >>> log_error_probability(torch.tensor([[0.0, 0.0], [100.0, 0.0]]), torch.tensor([0, 0]))
    tensor([  -0.6931, -100.0000])

    :param logits: Logits f of shape `(n, C)`, C at least 2.
    :param y: Index labels of shape `(n,)`.
    :return: Values of shape `(n,)` in nats, at most 0.
    :raises ValueError: If a shape breaks its rule.
    """
    return logsigmoid(-log_odds(logits, y))


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """The log odds of y: log p_y - log(1 - p_y) = f_y - log sum_{k != y} exp f_k.

    Falls where the cross-entropy and the error probability rise, and its gradient never vanishes.

    >>> import torch
    >>> from art_mi.losses import log_odds
    >>> log_odds(torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
    tensor([2.])

    :param logits: Logits f of shape `(n, C)`, C at least 2.
    :param y: Index labels of shape `(n,)`.
    :return: Values of shape `(n,)` in nats.
    :raises ValueError: If a shape breaks its rule.
    """
    _check(logits, y)
    odds: Tensor = _LogOdds.apply(logits, y[:, None])
    return odds


class _LogOdds(torch.autograd.Function):
    """Differentiated by hand, as attacks do little else after the network: (y = k) - softmax over the other classes."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> Tensor:
        others = logits.scatter(1, index, -math.inf)
        ctx.save_for_backward(others, index)
        return (logits.gather(1, index) - others.logsumexp(1, keepdim=True)).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        others, index = ctx.saved_tensors
        return others.softmax(1).neg_().scatter_(1, index, 1.0).mul_(grad[:, None]), None


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y - log(1 - max_{k != y} p_k): cross-entropy, and a margin to the strongest wrong class.

    Exact; the published code of MART adds 1e-4 to the second probability instead, which bounds the loss.

    | Paper link: https://proceedings.mlr.press/v157/atsague21a.html (equation 10)
    | Code link: https://github.com/YisenWang/MART

    >>> import torch
    >>> from art_mi.losses import boosted_cross_entropy
    >>> boosted_cross_entropy(torch.zeros(1, 2), torch.tensor([0]))  # 2 log 2
    tensor([1.3863])

    :param logits: Logits f of shape `(n, C)`, C at least 2.
    :param y: Index labels of shape `(n,)`.
    :return: Values of shape `(n,)` in nats, at least 0.
    :raises ValueError: If a shape breaks its rule.
    """
    _check(logits, y)
    rival = logits.detach().scatter(1, y[:, None], -math.inf).argmax(1)
    return -logsigmoid(log_odds(logits, y)) - log_error_probability(logits, rival)


def kl_divergence(logits_adv: Tensor, logits: Tensor) -> Tensor:
    """KL(p || p') of each sample, p the prediction for the clean and p' that for the adversarial input.

    The order is that of TRADES' published code. Both sides carry a gradient.

    | Paper link: https://arxiv.org/abs/1901.08573
    | Code link: https://github.com/yaodongyu/TRADES

    >>> import torch
    >>> from art_mi.losses import kl_divergence
    >>> logits = torch.tensor([[1.0, 0.0]])
    >>> kl_divergence(logits, logits), kl_divergence(-logits, logits)
    (tensor([0.]), tensor([0.4621]))

    :param logits_adv: Logits for the adversarial inputs, shape `(n, C)`.
    :param logits: Logits for the clean inputs, shape `(n, C)`.
    :return: Values of shape `(n,)` in nats, at least 0.
    :raises ValueError: If the shapes differ.
    """
    _check_alike(logits_adv, logits)
    return kl_div(logits_adv.log_softmax(1), logits.log_softmax(1), reduction="none", log_target=True).sum(1)


def mart_regulariser(logits_adv: Tensor, logits: Tensor, y: Tensor) -> Tensor:
    """KL(p || p') (1 - p_y): consistency, weighted by the probability that the clean input is misclassified.

    | Code link: https://github.com/YisenWang/MART

    >>> import torch
    >>> from art_mi.losses import mart_regulariser
    >>> logits = torch.tensor([[1.0, 0.0]])
    >>> mart_regulariser(-logits, logits, torch.tensor([0]))
    tensor([0.1243])

    :param logits_adv: Logits for the adversarial inputs, shape `(n, C)`, C at least 2.
    :param logits: Logits for the clean inputs, shape `(n, C)`.
    :param y: Index labels of shape `(n,)`.
    :return: Values of shape `(n,)` in nats, at least 0.
    :raises ValueError: If a shape breaks its rule.
    """
    return kl_divergence(logits_adv, logits) * log_error_probability(logits, y).exp()


def logit_distance(logits_adv: Tensor, logits: Tensor, *, order: str = "mae", reduction: str = "mean") -> Tensor:
    """Absolute or squared difference of two samples' logits.

    MIMAE's equation 11 prints the sum over the classes, its title says mean. The mean is the default: with the printed
    weight 1 the sum, C times as large, outweighs the other terms.

    | Paper link: https://proceedings.mlr.press/v157/atsague21a.html (equation 11, table 10)

    >>> import torch
    >>> from art_mi.losses import logit_distance
    >>> logits, logits_adv = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.5]])
    >>> logit_distance(logits_adv, logits), logit_distance(logits_adv, logits, reduction="sum")
    (tensor([0.7500]), tensor([1.5000]))

    :param logits_adv: Logits for the adversarial inputs, shape `(n, C)`.
    :param logits: Logits for the clean inputs, shape `(n, C)`.
    :param order: `"mae"` for absolute, `"mse"` for squared differences.
    :param reduction: `"mean"` or `"sum"` over the classes.
    :return: Values of shape `(n,)`, at least 0.
    :raises ValueError: If the shapes differ or an option is unknown.
    """
    _check_alike(logits_adv, logits)
    check("order", order, one_of(("mae", "mse")))
    check("reduction", reduction, one_of(("mean", "sum")))
    difference = logits_adv - logits
    distance = difference.abs() if order == "mae" else difference.square()
    return distance.mean(1) if reduction == "mean" else distance.sum(1)


def class_mutual_information(p: Tensor, q: Tensor, *, symmetric: bool = True) -> Tensor:
    """Mutual information of the classes predicted for clean and adversarial inputs, under P = mean_i p_i q_i^T.

    A quantity of the batch: log C where the predictions agree, are certain and balanced, 0 where they collapse onto one
    class or, without symmetry, are independent of each other. The paper says that P "can be" replaced by (P + P^T) / 2.
    That is the default: without it any constant permutation of the classes scores as high as agreement, with it still
    one that swaps classes in pairs. With it the value is 0 only where predictions are alike on average too, biased up
    on small batches, and not 0 on a batch of one.

    | Paper link: https://proceedings.mlr.press/v157/atsague21a.html (equations 13 and 14)
    | Paper link: https://arxiv.org/abs/1807.06653

    >>> import torch
    >>> from art_mi.losses import class_mutual_information
    >>> class_mutual_information(torch.eye(2), torch.eye(2))  # log 2: certain, balanced, in agreement
    tensor(0.6931)
    >>> uncertain = torch.full((2, 2), 0.5)
    >>> abs(float(class_mutual_information(uncertain, uncertain))) < 1e-6
    True

    :param p: Probabilities of shape `(n, C)` for the clean inputs, rows that sum to 1.
    :param q: Probabilities of shape `(n, C)` for the adversarial inputs.
    :param symmetric: Whether to symmetrise P.
    :return: Scalar in nats, between 0 and log C.
    :raises ValueError: If the shapes differ.
    """
    check("symmetric", symmetric, BOOLEAN)
    _check_alike(p, q, ("p", "q"))
    joint = p.T @ q / len(p)
    if symmetric:
        joint = (joint + joint.T) / 2
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    return (joint * (_log(joint) - _log(rows) - _log(columns))).sum()


def _log(p: Tensor) -> Tensor:
    """Logarithm that is finite at 0, with gradient 0 there."""
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def _check(logits: Tensor, y: Tensor) -> None:
    for name, value in (("logits", logits), ("y", y)):
        check_type(name, value, Tensor, "a tensor")
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"`logits` must have shape (n, C) with at least 2 classes, got {tuple(logits.shape)}.")
    if y.shape != logits.shape[:1]:
        raise ValueError(f"`y` must hold one index a row of `logits`, got {tuple(y.shape)} for {len(logits)} rows.")
    if y.dtype != torch.int64:
        raise TypeError(f"`y` must hold indices of torch.int64, got {y.dtype}.")


def _check_alike(one: Tensor, other: Tensor, names: tuple[str, str] = ("logits_adv", "logits")) -> None:
    for name, value in zip(names, (one, other), strict=True):
        check_type(name, value, Tensor, "a tensor")
    if one.ndim != 2 or one.shape != other.shape or not len(one):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must share a shape (n, C) with n at least 1, got "
            f"{tuple(one.shape)} and {tuple(other.shape)}."
        )
