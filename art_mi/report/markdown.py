"""A report as Markdown: tables and words, without figures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from art_mi.report.blocks import Block, Command, Document, Drawings, Flags, Points, Section, Table, Text


def markdown(document: Document) -> str:
    """The report as GitHub-flavoured Markdown; text is escaped, so that no name becomes markup.

    :param document: The report.
    """
    lines = [f"# {_plain(document.title)}", "", *(_plain(sentence) + "\n" for sentence in document.verdict)]
    for section in document.sections:
        lines.extend(_section(section, 2))
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_plain(section.title)}\n"
    for block in section.blocks:
        yield from _block(block)
    for part in section.parts:
        yield from _section(part, level + 1)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Table():
            yield from _table(block)
        case Drawings(items):
            yield from (f"- Figure: {_plain(drawing.alt)}" for drawing in items)
        case Flags(items):
            yield from (f"- **{_plain(name)}**: {_plain(meaning)}" for name, meaning in items)
        case Points(items):
            yield from (f"- {_plain(item)}" for item in items)
        case Command(text):
            yield from (f"    {line}" for line in text.splitlines())
        case Text(text):
            yield _plain(text)
    yield ""


def _table(table: Table) -> Iterator[str]:
    yield f"{_plain(table.caption)}\n"
    yield f"| {' | '.join(map(_plain, table.head))} |"
    yield f"|{'---|' * len(table.head)}"
    for row in table.rows:
        label = "; ".join(map(_plain, (row.label, *row.notes)))
        yield f"| {' | '.join((label, *(_plain(str(cell)) for cell in row.cells)))} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", " ".join(text.split()))
