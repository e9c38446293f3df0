"""`art-mi report`."""

from __future__ import annotations

import shlex
from typing import Optional

from art_mi.rules import FOLDER, check, or_none


def write_report(
    folders: list[str],
    out: str = "card.html",
    figures: Optional[str] = None,  # noqa: UP045
    title: Optional[str] = None,  # noqa: UP045
) -> None:
    """Write the robustness card of evaluated models, and Markdown and JSON beside it.

    Args:
        folders: Folders of `art-mi evaluate`, or folders that hold such folders.
        out: File .html to write; .md and .json are written beside it.
        figures: Folder for every figure as .svg and .png.
        title: Heading of the card.
    """
    from art_mi.report import load_records, write_card, write_figures  # needs the extra `report`
    from art_mi.report.card import TITLE

    check("out", out, ("a file .html", lambda v: v.endswith(".html")))
    check("figures", figures, or_none(FOLDER))
    records = load_records(folders)
    options = {"--out": out, "--figures": figures, "--title": title}
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    command = shlex.join(["art-mi", "report", *folders, *given])
    for file in write_card(records, out, title=title or TITLE, command=command):
        print(file)
    if figures is not None:
        for file in write_figures(records, figures):
            print(file)
