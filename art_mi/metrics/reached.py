"""Which codes samples were seen to take: those of clean inputs, and others that attacks met on the way."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_MET = 1024  # codes of no clean input that are kept


def keys_of(codes: Tensor) -> Tensor:
    """One integer a code: a code of one integer is its own key.

    :param codes: Integer codes of shape `(n, k)`.
    :return: Shape `(n,)`.
    """
    if codes.shape[1] == 1:
        return codes[:, 0]
    # Sums with random weights, modulo 2^64: two codes share one with a probability of about 2^-64
    weights = torch.randint(-(2**63), 2**63 - 1, codes.shape[1:], generator=torch.Generator().manual_seed(0))
    return (codes * weights.to(codes.device)).sum(1)


class Reached:
    """Which codes each sample was seen to take.

    Where codes have many bits an attack may meet a new one at nearly every step. Those of clean inputs are all kept,
    of the others the 1,024 that most samples met: a code lowers the entropy by gathering samples, and one that a single
    sample meets is of no use. `nb_left_out` counts how often one that several had met was left out.

    :param keys: Keys of the codes of clean inputs, shape `(K,)`.
    :param clean: Number of each sample's clean code, shape `(n,)`.
    """

    def __init__(self, keys: NDArray[np.int64], clean: NDArray[np.intp]) -> None:
        self.keys = keys
        self.seen: NDArray[np.bool_] = clean[:, None] == np.arange(len(keys))
        self.nb_clean = len(keys)
        self.nb_left_out = 0

    def add(self, met: NDArray[np.int64]) -> None:
        """Count what all samples met in an attack.

        :param met: Keys of shape `(steps, n)`.
        """
        met = np.sort(met, axis=0)
        first = np.vstack([np.ones_like(met[:1], dtype=bool), met[1:] != met[:-1]])  # of a sample's equal keys
        samples = np.nonzero(first)[1]
        keys, which, counts = np.unique(met[first], return_inverse=True, return_counts=True)
        new = np.flatnonzero(~np.isin(keys, self.keys))
        most = new[self._largest(counts[new])]
        self.keys = np.concatenate([self.keys, keys[most]])
        self.seen = np.pad(self.seen, ((0, 0), (0, len(most))))
        numbers = {key: number for number, key in enumerate(self.keys.tolist())}
        columns = np.array([numbers.get(key, -1) for key in keys.tolist()])[which]
        self.seen[samples[columns >= 0], columns[columns >= 0]] = True
        others = self._largest(self.seen[:, self.nb_clean :].sum(axis=0))
        kept = np.concatenate([np.arange(self.nb_clean), self.nb_clean + np.sort(others)])
        self.keys, self.seen = self.keys[kept], self.seen[:, kept]

    def _largest(self, counts: NDArray[np.intp]) -> NDArray[np.intp]:
        order = np.argsort(-counts, kind="stable")
        self.nb_left_out += int((counts[order[MOST_MET:]] > 1).sum())
        return order[:MOST_MET]
