"""Tests times of recorded files; tests are named after the symptoms they prevent."""

from __future__ import annotations

import datetime as dt
import random
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers.file_mapping import MappingError
from tests.support.recorded_files import (
    AT_S,
    MAPPING,
    TEMP,
    TIME,
    left_out_by_reason,
    open_recording,
    played_values,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_midnight_as_24_is_the_next_day(tmp_path: Path) -> None:
    rows = "time,temp\n2026-03-01 23:00,1\n2026-03-01 24:00,2\n2026-03-02 01:00,3\n"
    for more in ("", 'format = "%Y-%m-%d %H:%M"\n'):
        one = open_recording(tmp_path, rows, TIME + more + TEMP)
        assert [at / 3600 for at, _ in played_values(one)] == [23, 24, 25]
    one = open_recording(
        tmp_path,
        "time,temp\n24.12.2026 24:00,1\n24.12.2026 24:05,1\n",
        f'{TIME}format = "%d.%m.%Y %H:%M"\n{TEMP}',
    )
    assert one.first_s() == dt.datetime(2026, 12, 25, tzinfo=dt.UTC).timestamp()
    assert left_out_by_reason(one) == {"no-time": 1}


@pytest.mark.parametrize(
    "written",
    [
        "2026/3/1 0:05",
        "2026-03-01T00:05Z",
        "2026-03-01 08:05+08:00",
        "20260301T000500",
        "2026年3月1日 0时5分",
        "2026-03-01 00:05:00 UTC",
    ],
)
def test_times_near_iso_8601_are_read(tmp_path: Path, written: str) -> None:
    assert played_values(open_recording(tmp_path, f"time,temp\n{written},1\n")) == [(300, 1)]


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e400", "soon", ""])
def test_a_time_that_is_not_finite_stops_nothing(tmp_path: Path, cell: str) -> None:
    text = f"time,temp\n1772323200,1\n{cell},2\n1772323500,3\n"
    one = open_recording(tmp_path, text, f'{TIME}format = "unix"\n{TEMP}')
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 1), (300, 3)], {"no-time": 1})


def test_unix_times_are_read_in_their_unit_and_others_get_a_hint(tmp_path: Path) -> None:
    for name, scale in (("unix", 1), ("unix_ms", 1000), ("unix_us", 10**6), ("unix_ns", 10**9)):
        text = f"time,temp\n{1_772_323_200 * scale},1\n"
        assert played_values(open_recording(tmp_path, text, f'{TIME}format = "{name}"\n{TEMP}')) == [(0, 1)]
        with pytest.raises(MappingError, match=f'looks like \\[time\\] format = "{name}"'):
            played_values(open_recording(tmp_path, text))
    with pytest.raises(MappingError, match=r'looks like .*"unix_ms"'):
        played_values(
            open_recording(tmp_path, "time,temp\n1772323200000,1\n", f'{TIME}format = "unix"\n{TEMP}')
        )
    with pytest.raises(MappingError, match="%Y%m%d%H%M%S"):
        played_values(open_recording(tmp_path, "time,temp\n20260301000000,1\n"))


def test_date_and_time_in_two_columns_are_one_time(tmp_path: Path) -> None:
    mapping = MAPPING.replace('"time"', '["date", "clock"]', 1)
    assert played_values(open_recording(tmp_path, "date,clock,temp\n2026-03-01,00:05,1\n", mapping)) == [
        (300, 1)
    ]
    table = pa.table({"date": [dt.date(2026, 3, 1)], "clock": [dt.time(0, 5)], "temp": [1.0]})
    assert played_values(open_recording(tmp_path, table, mapping, name="s.parquet")) == [(300, 1)]


@pytest.mark.parametrize("start", ["2026-03-08T00:00:00", "2026-11-01T00:00:00"])
def test_counted_times_step_evenly_over_a_change_of_summer_time(tmp_path: Path, start: str) -> None:
    mapping = f'[time]\nstart = {start}\nstep_s = 300\nzone = "America/Los_Angeles"\n{TEMP}'
    one = open_recording(tmp_path, "temp\n" + "1\n" * 48, mapping)
    times = [at for at, _ in played_values(one)]
    assert {later - earlier for earlier, later in pairwise(times)} == {300}
    assert len(times) == 48


