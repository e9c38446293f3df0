"""Records: those found in folders, and what a report takes."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from art_mi.results import ModelRecord
from art_mi.results.record import RECORD
from art_mi.rules import PATH, check


def load_records(folders: Iterable[str | Path]) -> list[ModelRecord]:
    """Records of models: of each folder its own, or those of its sub-folders by name.

    :param folders: Folders written by :meth:`.ModelRecord.save`, or that hold such folders.
        Other results in sub-folders, such as those of `art-mi train`, are passed over.
    :raises TypeError: If `folders` is no list of paths.
    :raises ValueError: If a folder holds no record, or a damaged one.
    """
    if isinstance(folders, str) or not isinstance(folders, Iterable):
        raise TypeError(f"`folders` must be a list of folders, got {folders!r}.")
    folders = [check("folders", folder, PATH) for folder in folders]
    records: list[ModelRecord] = []
    for folder in map(Path, folders):
        within = sorted(path.parent for path in folder.glob(f"*/{RECORD}") if _is_record(path))
        found = [folder] if (folder / RECORD).is_file() else within
        if not found:
            raise ValueError(f"`folders` must hold a {RECORD}, or folders that do, got {str(folder)!r}.")
        records.extend(map(ModelRecord.load, found))
    return records


def check_records(records: Any) -> None:
    """Refuse what no report can be about.

    :param records: Anything.
    :raises TypeError: If it is no sequence of records.
    :raises ValueError: If it is empty.
    """
    if not isinstance(records, Sequence) or not all(isinstance(record, ModelRecord) for record in records):
        raise TypeError(f"`records` must be a list of ModelRecords, got {reprlib.repr(records)}.")
    if not records:
        raise ValueError("`records` must hold at least one model, got none.")


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return True  # damaged: said when it is read
    return isinstance(content, dict) and "name" in content
