"""Checkpoints: nested states in one safetensors file, replaced whole or not at all, read back without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from art_mi.files import replacing
from art_mi.finished import content_digest
from art_mi.trainers.encoding import decoded, dtype_name, encoded

FORMAT = "art_mi checkpoint"
VERSION = "2"
MAX_TEXT = 20_000_000  # safetensors reads headers up to 100 MB; escapes and tensor names add to the text


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state to one safetensors file: at every moment `path` holds the old checkpoint or the new one, complete.

    Tensors are stored under their place in the state, as `state['model']['fc.weight']`, the rest as JSON in the
    metadata, with a digest of it all. Tensors come back detached, contiguous, on the CPU and each with its own memory;
    the `_metadata` of a module's state comes back too. A killed process may leave a `.{name}.*.part` beside `path`,
    which can be deleted.

    :param path: File to write; its folder exists.
    :param state: Dicts (also ordered, also `Counter`) with string or integer keys, lists and tuples of dense tensors,
        numeric numpy arrays and scalars, numbers, strings and None.
    :raises TypeError: If `state` holds anything else; the message says where.
    :raises ValueError: If `state` has too much beside its tensors.
    :raises OSError: If the file cannot be written.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"`state` must be a mapping, got {type(state).__name__}.")
    tensors: dict[str, Tensor] = {}
    text = json.dumps(encoded(state if isinstance(state, dict) else dict(state), "state", tensors))
    if len(text) > MAX_TEXT:
        raise ValueError(
            f"`state` must take at most {MAX_TEXT:,} characters of JSON beside its tensors, got {len(text):,}. "
            f"Keep long series in tensors or arrays."
        )
    metadata = {"format": FORMAT, "version": VERSION, "state": text, "digest": content_digest(text, tensors)}
    content = save(tensors, metadata)
    with replacing(path) as part, open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def load_checkpoint(path: Path, name: str = "path") -> dict[str, Any]:
    """What :func:`save_checkpoint` wrote, equal in value and type, on the CPU.

    :param path: File to read; nothing in it is run.
    :param name: What messages call it.
    :return: The state. Its tensors are in memory, not mapped to the file.
    :raises ValueError: If there is no file, or it is cut short, damaged, no checkpoint, or of another format version.
    """
    try:
        content = path.read_bytes()  # once: a run that is alive may replace the file
        tensors, metadata = load(content), _metadata(content)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"`{name}` must be a complete checkpoint, got {str(path)!r}: {error}.") from error
    found, version = metadata.get("format"), metadata.get("version")
    if found != FORMAT:
        raise ValueError(f"`{name}` must be a checkpoint of art_mi, got {str(path)!r} of format {found!r}.")
    if version != VERSION:
        raise ValueError(
            f"`{name}` must be a checkpoint of format version {VERSION}, got {str(path)!r} of version "
            f"{version!r}: another release of art_mi wrote it."
        )
    text = metadata.get("state", "")
    if metadata.get("digest") != content_digest(text, tensors):
        raise ValueError(f"`{name}` must be an intact checkpoint, got {str(path)!r}: its digest is of other content.")
    return _state(text, tensors.__getitem__, path, name)


def _metadata(content: bytes) -> dict[str, str]:
    """That of a file that safetensors has read."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_state(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Refuse a state that does not fit a module, before anything is loaded.

    :param module: Module to load into; not changed.
    :param state: A `state_dict`, as of a checkpoint.
    :param name: What the message calls the state.
    :raises ValueError: If keys, shapes or types differ from the module's own.
    """
    wanted = {key: _kind(value) for key, value in module.state_dict().items()}
    found = {key: _kind(value) for key, value in state.items()}
    differences = [
        *(f"no {key!r}" for key in wanted if key not in found),
        *(f"an unknown {key!r}" for key in found if key not in wanted),
        *(f"{key!r} of {found[key]} instead of {kind}" for key, kind in wanted.items() if found.get(key, kind) != kind),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ValueError(
            f"`{name}` must be a state of this {type(module).__name__}, got one of another architecture: "
            f"{', '.join(differences[:3])}{more}."
        )


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{dtype_name(value)} {tuple(value.shape)}"
    return type(value).__name__


def _state(text: str, tensor: Callable[[str], Tensor], path: Path, name: str) -> dict[str, Any]:
    try:
        state = decoded(json.loads(text), tensor)
        if not isinstance(state, dict):
            raise TypeError(f"its state is a {type(state).__name__}")
        return state
    except Exception as error:  # whatever NumPy, torch and safetensors raise of another state
        raise ValueError(f"`{name}` must be an intact checkpoint, got {str(path)!r}: {error}.") from error
