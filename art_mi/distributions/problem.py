"""The problem type: a sampler together with the information it is known to carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Sampler = Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray]]


def floats(name: str, values: ArrayLike) -> FloatArray:
    """Numbers as an array of 64 bits.

    :param name: What messages call them.
    :param values: Numbers.
    :raises TypeError: If they are none.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must hold numbers, got {values!r}.") from error


@dataclass(frozen=True)
class Problem:
    """A pair of random vectors whose mutual information is known.

    >>> from art_mi.distributions import problems
    >>> problem = next(p for p in problems() if p.name == "bivariate 0.5")
    >>> round(problem.mi, 4)
    0.1438
    >>> x, z = problem.sample(1000)
    >>> x.shape
    (1000, 1)

    :param name: A short name, unique in :func:`art_mi.distributions.problems`.
    :param mi: The true mutual information in nats.
    :param sampler: Draws `n` independent pairs from a NumPy generator.
    """

    name: str
    mi: float
    sampler: Sampler = field(repr=False, compare=False)

    def sample(self, n: int, random_state: int | np.random.Generator = 0) -> tuple[FloatArray, FloatArray]:
        """Draw independent pairs.

        :param n: Number of pairs, at least 1.
        :param random_state: Seed or NumPy generator; global state is never touched.
        :return: `x` of shape `(n, d_x)` and `z` of shape `(n, d_z)`, both float64.
        :raises ValueError: If `n` is not positive.
        """
        if n < 1:
            raise ValueError(f"`n` must be at least 1, got {n}.")
        x, z = self.sampler(n, np.random.default_rng(random_state))
        return _columns(x), _columns(z)

    def transformed(
        self,
        name: str,
        transform_x: Callable[[FloatArray], FloatArray] | None = None,
        transform_z: Callable[[FloatArray], FloatArray] | None = None,
    ) -> Problem:
        """The same information in other coordinates: injective maps of either side leave it unchanged.

        :param name: Name of the new problem.
        :param transform_x: Injective map of an array `(n, d_x)`; `None` leaves `x` as it is.
        :param transform_z: Injective map of an array `(n, d_z)`; `None` leaves `z` as it is.
        :return: The problem with transformed samples and the same `mi`.
        """

        def sampler(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
            x, z = self.sample(n, rng)
            return (
                x if transform_x is None else transform_x(x),
                z if transform_z is None else transform_z(z),
            )

        return Problem(name, self.mi, sampler)


def _columns(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values
