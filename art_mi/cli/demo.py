"""`art-mi demo`."""

from __future__ import annotations

import shlex
from pathlib import Path

from art_mi.datasets import DataSet
from art_mi.metrics.measurement import FEWEST_PAIRS
from art_mi.rules import FOLDER, check, integer, or_none


def demo(
    data: DataSet = "digits",
    data_dir: str | None = None,
    download: bool = False,
    out: str = "art-mi-demo",
    nb_epochs: int | None = None,
    nb_samples: int = 1800,
    random_state: int = 0,
    quiet: bool = False,
) -> None:
    """Train a standard and a robust classifier of real images and compare their representations.

    Args:
        data: Data set; digits needs no files.
        data_dir: Folder of torchvision's files, for all data sets but digits.
        download: Download what is missing into that folder.
        out: Folder for the card index.html and a folder of results for each model.
        nb_epochs: Training epochs; by default 20 for digits and 1 for larger sets.
        nb_samples: Most images that are attacked and measured.
        random_state: Seed.
        quiet: No progress bars.
    """
    from art_mi.demo import run_demo, write_demo  # needs the extra `report`
    from art_mi.report import text_table

    check("nb_epochs", nb_epochs, or_none(integer(1)))
    check("out", out, FOLDER)
    check("nb_samples", nb_samples, integer(FEWEST_PAIRS))
    nb_epochs = nb_epochs or (20 if data == "digits" else 1)
    found = run_demo(
        data,
        data_dir,
        download=download,
        nb_epochs=nb_epochs,
        nb_samples=nb_samples,
        random_state=random_state,
        verbose=not quiet,
    )
    folder = Path(out)
    options = "" if data_dir is None else f" --data-dir {shlex.quote(data_dir)}"
    options += " --download" if download else ""
    command = f"art-mi demo --data {data}{options} --nb-epochs {nb_epochs} --nb-samples {nb_samples}"
    page = write_demo(found, folder, f"{command} --random-state {random_state}")
    print(text_table(found.records))
    print(f"\n{page}")
