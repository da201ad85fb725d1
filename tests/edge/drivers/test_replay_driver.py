"""Tests that recorded files are replayed as recorded, and that what is left out is counted."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge.drivers import file_mapping
from edge.drivers.file_mapping import MappingError
from edge.drivers.line_driver import LineDriver
from edge.drivers.replay_driver import Recording

if TYPE_CHECKING:
    from pathlib import Path

MAPPING = """
[time]
column = "when"
zone = "Asia/Shanghai"
[[column]]
match = "temp"
quantity = "water_temperature"
unit = "K"
[[column]]
match = "do_*"
site = "{column}"
quantity = "dissolved_oxygen"
unit = "mg/L"
"""
ROWS = "when,temp,do_a,do_b\n2026-01-01 08:00,293.15,8.0,7.0\n2026-01-01 08:05,294.15,NULL,7.1\n"


def recording(folder: Path, text: str, mapping: str = MAPPING, *, name: str = "site.csv") -> Recording:
    (folder / "m.toml").write_text(mapping)
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return Recording(path, file_mapping.load_mapping(folder / "m.toml"))


@pytest.mark.parametrize("name", ["site.csv", "site.csv.gz"])
def test_columns_become_channels_in_wire_units_and_local_times_absolute(name: str, tmp_path: Path) -> None:
    one = recording(tmp_path, ROWS, name=name)
    records = [record for pack in one.packs() for record in pack.records]
    assert [(record.name, round(record.value or 0, 6), record.unit) for record in records] == [
        ("site:water_temperature", 20, "Cel"),
        ("do_a:dissolved_oxygen", 0.008, "kg/m3"),
        ("do_b:dissolved_oxygen", 0.007, "kg/m3"),
        ("site:water_temperature", 21, "Cel"),
        ("do_b:dissolved_oxygen", 0.0071, "kg/m3"),
    ]
    assert records[0].time_s == 1_767_225_600.0  # 2026-01-01T00:00:00Z
    assert one.skipped == {"cells without a value": 1}
    assert one.total() == 5
    assert one.device == "site"


def test_times_can_be_shifted(tmp_path: Path) -> None:
    one = recording(tmp_path, ROWS)
    assert one.last_s() - one.first_s() == 300
    (pack,) = one.packs(shift_s=1000)
    assert pack.due_s == one.last_s() + 1000


def test_without_a_column_of_times_they_are_counted(tmp_path: Path) -> None:
    mapping = MAPPING.replace('column = "when"', "start = 2026-01-01T08:00:00\nstep_s = 60")
    one = recording(tmp_path, ROWS, mapping)
    assert [one.first_s(), one.last_s()] == [1_767_225_600.0, 1_767_225_660.0]


def test_what_cannot_be_read_is_left_out_and_counted(tmp_path: Path) -> None:
    one = recording(tmp_path, ROWS + "soon,1,1,1\n2026-01-01 08:05,1,1,1\n2026-01-01 08:10,warm,1\n")
    records = [record for pack in one.packs() for record in pack.records]
    assert len(records) == 7, "of the second row at 08:05 only what the first one lacks"
    assert one.skipped == {
        "cells without a value": 1,
        "rows whose time can't be read": 1,
        "readings with another value at the same time of the same series": 2,
        "cells that are no number": 1,
        "cells that are absent from rows cut short": 1,
    }


def test_parquet_is_played_too(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1_767_225_600_000_000, 1_767_225_900_000_000], pa.timestamp("us", "UTC")),
            "temp": [293.15, None],
        }
    )
    pq.write_table(table, tmp_path / "site.parquet")
    (tmp_path / "m.toml").write_text(MAPPING)
    one = Recording(tmp_path / "site.parquet", file_mapping.load_mapping(tmp_path / "m.toml"))
    records = [record for pack in one.packs() for record in pack.records]
    assert [(record.time_s, record.value) for record in records] == [(1_767_225_600.0, 20.0)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"water_temperature"', '"warmth"', "no quantity 'warmth'"),
        ('"K"', '"pH"', "can't be read in 'pH'"),
        ('"Asia/Shanghai"', '"Asia/Nowhere"', "no zone 'Asia/Nowhere'"),
        ('column = "when"', "step_s = 5", "either column, or start and step_s"),
        ('match = "temp"', 'matches = "temp"', "matches"),
        ('"when"', '"time"', "no column 'time'"),
        ("[time]", "[time", "mapping"),
    ],
)
def test_a_wrong_mapping_is_a_sentence(old: str, new: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"m\.toml|site\.csv") as error:
        recording(tmp_path, ROWS, MAPPING.replace(old, new, 1))
    assert says in str(error.value)


def test_a_file_without_a_mapped_column_or_without_anything_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no column matches"):
        recording(tmp_path, "when,x\n")
    with pytest.raises(MappingError, match="is empty"):
        recording(tmp_path, "")


def test_lines_that_are_no_senml_stop_nothing() -> None:
    refused: list[str] = []
    stream = io.BytesIO(b'[{"n":"ph","v":7}]\n\nhello\n[{"n":"ph","v":8,"t":-60}]\n')
    lines = LineDriver(stream, clock=lambda: 1.7e9, on_refused=refused.append)
    packs = [pack for pack in lines.packs() if pack]
    assert [record.value for pack in packs for record in pack.records] == [7, 8]
    assert packs[1].records[0].time_s == 1.7e9 - 60
    assert len(refused) == 1
    assert refused[0].startswith("line 3:")
