"""Everything that was found out about one model, in a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from art_mi.files import read_arrays, replace_file
from art_mi.results.backbone import BackboneReport
from art_mi.results.profiles import FeatureProfile, LayerProfile, VulnerabilityCurve
from art_mi.results.result import NOT_STORED, Result, written
from art_mi.results.robustness import RobustnessResult
from art_mi.results.vulnerability import RepresentationVulnerability
from art_mi.rules import FOLDER, PATH, Rule, check

RECORD, IMAGES = "results.json", "images.npz"
NUMERIC: Rule = "that of numbers", lambda dtype: dtype.kind in "biuf"
LARGEST = 1e100  # numbers beyond it have no room on an axis
EPOCH: Rule = "a number from 0 to 1e100", lambda v: isinstance(v, int | float) and 0 <= v <= LARGEST
TERM: Rule = "a number from -1e100 to 1e100", lambda v: not isinstance(v, int | float) or -LARGEST <= v <= LARGEST
NESTED = 100  # levels, as pages are made by recursion


@dataclass(frozen=True)
class ModelRecord(Result):
    """What reports read about one model; everything but the name may be missing.

    :param name: What reports call the model.
    :param representation: Information and vulnerability of its representation.
    :param robustness: Accuracy under attack.
    :param layers: Vulnerability of its layers.
    :param features: Vulnerability of the units of a layer.
    :param curve: Vulnerability against the radius.
    :param backbone: What can be built on it.
    :param history: Records of the epochs of its training.
    :param settings: Data, environment, seed.
    :param command: Shell command that reproduces it.
    :param images: Arrays of a few samples: `x`, `x_adv`, `y`, `predicted`, `predicted_adv`, `saliency_information`,
        `saliency_loss`, those there are, each with a row a sample.
    """

    name: str
    representation: RepresentationVulnerability | None = None
    robustness: RobustnessResult | None = None
    layers: LayerProfile | None = None
    features: FeatureProfile | None = None
    curve: VulnerabilityCurve | None = None
    backbone: BackboneReport | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False, metadata=NOT_STORED)

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained HTML page about this model, written to `path` where one is given.

        :param path: File to write.
        """
        from art_mi.report.card import card  # results offer their own report

        return written(card([self]), path)

    def save(self, folder: str | Path) -> None:
        """Write `results.json` and, where there are images, `images.npz`; each is replaced whole or not at all.

        :param folder: Created where missing.
        :raises ValueError: If images are not numbers.
        """
        for name, images in self.images.items():
            check(f"images[{name!r}].dtype", np.asarray(images).dtype, NUMERIC)
        out = Path(check("folder", folder, FOLDER))
        out.mkdir(parents=True, exist_ok=True)
        if self.images:
            packed, arrays = io.BytesIO(), cast("dict[str, Any]", self.images)
            np.savez_compressed(packed, **arrays)
            replace_file(out / IMAGES, packed.getvalue())
        replace_file(out / RECORD, f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, folder: str | Path) -> ModelRecord:
        """What :meth:`save` wrote.

        :param folder: Folder of a record.
        :raises ValueError: If there is none, or it is damaged.
        """
        path = Path(check("folder", folder, PATH)) / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"`folder` must hold a readable {RECORD}, got {str(folder)!r}: {error}.") from error
        try:
            _check_nesting(content)
            record = cls.from_dict(content)
            for row in record.history:
                for name, value in row.items():
                    check(f"history {name}", value, EPOCH if name == "epoch" else TERM)
        except ValueError as error:
            raise ValueError(f"`folder` must hold the record of a model, got {str(folder)!r}: {error}") from error
        if not (Path(folder) / IMAGES).is_file():
            return record
        try:
            return replace(record, images=read_arrays(Path(folder) / IMAGES))
        except ValueError as error:
            raise ValueError(f"`folder` must hold a readable {IMAGES}, got {str(folder)!r}: {error}.") from error


def _check_nesting(content: Any, left: int = NESTED) -> None:
    if left == 0:
        raise ValueError(f"`content` must be nested at most {NESTED} deep, got more.")
    if isinstance(content, dict | list):
        for item in content.values() if isinstance(content, dict) else content:
            _check_nesting(item, left - 1)
