"""What results share: they are frozen, and plain JSON values carry them whole, there and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cattrs import Converter, transform_error

from art_mi.rules import PATH, check, or_none

if TYPE_CHECKING:
    from typing_extensions import Self

NOT_STORED = {"stored": False}  # metadata of fields that stay in memory

_CONVERTER = Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(float, lambda value, _: float(value))  # also "inf"
_CONVERTER.register_structure_hook_func(
    lambda kind: getattr(kind, "__origin__", None) is np.ndarray, lambda value, _: np.asarray(value)
)


class Result:
    """A frozen dataclass of numbers with everything needed to judge them. Reports read it and never recompute."""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON; what stays in memory only, as bootstrap replicates, is left out."""
        content: dict[str, Any] = _plain(self)
        return content

    def to_json(self, path: str | Path | None = None) -> str:
        """JSON text of :meth:`to_dict`, written to `path` where one is given.

        :param path: File to write, None for none.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        written(f"{text}\n", path)
        return text

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """The result that :meth:`to_dict` was called on, but for what it leaves out.

        :param content: What it returned.
        :raises ValueError: If that is no such result; the message says where.
        """
        if not isinstance(content, Mapping):
            kind = type(content).__name__
            raise ValueError(f"`content` must be a {cls.__name__} as `to_dict` gives it, got a {kind}.")
        try:
            return _CONVERTER.structure(content, cls)
        except Exception as error:  # cattrs wraps whatever the wrong value raised
            faults = "; ".join(transform_error(error, path=cls.__name__)[:3])
            raise ValueError(f"`content` must be a {cls.__name__} as `to_dict` gives it, got {faults}.") from error


def written(text: str, path: str | Path | None) -> str:
    """A text, in a file too where one is given.

    :param text: Any text.
    :param path: File to write, None for none.
    :return: The text.
    """
    check("path", path, or_none(PATH))
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        stored = [field.name for field in fields(value) if field.metadata.get("stored", True)]
        return {name: _plain(getattr(value, name)) for name in stored}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity; norm=inf is the usual case
    return value
