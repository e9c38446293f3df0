"""The robustness card: one self-contained page about one or several models, with JSON and Markdown beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from art_mi.files import replace_file
from art_mi.report import cells as show
from art_mi.report.blocks import Command, Document, Drawings, Points, Row, Section, Table, Tile
from art_mi.report.cells import Cell, accuracy_cell, estimate_cell, percent_cell
from art_mi.report.figures import compared
from art_mi.report.markdown import markdown
from art_mi.report.plots.canvas import model_marks
from art_mi.report.sections import flags_of, model_section
from art_mi.report.tables import comparison_rows
from art_mi.report.verdict import attacks_counted, verdict
from art_mi.results import ModelRecord
from art_mi.rules import PATH, TEXT, check, or_none

TITLE = "Robustness card"
CEILINGS = {
    "noisy": "accuracy ceiling behind noise",
    "quantised": "accuracy ceiling of its codes",
    "critic": "accuracy ceiling, an estimate",
}
LIMITS = (
    "Nothing here is a certificate. An attack is a heuristic search: a stronger one may leave less accuracy, and less "
    "information, than reported.",
    "Information measured with a critic is an estimate; seen through noise or as codes it lies between the lower and "
    "the upper bound given beside it.",
    "An accuracy ceiling speaks of the perturbations that were found, behind the noise or codes it was measured "
    "through, and holds as far as the sentence given with it says.",
    "Intervals cover the sampling of inputs only, not the error of a critic or an attack, nor training a model again.",
)


def card(
    records: Sequence[ModelRecord],
    *,
    title: str = TITLE,
    settings: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> str:
    """One HTML file with everything inside: no script, no network, for screens, phones and paper.

    :param records: Models.
    :param title: Heading of the page.
    :param settings: Environment and settings that all models share, by name.
    :param command: Shell command that reproduces the page.
    :return: The page.
    :raises TypeError: If `records` holds anything but records, or `settings` is no mapping.
    :raises ValueError: If `records` is empty, two have the same name, or another argument is no text.
    """
    return _html(_document(records, title, {} if settings is None else settings, command))


def write_card(
    records: Sequence[ModelRecord],
    path: str | Path,
    *,
    title: str = TITLE,
    settings: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> tuple[Path, Path, Path]:
    """The card as HTML, and the same as Markdown and JSON beside it.

    :param records: Models.
    :param path: File ending in `.html`, in a folder that exists or is created.
    :param title: Heading of the page.
    :param settings: Environment and settings that all models share, by name.
    :param command: Shell command that reproduces the page.
    :return: The three files: HTML, Markdown, JSON.
    :raises ValueError: If `path` does not end in `.html`, a file beside it is no card's, `records` is empty, or two
        have the same name.
    """
    page = Path(check("path", path, PATH))
    if page.suffix != ".html":
        raise ValueError(f"`path` must end in '.html', got {str(path)!r}.")
    document = _document(records, title, {} if settings is None else settings, command)
    models = [record.to_dict() for record in records]
    content = {"title": title, "settings": dict(settings or {}), "command": command, "models": models}
    texts = (_html(document), markdown(document), json.dumps(content, indent=2, allow_nan=False) + "\n")
    files = page, page.with_suffix(".md"), page.with_suffix(".json")
    _check_own(*files[1:])
    page.parent.mkdir(parents=True, exist_ok=True)
    for file, text in zip(files, texts, strict=True):
        replace_file(file, text.encode())
    return files


def _check_own(text: Path, numbers: Path) -> None:
    """Refuse to write over files that are not those of an earlier card, such as the record of a model."""
    if not numbers.exists():
        foreign = text if text.exists() else None
    else:
        try:
            foreign = None if "models" in json.loads(numbers.read_text(encoding="utf-8")) else numbers
        except ValueError:
            foreign = numbers
    if foreign is not None:
        raise ValueError(f"`path` must leave {str(foreign)!r} alone, which is no part of a card: choose another name.")


def result_card(name: str, **found: Any) -> str:
    """The card of a single result.

    :param name: What the card calls the model.
    :param found: The result under its name in :class:`.ModelRecord`.
    """
    return card([ModelRecord(name, **found)])


def _html(document: Document) -> str:
    loader = PackageLoader("art_mi.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("card.html.jinja").render(card=document)


def _document(records: Sequence[ModelRecord], title: str, settings: Mapping[str, Any], command: str | None) -> Document:
    rows = tuple(comparison_rows(records))
    check("title", title, TEXT)
    check("command", command, or_none(TEXT))
    if not isinstance(settings, Mapping):
        raise TypeError(f"`settings` must be a mapping, got {type(settings).__name__}.")
    caption = "Brackets are 95 % intervals over samples. Ceilings carry none."
    comparison = Table(caption, ("Quantity", *(record.name for record in records)), rows, even=True)
    drawings = tuple(compared(records))
    used = tuple(Row(name, (Cell(value),)) for name, value in show.settings(settings))
    repeat = (
        *((Command(command),) if command else ()),
        *((Table("Environment and settings", ("Setting", "Value"), used),) if used else ()),
    )
    sections = (
        Section("Numbers", (comparison, *((Drawings(drawings),) if drawings else ()))),
        Section("How to read them", (Points(LIMITS),)),
        *(model_section(record) for record in records),
        Section("How to repeat this", repeat),
    )
    marks = model_marks(record.name for record in records)
    tiles = tuple(_tile(record, marks[record.name][0]) for record in records)
    return Document(title, tuple(verdict(records)), tiles, tuple(section for section in sections if section))


def _tile(record: ModelRecord, colour: str) -> Tile:
    facts: list[tuple[str, Cell]] = []
    robustness, representation = record.robustness, record.representation
    attacked = robustness is not None and robustness.nb_attacks > 0
    if robustness and attacked:
        facts.append((f"accuracy, worst of {attacks_counted(robustness)}", accuracy_cell(robustness.worst_case)))
    if robustness:
        facts.append(("accuracy without attack", accuracy_cell(robustness.clean)))
    if representation:
        facts += [
            ("information lost", estimate_cell(representation.vulnerability)),
            (CEILINGS.get(representation.method, "accuracy ceiling"), percent_cell(representation.accuracy_ceiling)),
        ]
    (headline, value), *rest = facts or [("nothing measured", Cell())]
    shares = (100 * robustness.worst_case.value, 100 * robustness.gap) if robustness and attacked else ()
    flags = flags_of(record)
    caution = [f"{len(flags)}, see below" if flags else "none raised"]
    if robustness and not robustness.checks:
        caution.append("attacks were not checked")
    return Tile(record.name, colour, headline, value, shares, tuple(rest), "; ".join(caution), bool(flags))
