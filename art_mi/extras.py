"""Packages that come with an extra of this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


class MissingExtraError(ImportError):
    """A package of an extra is not installed."""


@contextmanager
def needing(package: str, extra: str) -> Iterator[None]:
    """Imports of a package that is not always installed stand inside.

    :param package: Name of the package.
    :param extra: Extra that installs it.
    :raises MissingExtraError: If the package is missing; a fault inside it shows as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        text = f"`{package}` is not installed: pip install 'art-mi[{extra}]'."
        raise MissingExtraError(text, name=package) from error


def optional(module: str, extra: str) -> Any:
    """A module of a package that is not always installed.

    :param module: Dotted name of the module.
    :param extra: Extra that installs its package.
    :raises MissingExtraError: If the package is missing; a fault inside it shows as it is.
    """
    with needing(module.partition(".")[0], extra):
        return import_module(module)
