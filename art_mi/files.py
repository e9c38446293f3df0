"""Files replaced whole or not at all, folders that one process at a time writes to, arrays read without pickle."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

LOCK = "run.lock"


@dataclass
class _Lock:
    """A lock that a thread of this process holds, and how often it has entered the folder."""

    file: BinaryIO
    thread: int
    entered: int = 0


_HELD: dict[Path, _Lock] = {}


def _release_in_child() -> None:
    """A forked child, such as a loader's worker, would keep the folder of a parent that was killed."""
    for lock in _HELD.values():
        lock.file.close()
    _HELD.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_release_in_child)


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
    """Keep everybody else out of a folder; the thread that is in it may enter it again.

    The system ends the lock with the process that holds it, however that ends, and no child inherits it. Windows, and
    file systems that know no locks, do without.

    :param folder: Created where missing; holds `run.lock` in the meantime.
    :param name: What messages call it.
    :raises ValueError: If another living process, or thread of this one, is writing to it.
    :warns UserWarning: If the file system knows no locks.
    """
    path = folder.resolve() / LOCK
    lock = _HELD.get(path)
    if lock is None:
        file = _locked_file(path)
        lock = None if file is None else _Lock(file, threading.get_ident())
    if lock is None or lock.thread != threading.get_ident():
        raise ValueError(
            f"`{name}` must be a folder that no other run is writing to, got {str(folder)!r}: one that is alive "
            "writes there."
        )
    _HELD[path] = lock
    lock.entered += 1
    try:
        yield
    finally:
        lock.entered -= 1
        if not lock.entered and _HELD.get(path) is lock:  # not so in a child that was forked in between
            del _HELD[path]
            path.unlink(missing_ok=True)  # before the lock ends, or it might be another's
            lock.file.close()


def _locked_file(path: Path) -> BinaryIO | None:
    """The file, open and locked; None where another process or thread has locked it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:
            continue  # its last owner has removed the folder
        if sys.platform == "win32":
            file.close()  # or nobody could remove it
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike that of `lockf` it outlives readers of the file
        except BlockingIOError:
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
