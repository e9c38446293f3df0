"""Packages that come with an extra of this one."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def optional(module: str, extra: str) -> Any:
    """A module of a package that is not always installed.

    :param module: Dotted name of the module.
    :param extra: Extra that installs its package.
    :raises ImportError: If the package is missing; a fault inside it shows as it is.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(f"`{package}` is not installed: pip install 'art-mi[{extra}]'.", name=package) from error
