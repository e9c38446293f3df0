"""Bounds on mutual information: pure functions from a score matrix to a scalar in nats.

A score matrix holds the value T(x_i, z_j) of a critic in row i and column j: joint pairs on the diagonal, independent
pairs everywhere else. A stack of matrices `(..., n, n)` is read as one sample, its negatives pooled. The negatives are
taken by selection; a mask by multiplication would leave exp(0) = 1 on the diagonal of the partition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from art_mi.rules import POSITIVE, Rule, check, check_type

# exp is continued by its tangent from here: float32 stays finite, forward and backward, for any score that can occur
_LARGEST_EXPONENT = 60.0
RATE: Rule = "a number above 0, at most 1", lambda v: POSITIVE[1](v) and v <= 1


def split_pairs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Joint and independent pairs of a score matrix.

    >>> import torch
    >>> from art_mi.bounds import split_pairs
    >>> positives, negatives = split_pairs(torch.arange(9.0).view(3, 3))
    >>> positives
    tensor([0., 4., 8.])
    >>> negatives
    tensor([[1., 2., 3.],
            [5., 6., 7.]])

    :param scores: Critic scores of shape `(n, n)`, or a stack `(..., n, n)`, joint pairs on the diagonal.
    :return: The diagonal `(..., n)` and all other entries `(..., n - 1, n)`, in the order they are stored.
    :raises ValueError: If `scores` is not square with `n >= 2`.
    """
    check_type("scores", scores, Tensor, "a tensor")
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or scores.shape[-1] < 2:
        raise ValueError(f"`scores` must be square with at least 2 rows, got shape {tuple(scores.shape)}.")
    n = scores.shape[-1]
    # Without the last entry, rows of length n + 1 start on the diagonal
    negatives = scores.flatten(-2)[..., :-1].unflatten(-1, (n - 1, n + 1))[..., 1:]
    return scores.diagonal(dim1=-2, dim2=-1), negatives


def donsker_varadhan(scores: Tensor) -> Tensor:
    """The Donsker-Varadhan bound, E[T+] - log E[exp T-].

    Tight at T = log p(x, z) / (p(x) p(z)) + c for any c, and invariant to adding a constant. On finitely many pairs the
    logarithm of a mean is biased down, so the value is biased up; the variance of the partition grows like exp(I) / n.

    | Paper link: https://arxiv.org/abs/1801.04062 (equation 10)

    >>> import torch
    >>> from art_mi.bounds import donsker_varadhan
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> donsker_varadhan(scores), donsker_varadhan(scores + 5)
    (tensor(2.), tensor(2.))

    :param scores: Critic scores of shape `(n, n)`, or a stack `(..., n, n)`, joint pairs on the diagonal.
    :return: Scalar in nats; exactly 0 for a constant critic.
    :raises ValueError: If `scores` is not square with `n >= 2`.
    """
    positives, negatives = split_pairs(scores)
    shift = negatives.detach().amax()
    return (positives - shift).mean() - (negatives - shift).exp().mean().log()


def nwj(scores: Tensor) -> Tensor:
    """The bound of Nguyen, Wainwright and Jordan, E[T+] - E[exp T-] + 1, tight at T = log p(x, z) / (p(x) p(z)).

    Unbiased on held-out pairs, so that its expectation there is a bound at any number of them; its variance is the
    largest of all. Not invariant to constants. The published form f-GAN KL is this one at T - 1.

    | Paper link: https://arxiv.org/abs/0809.0853

    >>> import torch
    >>> from art_mi.bounds import nwj
    >>> nwj(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    tensor(2.)

    :param scores: Critic scores of shape `(n, n)`, or a stack `(..., n, n)`, joint pairs on the diagonal.
    :return: Scalar in nats; exactly 0 for the zero critic.
    :raises ValueError: If `scores` is not square with `n >= 2`.
    """
    positives, negatives = split_pairs(scores)
    below = negatives.clamp(max=_LARGEST_EXPONENT)
    return positives.mean() - (below.exp() * (1.0 + negatives - below)).mean() + 1.0


