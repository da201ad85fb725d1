"""Reads labels, the time ranges of known faults, from a CSV file.

    site,quantity,start,end
    MainStreet2019,conductivity,2019-06-10 15:00,2019-06-10 15:45

Without the column ``site`` or ``quantity``, or where its cell is empty, a label applies to all of them.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from analytics.service.backtest import LabelWindow
from deploy.backtest.history_loading import parse_time
from deploy.settings import SettingsError
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from pathlib import Path
    from zoneinfo import ZoneInfo

COLUMNS = {"site", "quantity", "start", "end"}


def read_labels(path: Path, zone: ZoneInfo) -> list[LabelWindow]:
    """Return the labels of a file; times without an offset are in ``zone``. Raises `SettingsError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = set(reader.fieldnames or ())
            if not {"start", "end"} <= columns <= COLUMNS:
                raise SettingsError(
                    f"labels {path}: the first line must name the columns start and end, and may name site"
                    f" and quantity; it names {', '.join(sorted(columns)) or 'nothing'}"
                )
            return [_window(row, zone, f"labels {path}, line {reader.line_num}") for row in reader]
    except OSError as error:
        raise SettingsError(f"labels {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"labels {path}: {error}") from error


def _window(row: dict[str, str | None], zone: ZoneInfo, location: str) -> LabelWindow:
    start_s, end_s = (_parse_label_time(row, name, zone, location) for name in ("start", "end"))
    if end_s < start_s:
        raise SettingsError(f"{location}: it ends at {row['end']}, before it starts at {row['start']}")
    quantity = row.get("quantity") or None
    if quantity is not None and quantity not in QUANTITIES:
        raise SettingsError(
            f"{location}: there is no quantity {quantity!r}; there are {', '.join(QUANTITIES)}"
        )
    return LabelWindow(site=row.get("site") or None, quantity=quantity, start_s=start_s, end_s=end_s)


def _parse_label_time(row: dict[str, str | None], name: str, zone: ZoneInfo, location: str) -> float:
    text = row[name] or ""
    try:
        return parse_time(text, zone)
    except ValueError as error:
        raise SettingsError(
            f"{location}: {name} {text!r} is no time: write it like 2019-06-10 15:00"
        ) from error
