"""Estimates in pixels the width of a panel on a screen, and of texts in Grafana's tables (Inter, 14 px)."""

from __future__ import annotations

import unicodedata

SCREENS_PX = (1366, 1600, 1920)
_BESIDE_GRID_PX = 333  # docked menu 300, margins; as rendered by 12.3.3 at 1600 px
_GRID_GAP_PX, _GRID_COLUMNS = 8, 24
_BESIDE_TABLE_PX = 24  # padding and border of the panel, scroll bar
CELL_PADDING_PX = 12
_DEFAULT_LEAST_PX = 150
"""What Grafana takes for a column without width or smallest width."""
_NARROW = frozenset(" .,:;'|!()[]/-ijlt1frI")


def table_px(screen_px: int, grid_width: int) -> float:
    """Return the space for the columns of a table in a panel ``grid_width`` of 24 columns wide."""
    cell = (screen_px - _BESIDE_GRID_PX - (_GRID_COLUMNS - 1) * _GRID_GAP_PX) / _GRID_COLUMNS
    return grid_width * cell + (grid_width - 1) * _GRID_GAP_PX - _BESIDE_TABLE_PX


def column_px(properties: dict[str, object]) -> float:
    """Return the smallest width that Grafana gives a column with these override properties."""
    width = properties.get("custom.width", properties.get("custom.minWidth", _DEFAULT_LEAST_PX))
    assert isinstance(width, int)
    return width


def text_px(text: str) -> float:
    """Return the width of a text; Chinese characters are as wide as the font is high."""
    return sum(_character_px(one) for one in text)


def _character_px(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 14.0
    if character in _NARROW:
        return 4.5
    return 9.0 if character.isupper() or character.isdigit() or not character.isascii() else 7.8
