"""Building blocks of a report: headings, paragraphs, tables, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class TableCell(NamedTuple):
    """A cell of a table; the fill only repeats what the text says."""

    text: str
    fill: str | None = None


class SectionHeading(NamedTuple):
    """The heading of a part."""

    text: str


class Paragraph(NamedTuple):
    """A sentence or some."""

    text: str


class Notice(NamedTuple):
    """A sentence that a reader must not miss."""

    text: str


class ReportTable(NamedTuple):
    """Rows under heads; ``widths`` are shares of the page's width."""

    head: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    widths: Sequence[float]


class Figure(NamedTuple):
    """A PNG, with words for who can't see it."""

    png: bytes
    caption: str


Block = SectionHeading | Paragraph | Notice | ReportTable | Figure


class MonthlyReport(NamedTuple):
    """A report: its blocks in order; ``made_s`` is the newest moment that it tells of [s]."""

    title: str
    under: str
    language: str
    made_s: float
    blocks: Sequence[Block]
