"""Formats numbers, percentages and water classes as cells of a report's table, or a text for an empty one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.reports.blocks import Paragraph, ReportTable, TableCell
from analytics.service.reports.plots import CLASS_FILLS
from analytics.service.reports.translations import translate

if TYPE_CHECKING:
    from analytics.service.reports.translations import Language


def missing_value_text(language: Language) -> str:
    """Return the placeholder for a missing value."""
    return translate("none", language)


def table_or_text(table: ReportTable, empty: str, language: Language) -> ReportTable | Paragraph:
    """Return the table, or the text of the key ``empty`` in place of a table without rows."""
    return table if table.rows else Paragraph(translate(empty, language))


def number_cell(value: float | None, language: Language, form: str) -> TableCell:
    """Return a number in the given format, or a dash."""
    return TableCell(missing_value_text(language) if value is None else format(value, form))


def percent_cell(share: float | None, language: Language) -> TableCell:
    """Return a share as a percentage, or a dash.

    >>> percent_cell(0.9876, "en").text
    '98.8 %'
    """
    space = " " if language == "en" else ""
    return TableCell(missing_value_text(language) if share is None else f"{100 * share:.1f}{space}%")


def pale_colour(fill: str) -> str:
    """Return a colour half way to white, as a background for text.

    >>> pale_colour("#FF0000")
    '#FF7F7F'
    """
    red, green, blue = ((int(fill[at : at + 2], 16) + 255) // 2 for at in (1, 3, 5))
    return f"#{red:02X}{green:02X}{blue:02X}"


def class_cell(class_: int | None, language: Language) -> TableCell:
    """Return a water class by name, on its colour."""
    if class_ is None:
        return TableCell(missing_value_text(language))
    return TableCell(translate(f"class_{class_}", language), pale_colour(CLASS_FILLS[class_ - 1]))
