"""Writes recorded files for a test, opens them, and checks the accounting of their replay."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from edge.drivers import file_mapping
from edge.drivers.replay_driver import Recording

if TYPE_CHECKING:
    from pathlib import Path

TOWN = """
[defaults]
area_id = "330483-wz"
interval_s = 60
[[areas]]
area_id = "330483"
level = "county"
en = "County"
zh = "县"
[[areas]]
area_id = "330483-wz"
parent = "330483"
level = "town"
en = "Our town"
zh = "本镇"
[[sites]]
site_id = "a1"
kind = "river_section"
en = "West bridge"
zh = "西桥断面"
lon = 120.492
lat = 30.745
target_class = "III"
quantities = ["ph", "dissolved_oxygen"]
limits.ph = { suspect_low = 6.5 }
"""
PH = '[time]\ncolumn = "time"\n[[column]]\nmatch = "ph"\nquantity = "ph"\nunit = "pH"\n'
TIME = '[time]\ncolumn = "time"\n'
TEMP = '[[column]]\nmatch = "temp"\nquantity = "water_temperature"\nunit = "Cel"\n'
MAPPING = TIME + TEMP
BEGIN = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AT_S = BEGIN.timestamp()


def open_recording(
    folder: Path, content: str | bytes | pa.Table, mapping: str = MAPPING, *, name: str = "s.csv"
) -> Recording:
    """Write a file and a mapping to a folder; return the recording of them."""
    (folder / "m.toml").write_text(mapping, encoding="utf-8")
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Recording(path, file_mapping.load_mapping(folder / "m.toml"))


def played_values(one: Recording) -> list[tuple[float, float]]:
    """Return (time - AT_S [s], value) of each replayed reading."""
    records = [record for pack in one.packs() for record in pack.records]
    return [(record.time_s - AT_S, round(record.value or 0.0, 6)) for record in records]


def left_out_by_reason(one: Recording) -> dict[str, int]:
    """Return the counts left out by reason; asserts that every row and cell is accounted for."""
    one.read()
    for account in one.accounts:
        counts = account.left_out
        rows = (
            "blank",
            "no-time",
            "skipped-hour",
            "repeated-hour",
            "ragged",
            "unreadable",
            "no-station",
            "other-station",
        )
        assert account.rows == account.rows_taken + sum(counts[reason] for reason in rows)
        cells = ("no-value", "not-a-number", "short-row")
        assert account.cells == account.readings + sum(counts[reason] for reason in cells)
    total: dict[str, int] = {}
    for account in one.accounts:
        for reason, count in account.left_out.items():
            total[reason] = total.get(reason, 0) + count
    return {reason: count for reason, count in total.items() if count}