def test_a_start_that_summer_time_skips_is_a_sentence(tmp_path: Path) -> None:
    mapping = f'[time]\nstart = 2026-03-08T02:30:00\nstep_s = 300\nzone = "America/Denver"\n{TEMP}'
    with pytest.raises(MappingError, match=r"s\.csv: \[time\] start: .* does not exist"):
        played_values(open_recording(tmp_path, "temp\n1\n", mapping))


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_repeated_hour_is_resolved_by_the_order_of_the_file(
    tmp_path: Path, *, newest_first: bool
) -> None:
    clock = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    rows = [f"2026-11-01 {one},{n}" for n, one in enumerate(clock)]
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = open_recording(
        tmp_path, "time,temp\n" + "\n".join(reversed(rows) if newest_first else rows), mapping
    )
    found = played_values(one)
    assert [value for _, value in found] == [0, 1, 2, 3, 4, 5]
    assert {later[0] - earlier[0] for earlier, later in pairwise(found)} == {1800}


def test_the_repeated_hour_of_a_file_without_order_needs_fold(tmp_path: Path) -> None:
    rows = [f"2026-11-{day:02} 01:{minute:02},1" for day in range(1, 9) for minute in range(0, 60, 5)]
    random.Random(2).shuffle(rows)
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = open_recording(tmp_path, "time,temp\n" + "\n".join(rows), mapping)
    assert (len(played_values(one)), left_out_by_reason(one)) == (84, {"repeated-hour": 12})
    first, second = (
        open_recording(
            tmp_path,
            "time,temp\n" + "\n".join(rows),
            f'{TIME}zone = "America/Denver"\nfold = "{fold}"\n{TEMP}',
        )
        for fold in ("first", "second")
    )
    assert second.first_s() - first.first_s() == 3600


def test_an_hour_that_summer_time_skips_is_not_moved_in_silence(tmp_path: Path) -> None:
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = open_recording(
        tmp_path, "time,temp\n2026-03-08 01:30,1\n2026-03-08 02:30,2\n2026-03-08 03:30,3\n", mapping
    )
    assert (len(played_values(one)), left_out_by_reason(one)) == (2, {"skipped-hour": 1})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-40, 40),
    st.sampled_from(["America/Denver", "Europe/Berlin", "Asia/Shanghai", "Australia/Lord_Howe"]),
    st.booleans(),
)
def test_local_times_in_order_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    hours: int,
    zone: str,
    backwards: bool,  # noqa: FBT001
) -> None:
    changes = {"America/Denver": (2026, 11, 1, 8), "Europe/Berlin": (2026, 3, 29, 1)}
    begin = dt.datetime(*changes.get(zone, (2026, 4, 4, 15)), tzinfo=dt.UTC) + dt.timedelta(hours=hours)
    expected = [begin + dt.timedelta(minutes=20 * n) for n in range(24 * 3)]
    rows = [f"{one.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M},{n}" for n, one in enumerate(expected)]
    folder = tmp_path_factory.mktemp("local")
    text = "time,temp\n" + "\n".join(rows[::-1] if backwards else rows)
    one = open_recording(folder, text, f'{TIME}zone = "{zone}"\n{TEMP}')
    inside = [moment for moment in expected if moment not in (expected[0], expected[-1])]
    assert {moment.timestamp() - AT_S for moment in inside[4:-4]} <= {at for at, _ in played_values(one)}


def test_archives_before_2000_are_counted_before_anything_is_played(tmp_path: Path) -> None:
    one = open_recording(tmp_path, "time,temp\n1985-01-01,1\n1999-12-31,2\n2000-01-01,3\n")
    assert one.leave_out_early(0.0) == 2
    assert left_out_by_reason(one)["before-2000"] == 2
    records = [record for pack in one.packs(earliest_s=946_684_800.0) for record in pack.records]
    assert [record.value for record in records] == [3]
