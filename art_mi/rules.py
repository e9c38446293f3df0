"""Rules that arguments must keep: a wording and a test each. A breach names the argument, the rule and the value."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from numbers import Integral, Real
from typing import Any, TypeVar

Rule = tuple[str, Callable[[Any], bool]]
T = TypeVar("T")


def check(name: str, value: T, rule: Rule) -> T:
    """Refuse what breaks a rule.

    :param name: The argument's name.
    :param value: The value given for it.
    :param rule: Wording and test.
    :return: The value.
    :raises ValueError: If the test fails.
    """
    wording, holds = rule
    if not holds(value):
        raise ValueError(f"`{name}` must be {wording}, got {value!r}.")
    return value


def check_type(name: str, value: Any, kind: Any, wording: str) -> None:
    """Refuse what is of another type.

    :param name: The argument's name.
    :param value: The value given for it.
    :param kind: The type it must have.
    :param wording: What messages call that.
    :raises TypeError: If it has another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must be {wording}, got {type(value).__name__}.")


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


NUMBER: Rule = "a finite number", _finite
NON_NEGATIVE: Rule = "a non-negative number", lambda v: _finite(v) and v >= 0
POSITIVE: Rule = "a positive number", lambda v: _finite(v) and v > 0
PROPORTION: Rule = "a number between 0 and 1", lambda v: _finite(v) and 0 <= v <= 1
BOOLEAN: Rule = "True or False", lambda v: isinstance(v, bool)
TEXT: Rule = "a text", lambda v: isinstance(v, str)
FOLDER: Rule = "a folder, existing or new", lambda v: isinstance(v, str | os.PathLike) and not os.path.isfile(v)
PATH: Rule = "a path", lambda v: isinstance(v, str | os.PathLike)


def integer(least: int, most: float = math.inf) -> Rule:
    """An integer, numpy's included, Booleans not.

    :param least: Least allowed value.
    :param most: Largest allowed value.
    """
    wording = f"an integer of at least {least}" if most == math.inf else f"an integer from {least} to {most}"
    return wording, lambda v: not isinstance(v, bool) and isinstance(v, Integral) and least <= int(v) <= most


SEED: Rule = integer(0, 2**32 - 1)


def one_of(names: Collection[str]) -> Rule:
    """A name out of several.

    :param names: The names.
    """
    return f"one of {', '.join(map(repr, names))}", lambda v: isinstance(v, str) and v in names


def or_none(rule: Rule) -> Rule:
    """None, or what keeps another rule.

    :param rule: The other rule.
    """
    wording, holds = rule
    return f"None or {wording}", lambda v: v is None or holds(v)
