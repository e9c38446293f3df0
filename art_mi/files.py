"""Files replaced whole or not at all, folders that one process at a time writes to, arrays read without pickle."""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

LOCK = "run.lock"
_LOCKED: Counter[Path] = Counter()  # by this process, and how often


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, which takes its place at the end, but not after an error.

    A killed process may leave the new one there, a `.{name}.*.part`.

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


@contextmanager
def writing_alone(folder: Path, name: str = "out") -> Iterator[None]:
    """Keep other processes out of a folder; within one process it may be entered again.

    The system ends the lock with the process that holds it, however that ends, and no child inherits it. Windows, and
    file systems that know no locks, do without.

    :param folder: Created where missing; holds `run.lock` in the meantime.
    :param name: What messages call it.
    :raises ValueError: If another living process is writing to it.
    :warns UserWarning: If the file system knows no locks.
    """
    path = (folder / LOCK).absolute()
    file = None
    if not _LOCKED[path]:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked_file(path)
        if file is None:
            raise ValueError(
                f"`{name}` must be a folder that no other run is writing to, got {str(folder)!r}: a process that is "
                "alive writes there."
            )
    _LOCKED[path] += 1
    try:
        yield
    finally:
        _LOCKED[path] -= 1
        if file is not None:
            path.unlink(missing_ok=True)  # before the lock ends, or it might be another's
            file.close()


def _locked_file(path: Path) -> BinaryIO | None:
    """The file, open and locked; None where another process has locked it."""
    while True:
        file = path.open("ab")
        try:
            if sys.platform != "win32":
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike those of `flock`, no child inherits it
        except (BlockingIOError, PermissionError):
            file.close()
            return None
        except OSError as error:
            warnings.warn(f"{str(path.parent)!r} cannot be locked against other runs: {error}.", stacklevel=5)
            return file
        with suppress(FileNotFoundError):
            if os.path.samefile(path, file.fileno()):
                return file
        file.close()  # its last owner has removed it


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