def info_nce(scores: Tensor) -> Tensor:
    """The InfoNCE bound: mean log-softmax of the diagonal along rows, plus log n.

    A lower bound of low variance that never exceeds log n: saturated, hence too low, when the information is near it.

    | Paper link: https://arxiv.org/abs/1807.03748 (equation 4)

    >>> import torch
    >>> from art_mi.bounds import info_nce
    >>> info_nce(100 * torch.eye(4))  # saturated at log 4
    tensor(1.3863)

    :param scores: Critic scores of shape `(n, n)`, or a stack `(..., n, n)`, joint pairs on the diagonal.
    :return: Scalar in nats, at most log n; exactly 0 for a constant critic.
    :raises ValueError: If `scores` is not square with `n >= 2`.
    """
    positives, _ = split_pairs(scores)
    shift = scores.detach().amax(dim=-1)
    return (positives - shift - (scores - shift[..., None]).exp().mean(dim=-1).log()).mean()


def jensen_shannon(scores: Tensor) -> Tensor:
    """The Jensen-Shannon objective, E[-softplus(-T+)] - E[softplus(T-)] + 2 log 2.

    An objective to train a critic with, NOT an information value: it estimates twice a Jensen-Shannon divergence and
    never exceeds 2 log 2. Its optimum is the same log density ratio, on which another bound can be read.

    | Paper link: https://arxiv.org/abs/1808.06670 (equation 4)

    >>> import torch
    >>> from art_mi.bounds import jensen_shannon
    >>> abs(float(jensen_shannon(torch.zeros(3, 3)))) < 1e-6
    True

    :param scores: Critic scores of shape `(n, n)`, or a stack `(..., n, n)`, joint pairs on the diagonal.
    :return: Scalar, 0 for the zero critic up to rounding.
    :raises ValueError: If `scores` is not square with `n >= 2`.
    """
    positives, negatives = split_pairs(scores)
    return 2.0 * math.log(2.0) - softplus(-positives).mean() - softplus(negatives).mean()


class MovingAverageDV:
    """Donsker-Varadhan with the moving-average gradient of MINE.

    The value is that of :func:`donsker_varadhan`; in its gradient the partition of the batch is replaced by an
    exponential moving average over batches, kept in logarithms, which takes most of the bias of small batches away.

    | Paper link: https://arxiv.org/abs/1801.04062 (equation 12)

    >>> import torch
    >>> from art_mi.bounds import MovingAverageDV
    >>> bound = MovingAverageDV(rate=0.1)
    >>> bound(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    tensor(2.)

    :param rate: Weight of the newest batch in the average, in (0, 1].
    :raises ValueError: If `rate` is outside (0, 1].
    """

    def __init__(self, rate: float = 0.05) -> None:
        self.rate = check("rate", rate, RATE)
        self.log_partition: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """Update the average with these scores and return the bound.

        :param scores: Critic scores of shape `(n, n)`, joint pairs on the diagonal.
        :return: Scalar in nats with the moving-average gradient.
        :raises ValueError: If `scores` is not square with `n >= 2`.
        """
        positives, negatives = split_pairs(scores)
        value = donsker_varadhan(scores.detach())
        shift = negatives.detach().amax()
        log_partition = (negatives - shift).exp().mean().log() + shift
        newest = log_partition.detach()
        if self.log_partition is None or self.rate == 1.0:
            self.log_partition = newest
        else:
            kept = self.log_partition.to(newest) + math.log1p(-self.rate)
            self.log_partition = torch.logaddexp(kept, newest + math.log(self.rate))
        # d exp(L - A) = E[exp(T-) dT-] / exp(A), and A holds `rate` of the newest, so the ratio is at most 1 / rate
        surrogate = positives.mean() - (log_partition - self.log_partition).exp()
        return value + (surrogate - surrogate.detach())


BOUNDS = {"donsker_varadhan": donsker_varadhan, "nwj": nwj, "info_nce": info_nce}
OBJECTIVES = {**BOUNDS, "jensen_shannon": jensen_shannon}  # what critics may climb; the last is no bound
