"""What a report is made of. Pages and Markdown both render it, and know nothing of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from art_mi.report.cells import Cell
from art_mi.report.plots import figure_svg
from art_mi.results import Flag


@dataclass(frozen=True)
class Row:
    """A row of a table.

    :param label: What it is about.
    :param cells: One a column.
    :param notes: Small print below the label: estimator, direction of the bias, flags.
    :param marked: Whether it stands out.
    """

    label: str
    cells: Sequence[Cell]
    notes: Sequence[str] = ()
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    :param caption: What it shows and how to read it.
    :param head: Names of all columns, that of the labels first.
    :param rows: Rows.
    :param folded: What the page shows in its place until it is asked for; empty for a table that is always shown.
    :param even: Whether the columns are equally wide.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    folded: str = ""
    even: bool = False
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Flags:
    """Reasons for caution.

    :param items: Flags with their meanings.
    """

    items: tuple[tuple[str, str], ...]
    kind: str = field(default="flags", init=False)

    @classmethod
    def of(cls, flags: Iterable[Flag]) -> Flags:
        """Flags in the order in which they are declared, each once.

        :param flags: Any flags.
        """
        raised = set(flags)
        return cls(tuple((str(flag), flag.meaning) for flag in Flag if flag in raised))


@dataclass(frozen=True)
class Text:
    """A paragraph.

    :param text: Plain text.
    """

    text: str
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Points:
    """A list.

    :param items: Plain text.
    """

    items: tuple[str, ...]
    kind: str = field(default="points", init=False)


@dataclass(frozen=True)
class Command:
    """Something to type.

    :param text: Shell command.
    """

    text: str
    kind: str = field(default="command", init=False)


@dataclass(frozen=True)
class Drawing:
    """A figure and the words that stand for it.

    :param name: Of its file, without ending.
    :param axes: What was drawn.
    :param alt: What a screen reader says.
    :param caption: What stands below.
    """

    name: str
    axes: Axes
    alt: str
    caption: str

    @property
    def figure(self) -> Figure:
        """The figure as a whole."""
        return cast(Figure, self.axes.figure)

    @property
    def svg(self) -> Markup:
        """An `<svg>` element to put into a page: matplotlib escapes every text it writes."""
        return Markup(figure_svg(self.figure, self.alt))


@dataclass(frozen=True)
class Drawings:
    """Figures side by side where there is room.

    :param items: Figures.
    """

    items: tuple[Drawing, ...]
    kind: str = field(default="drawings", init=False)


Block = Table | Flags | Text | Points | Command | Drawings


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    :param title: Heading.
    :param blocks: In reading order.
    :param parts: Sections one level down.
    """

    title: str
    blocks: Sequence[Block] = ()
    parts: Sequence[Section] = ()

    def __bool__(self) -> bool:
        """Whether anything stands below the heading."""
        return bool(self.blocks or self.parts)


@dataclass(frozen=True)
class Tile:
    """The few numbers of a model that matter.

    :param name: Of the model.
    :param colour: That figures give it.
    :param headline: What the first number is.
    :param value: The first number.
    :param shares: Samples right under attack and samples that only attacks make wrong, in per cent; empty where not
        measured.
    :param facts: Other numbers by name.
    :param caution: How many reasons for caution there are, in words.
    :param doubtful: Whether there is one.
    """

    name: str
    colour: str
    headline: str
    value: Cell
    shares: tuple[float, ...]
    facts: tuple[tuple[str, Cell], ...]
    caution: str
    doubtful: bool


@dataclass(frozen=True)
class Document:
    """A report, whatever it is rendered as.

    :param title: Heading.
    :param verdict: Sentences that it begins with.
    :param tiles: One a model.
    :param sections: Everything else.
    """

    title: str
    verdict: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
