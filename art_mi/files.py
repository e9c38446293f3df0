"""Files that are replaced whole or not at all, and arrays read without pickle."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place at the end, but not after an error.

    :param path: File to replace; its folder exists.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode  # safetensors would let nobody else read
        yield part
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file: at every moment `path` holds what it held or what is new.

    :param path: In a folder that exists.
    :param content: What it is to hold.
    """
    with replacing(path) as part:
        part.write_bytes(content)


def read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Arrays of a file `.npz` by name, or the one of a file `.npy` under the first of the names.

    :param path: File to read; nothing in it is run.
    :param names: Arrays that are wanted; all by default.
    :raises ValueError: If it cannot be read, or an array holds objects.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that are damaged
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {names[0]: content}
            return {name: content[name] for name in content.files if name in names or not names}
    except Exception as error:  # whatever zipfile, zlib and NumPy raise of a damaged file
        raise ValueError(f"{type(error).__name__}: {error}") from error
