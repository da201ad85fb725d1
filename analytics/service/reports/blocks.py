"""Defines a report's building blocks (headings, paragraphs, tables, figures), independent of HTML or PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class TableCell(NamedTuple):
    """A cell of a table; the fill colour must not add information to the text."""

    text: str
    fill: str | None = None


class SectionHeading(NamedTuple):
    """The heading of a section."""

    text: str


class Paragraph(NamedTuple):
    """A paragraph of text."""

    text: str


class Notice(NamedTuple):
    """A highlighted warning to the reader."""

    text: str


class ReportTable(NamedTuple):
    """A table with column heads; ``widths`` are relative column widths."""

    head: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    widths: Sequence[float]


class Figure(NamedTuple):
    """A PNG image with a caption, which is also its alternative text."""

    png: bytes
    caption: str


Block = SectionHeading | Paragraph | Notice | ReportTable | Figure


class MonthlyReport(NamedTuple):
    """A report: its blocks in order; ``data_until_s`` is the newest time that its data cover [Unix s]."""

    title: str
    subtitle: str
    language: str
    data_until_s: float
    blocks: Sequence[Block]
