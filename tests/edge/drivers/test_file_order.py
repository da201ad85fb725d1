"""Tests the order and the stations of recorded files; tests are named after the symptoms they prevent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers import file_mapping
from edge.drivers.external_sort import SortedRows
from edge.drivers.file_mapping import MappingError
from edge.drivers.replay_driver import Recording
from tests.support.recorded_files import AT_S, MAPPING, left_out_by_reason, open_recording, played_values

if TYPE_CHECKING:
    from pathlib import Path


def test_newest_first_is_played_oldest_first(tmp_path: Path) -> None:
    rows = [f"2026-03-01T{hour:02}:00Z,{hour}" for hour in reversed(range(24))]
    one = open_recording(tmp_path, "time,temp\n" + "\n".join(rows))
    assert (played_values(one), left_out_by_reason(one)) == ([(hour * 3600, hour) for hour in range(24)], {})


def test_several_files_of_one_device_are_played_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    rows = {"w.2026-02.csv": range(5, 9), "w.2026-01.csv": range(6)}  # one row is in both
    for name, hours in rows.items():
        lines = [f"2026-03-01T{hour:02}:00Z,{hour}" for hour in hours]
        (tmp_path / name).write_text("time,temp\n" + "\n".join(lines))
    one = Recording([tmp_path / name for name in rows], file_mapping.load_mapping(tmp_path / "m.toml"))
    assert (played_values(one), left_out_by_reason(one)) == (
        [(hour * 3600, hour) for hour in range(9)],
        {"repeat": 1},
    )


def test_stations_one_below_the_other_are_refused_or_mapped(tmp_path: Path) -> None:
    text = (
        "time,station,temp\n2026-03-01T00:00Z,a,1\n2026-03-01T00:00Z,b,9\n2026-03-01T00:05Z,b,8\n"
        "2026-03-01T00:05Z,a,2\n"
    )
    with pytest.raises(MappingError, match=r"2 of 4 rows .*station = .*'station'"):
        played_values(open_recording(tmp_path, text))
    one = open_recording(tmp_path, text, 'station = "station"\n' + MAPPING)
    records = sorted((r.name, r.time_s - AT_S, r.value) for pack in one.packs() for r in pack.records)
    assert records == [
        ("a:water_temperature", 0, 1),
        ("a:water_temperature", 300, 2),
        ("b:water_temperature", 0, 9),
        ("b:water_temperature", 300, 8),
    ]


def test_a_station_column_of_ever_new_names_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"2026-03-01T00:00Z,s{number},1\n" for number in range(10_001))
    with pytest.raises(MappingError, match="more than 10,000 stations"):
        played_values(
            open_recording(tmp_path, f"time,station,temp\n{rows}", 'station = "station"\n' + MAPPING)
        )


def test_a_station_that_can_be_no_site_is_left_out_and_named(tmp_path: Path) -> None:
    text = "time,station,temp\n2026-03-01T00:00Z,西桥,1\n2026-03-01T00:00Z,b,9\n2026-03-01T00:00Z,,9\n"
    one = open_recording(tmp_path, text, 'station = "station"\n' + MAPPING)
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 9)], {"no-station": 2})
    assert "'西桥'" in one.accounts[0].notes[0]
    one = open_recording(tmp_path, text, 'station = "station"\n' + MAPPING + '[stations]\n"西桥" = "west"\n')
    assert (len(played_values(one)), left_out_by_reason(one)) == (1, {"other-station": 2})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=300), st.sampled_from([1 << 18, 200])
)
def test_rows_come_back_by_time_in_the_order_they_came(rows: list[tuple[int, int]], cells: int) -> None:
    staged = SortedRows(2)
    staged._chunk_rows = max(2, cells // 2)
    for row in rows:
        staged.append((float(row[0]), float(row[1])))
    assert list(staged.rows()) == sorted(((float(t), float(v)) for t, v in rows), key=lambda row: row[0])
    staged.close()
