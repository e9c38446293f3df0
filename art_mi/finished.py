"""What long work has finished is kept in a folder, so that a second call goes on from there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_mi.files import replace_file, writing_alone

if TYPE_CHECKING:
    from art.estimators.classification import PyTorchClassifier

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@contextmanager
def claimed(folder: str | Path | None) -> Iterator[None]:
    """Keep other runs and measurements out of the folder where finished parts are kept; of None, nothing.

    :param folder: Created where missing, and removed again where nothing came into it.
    :raises TypeError: If it is no path.
    :raises ValueError: If another run is writing to it.
    """
    out = _path(folder)
    if out is None:
        yield
        return
    was_there = out.exists()
    try:
        with writing_alone(out):
            yield
    finally:
        if not was_there:
            with suppress(OSError):  # of a folder that is not empty
                out.rmdir()


def _path(folder: str | Path | None) -> Path | None:
    if not isinstance(folder, str | Path | None):
        raise TypeError(f"`out` must be a folder, got {type(folder).__name__}.")
    return None if folder is None else Path(folder)


class Finished:
    """Finished parts of one piece of work by name: a JSON file each, under `finished` in a folder.

    A part that other weights, data or settings gave, or whose file is damaged, counts as not finished.
    """

    def __init__(self, folder: str | Path | None, fingerprint: str) -> None:
        """Open what was finished.

        :param folder: Where parts are kept, created by the first of them; None keeps nothing.
        :param fingerprint: Of the work, from :func:`fingerprint`.
        :raises TypeError: If the folder is no path.
        """
        out = _path(folder)
        self.folder = None if out is None else out / "finished"
        self.fingerprint = fingerprint

    def get(self, name: str) -> dict[str, Any] | None:
        """A finished part.

        :param name: Its name.
        :return: What :meth:`put` was given; None if it is not finished.
        """
        if self.folder is None:
            return None
        try:
            kept = json.loads(self._path(name).read_text(encoding="utf-8"))
            intact = kept.pop("digest") == content_digest(json.dumps(kept))
            found: dict[str, Any] | None = kept["part"] if intact and kept["fingerprint"] == self.fingerprint else None
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def put(self, name: str, part: Mapping[str, Any]) -> None:
        """Keep a finished part; its file is replaced whole or not at all.

        :param name: Its name.
        :param part: Values that JSON has, as a result's `to_dict` gives them.
        :raises TypeError: If a value is none of these.
        :raises ValueError: If a number is not finite.
        """
        content = {"name": name, "fingerprint": self.fingerprint, "part": dict(part)}
        content["digest"] = content_digest(json.dumps(content))
        text = json.dumps(content, indent=2, allow_nan=False)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._path(name), f"{text}\n".encode())

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:60]
        return self.folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"


def content_digest(text: str, tensors: Mapping[str, Any] | None = None) -> str:
    """By which damage to a file is noticed.

    :param text: What it holds.
    :param tensors: What else it holds: tensors or arrays, of which name, type, shape and every bit count.
    :return: 64 hexadecimal digits.
    """
    digest = hashlib.sha256(text.encode())
    for name, value in sorted((tensors or {}).items()):
        _add(digest, name, value)
    return digest.hexdigest()


def fingerprint(classifier: PyTorchClassifier, x: Any, y: Any, settings: Mapping[str, Any]) -> str:
    """Digest of all that a piece of work depends on: two that agree have the same results.

    Objects in a module's extra state or in settings count by their text, or where that is none by class and attributes.
    Code is not part of it: a `forward` that was rewritten over the same weights goes unnoticed, as does a number that a
    module keeps as a plain attribute and does not print.

    :param classifier: Its weights, buffers, architecture, loss, clip values and preprocessing count.
    :param x: Inputs, array or tensor.
    :param y: Labels, array or tensor; None for none.
    :param settings: Everything else; numbers, text, arrays, and nestings of them.
    :return: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in (*classifier.model.state_dict().items(), *classifier.model.named_buffers()):
        _add(digest, name, value)
    for name, value in (("x", x), ("y", y)):
        _add(digest, name, value)
    preprocessing = [
        (type(step).__name__, {name: value for name, value in vars(step).items() if not name.startswith("_")})
        for step in classifier.preprocessing_operations
    ]  # what is private are caches, filled by the first prediction
    rest = {
        "model": str(classifier.model),
        "loss": _loss(digest, classifier.loss),
        "clip_values": classifier.clip_values,
        "preprocessing": preprocessing,
        "settings": settings,
    }
    digest.update(json.dumps(rest, sort_keys=True, default=_plain).encode())
    return digest.hexdigest()


def _loss(digest: Any, loss: Any) -> list[Any]:
    """Kind and plain settings of a loss, its class weights in the digest; of a function its name."""
    if not isinstance(loss, nn.Module):
        return [getattr(loss, "__module__", ""), getattr(loss, "__qualname__", type(loss).__qualname__)]
    for name, value in (*loss.state_dict().items(), *loss.named_buffers()):
        _add(digest, name, value)
    settings = {name: value for name, value in vars(loss).items() if not name.startswith("_") and name != "training"}
    return [type(loss).__qualname__, settings]


def _add(digest: Any, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().flatten()
        kind, content = f"{value.dtype} {tuple(value.shape)}", flat.view(torch.uint8).numpy()  # numpy has no bfloat16
    elif (array := _array(value)) is not None:
        kind, content = f"{array.dtype} {array.shape}", np.ascontiguousarray(array)
    elif isinstance(value, Mapping):
        digest.update(f"{name} {len(value)} entries".encode())
        for key, item in value.items():
            _add(digest, f"{name}[{key!r}]", item)
        return
    else:
        digest.update(json.dumps([name, value], sort_keys=True, default=_plain).encode())
        return
    digest.update(f"{name} {kind}".encode())
    digest.update(content.tobytes())


def _array(value: Any) -> NDArray[Any] | None:
    """None for what NumPy would keep as objects, whose bytes are where they lie in memory."""
    try:
        array = np.asarray(value)
    except ValueError:  # of lists of unequal lengths
        return None
    return None if array.dtype.hasobject else array


def _plain(value: Any) -> Any:
    """What JSON has for a value: an object that only says where it lies in memory is its class and attributes."""
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = str(value)
    return [type(value).__qualname__, getattr(value, "__dict__", {})] if ADDRESS.search(text) else text
