"""Formats numbers, shares and classes for a report's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.reports.blocks import Cell, Table, Text
from analytics.service.reports.plots import CLASS_FILLS
from analytics.service.reports.words import word

if TYPE_CHECKING:
    from analytics.service.reports.words import Language


def plain(language: Language) -> str:
    """What stands where there is nothing to say."""
    return word("none", language)


def listing(table: Table, empty: str, language: Language) -> Table | Text:
    """A table, or the word ``empty`` in place of one without rows."""
    return table if table.rows else Text(word(empty, language))


def number(value: float | None, language: Language, form: str) -> Cell:
    """A number, or a dash."""
    return Cell(plain(language) if value is None else format(value, form))


def percent(share: float | None, language: Language) -> Cell:
    """A share in per cent, or a dash.

    >>> percent(0.9876, "en").text
    '98.8 %'
    """
    space = " " if language == "en" else ""
    return Cell(plain(language) if share is None else f"{100 * share:.1f}{space}%")


def pale(fill: str) -> str:
    """A colour half way to white, for text to stand on.

    >>> pale("#FF0000")
    '#FF7F7F'
    """
    red, green, blue = ((int(fill[at : at + 2], 16) + 255) // 2 for at in (1, 3, 5))
    return f"#{red:02X}{green:02X}{blue:02X}"


def class_cell(class_: int | None, language: Language) -> Cell:
    """A class of water by its name, on its colour."""
    if class_ is None:
        return Cell(plain(language))
    return Cell(word(f"class_{class_}", language), pale(CLASS_FILLS[class_ - 1]))
