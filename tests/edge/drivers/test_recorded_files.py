"""Recorded files as loggers, agencies and people write them; named for the symptoms they prevent."""

from __future__ import annotations

import datetime as dt
import gzip
import math
import random
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers import mapping as mappings
from edge.drivers.mapping import MappingError
from edge.drivers.replay import Recording
from edge.drivers.staging import SortedRows

if TYPE_CHECKING:
    from pathlib import Path

TIME = '[time]\ncolumn = "time"\n'
TEMP = '[[column]]\nmatch = "temp"\nquantity = "water_temperature"\nunit = "Cel"\n'
MAPPING = TIME + TEMP
BEGIN = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
AT_S = BEGIN.timestamp()


def recorded(
    folder: Path, content: str | bytes | pa.Table, mapping: str = MAPPING, *, name: str = "s.csv"
) -> Recording:
    """A recording of one file."""
    (folder / "m.toml").write_text(mapping, encoding="utf-8")
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Recording(path, mappings.load(folder / "m.toml"))


def played(one: Recording) -> list[tuple[float, float]]:
    """(time less AT_S, value) of what is played."""
    records = [record for pack in one.packs() for record in pack.records]
    return [(record.time_s - AT_S, round(record.value or 0.0, 6)) for record in records]


def left_out(one: Recording) -> dict[str, int]:
    """How many were left out, by reason; every row and cell is somewhere."""
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


# -- columns ---------------------------------------------------------------------------------------


def test_brackets_in_a_column_name_are_matched_as_they_stand(tmp_path: Path) -> None:
    mapping = TIME + TEMP.replace('"temp"', '"Temp [°C]"')
    assert played(recorded(tmp_path, "time,Temp [°C],pH\n2026-03-01T00:00Z,11.2,7\n", mapping)) == [(0, 11.2)]


def test_an_exact_name_goes_before_a_pattern_that_stands_first(tmp_path: Path) -> None:
    pattern = TEMP.replace('"temp"', '"t*"').replace("{", "{") + 'site = "other"\n'
    one = recorded(
        tmp_path, "time,temp,t2\n2026-03-01T00:00Z,1,2\n", TIME + pattern + TEMP + 'site = "mine"\n'
    )
    assert {measured.site for measured in one.series()} == {"other", "mine"}


def test_two_columns_of_one_series_are_refused(tmp_path: Path) -> None:
    text = "time,Temp C,Temp F\n2026-03-01T00:00Z,11.2,52\n"
    with pytest.raises(MappingError, match=r"'Temp C' and 'Temp F' \(2, 3\) would both be water_temperature"):
        recorded(tmp_path, text, TIME + TEMP.replace('"temp"', '"Temp*"'))
    with pytest.raises(MappingError, match="would both be"):
        recorded(tmp_path, "time,temp,temp\n2026-03-01T00:00Z,11.2,52\n")
    with pytest.raises(MappingError, match="both called 'time'"):
        recorded(tmp_path, "time,time,temp\n")


def test_look_alike_letters_in_a_name_and_a_unit_are_the_same(tmp_path: Path) -> None:
    mapping = TIME + '[[column]]\nmatch = "EC \u03bcS/cm"\nquantity = "conductivity"\nunit = "\u03bcS/cm"\n'
    assert played(recorded(tmp_path, "time,EC \u00b5S/cm\n2026-03-01T00:00Z,410\n", mapping)) == [(0, 0.041)]


@pytest.mark.parametrize(
    ("quantity", "unit", "given", "wire"),
    [
        ("water_temperature", "°F", "212", 100.0),
        ("water_temperature", "degF", "32", 0.0),
        ("water_level", "ft", "10", 3.048),
        ("discharge", "cfs", "1000", 28.316847),
        ("conductivity", "mS/cm", "1", 0.1),
        ("traffic_speed", "mph", "10", 4.4704),
    ],
)
def test_units_of_the_field_are_read(
    tmp_path: Path, quantity: str, unit: str, given: str, wire: float
) -> None:
    mapping = f'{TIME}[[column]]\nmatch = "x"\nquantity = "{quantity}"\nunit = "{unit}"\n'
    assert played(recorded(tmp_path, f"time,x\n2026-03-01T00:00Z,{given}\n", mapping)) == [(0, wire)]


def test_any_other_unit_is_scaled_by_the_mapping(tmp_path: Path) -> None:
    one = recorded(tmp_path, "time,temp\n2026-03-01T00:00Z,112\n", MAPPING + "scale = 0.1\noffset = -1\n")
    assert played(one) == [(0, 10.2)]


# -- lines, letters and signs ------------------------------------------------------------------------


def test_lines_before_and_after_the_names_are_skipped(tmp_path: Path) -> None:
    text = (
        '"TOA5","Bridge","CR300"\n"TIMESTAMP","RECORD","temp"\n"TS","RN","degC"\n"","","Avg"\n'
        '"2026-03-01 00:05:00",0,11.2\n"2026-03-01 00:10:00",1,"NAN"\n'
    )
    mapping = "skip_before = 1\nskip_after = 2\n" + MAPPING.replace('"time"', '"TIMESTAMP"')
    one = recorded(tmp_path, text, mapping, name="logger.dat")
    assert (played(one), left_out(one)) == ([(300, 11.2)], {"no-value": 1})
    with pytest.raises(MappingError, match=r"no column 'TIMESTAMP'.*skip_before"):
        recorded(tmp_path, text, MAPPING.replace('"time"', '"TIMESTAMP"'))


def test_comments_are_skipped_and_names_may_come_from_the_mapping(tmp_path: Path) -> None:
    mapping = 'comment = "#"\nnames = ["time", "temp"]\n' + MAPPING
    assert played(recorded(tmp_path, "# river\n2026-03-01T00:00Z,1\n#\n2026-03-01T00:01Z,2\n", mapping)) == [
        (0, 1),
        (60, 2),
    ]


def test_a_byte_order_mark_in_mapping_and_file_is_ignored(tmp_path: Path) -> None:
    one = recorded(tmp_path, b"\xef\xbb\xbftime,temp\n2026-03-01T00:00Z,11\n", "\ufeff" + MAPPING)
    assert played(one) == [(0, 11)]


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "latin-1", "cp1252", "utf-16-be"])
def test_encodings_are_read_by_their_name_or_mark(tmp_path: Path, encoding: str) -> None:
    header = "time,temp,备注" if encoding == "gb18030" else "time,temp,µS"
    named = "" if encoding == "utf-16" else f'encoding = "{encoding}"\n'
    text = (
        f"{header}\n2026-03-01T00:00Z,11,°\n"
        if encoding != "gb18030"
        else f"{header}\n2026-03-01T00:00Z,11,晴\n"
    )
    one = recorded(tmp_path, text.encode(encoding), named + MAPPING)
    assert (played(one), one.accounts[0].notes) == ([(0, 11)], [])


def test_a_bad_byte_late_in_a_file_is_one_sentence_and_the_rest_is_played(tmp_path: Path) -> None:
    rows = [f"{(BEGIN + dt.timedelta(minutes=n)).isoformat()},{n},".encode() for n in range(5000)]
    rows[3200] += "晴".encode("gb18030")
    rows[4200] = rows[4200].replace(b",4200,", b",42\xb000,")
    one = recorded(tmp_path, b"time,temp,note\n" + b"\n".join(rows) + b"\n")
    assert len(played(one)) == 4999
    assert left_out(one) == {"not-a-number": 1}
    notes = one.accounts[0].notes
    assert "s.csv, line 3202: 2 of its bytes are not UTF-8" in notes[0]
    assert any("line 4202" in note for note in notes)


def test_names_that_are_no_text_get_a_hint_at_the_encoding(tmp_path: Path) -> None:
    text = "time,Temp [°C]\n2026-03-01T00:00Z,11\n".encode("latin-1")
    mapping = TIME + TEMP.replace('"temp"', '"Temp [°C]"')
    with pytest.raises(MappingError, match=r'give an encoding, such as "latin-1"'):
        recorded(tmp_path, text, mapping)
    assert played(recorded(tmp_path, text, 'encoding = "latin-1"\n' + mapping)) == [(0, 11)]


def test_a_gz_that_is_cut_short_is_one_sentence_and_what_was_read_is_played(tmp_path: Path) -> None:
    numbers = random.Random(1)
    text = "time,temp\n" + "".join(
        f"{(BEGIN + dt.timedelta(minutes=n)).isoformat()},{numbers.random():.6f}\n" for n in range(5000)
    )
    whole = gzip.compress(text.encode())
    one = recorded(tmp_path, whole[: len(whole) // 2], name="s.csv.gz")
    assert 1000 < len(played(one)) < 4000
    assert left_out(one)["cut-file"] == 1
    assert "end before their end marker; what follows is lost" in one.accounts[0].notes[-1]


def test_decimal_commas_and_thousands_are_read(tmp_path: Path) -> None:
    mapping = 'separator = ";"\ndecimal = ","\nthousands = "."\n' + MAPPING
    text = "time;temp\n2026-03-01T00:00Z;1.011,2\n2026-03-01T00:01Z;11,3\n2026-03-01T00:02Z;1.1,5\n"
    one = recorded(tmp_path, text, mapping)
    assert (played(one), left_out(one)) == ([(0, 1011.2), (60, 11.3)], {"not-a-number": 1})


def test_a_decimal_comma_that_is_not_declared_loses_nothing_in_silence(tmp_path: Path) -> None:
    one = recorded(tmp_path, "time,temp\n2026-03-01T00:00Z,11\n2026-03-01T00:01Z,11,2\n")
    assert (played(one), left_out(one)) == ([(0, 11)], {"ragged": 1})
    assert "decimal commas" in one.accounts[0].notes[0]
    with pytest.raises(MappingError, match='a decimal comma needs decimal = ","'):
        played(recorded(tmp_path, 'time,temp\n2026-03-01T00:00Z,"11,2"\n'))
    with pytest.raises(MappingError, match='separator = ";"'):
        recorded(tmp_path, "time;temp\n", f"[time]\nstart = 2026-03-01\nstep_s = 1\n{TEMP}")


@pytest.mark.parametrize("cell", ["-9999", "-9999.0", " -9999.00", "-9.999e3", "", " ", "nan", "NULL"])
def test_a_sentinel_is_no_value_in_any_notation(tmp_path: Path, cell: str) -> None:
    one = recorded(
        tmp_path,
        f"time,temp\n2026-03-01T00:00Z,1\n2026-03-01T00:01Z,{cell}\n",
        'missing = [-9999, "NULL"]\n' + MAPPING,
    )
    assert (played(one), left_out(one)) == ([(0, 1)], {"no-value": 1})


def test_sentinels_are_not_stored_from_parquet(tmp_path: Path) -> None:
    times = pa.array([1_772_323_200_000_000 + n for n in range(4)], pa.timestamp("us", "UTC"))
    for kind, sentinel in ((pa.float64(), "-9999"), (pa.float32(), -9999.9), (pa.int32(), -9999.0)):
        value = int(float(sentinel)) if kind == pa.int32() else float(sentinel)
        table = pa.table({"time": times, "temp": pa.array([1, value, None, 2], kind)})
        mapping = f"missing = [{sentinel!r}]\n" + MAPPING
        one = recorded(tmp_path, table, mapping, name="s.parquet")
        assert [value for _, value in played(one)] == [1, 2]
        assert left_out(one) == {"no-value": 2}


# -- times -----------------------------------------------------------------------------------------


def test_midnight_as_24_is_the_next_day(tmp_path: Path) -> None:
    rows = "time,temp\n2026-03-01 23:00,1\n2026-03-01 24:00,2\n2026-03-02 01:00,3\n"
    for more in ("", 'format = "%Y-%m-%d %H:%M"\n'):
        one = recorded(tmp_path, rows, TIME + more + TEMP)
        assert [at / 3600 for at, _ in played(one)] == [23, 24, 25]
    one = recorded(
        tmp_path,
        "time,temp\n24.12.2026 24:00,1\n24.12.2026 24:05,1\n",
        f'{TIME}format = "%d.%m.%Y %H:%M"\n{TEMP}',
    )
    assert one.first_s() == dt.datetime(2026, 12, 25, tzinfo=dt.UTC).timestamp()
    assert left_out(one) == {"no-time": 1}


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
    assert played(recorded(tmp_path, f"time,temp\n{written},1\n")) == [(300, 1)]


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e400", "soon", ""])
def test_a_time_that_is_not_finite_stops_nothing(tmp_path: Path, cell: str) -> None:
    text = f"time,temp\n1772323200,1\n{cell},2\n1772323500,3\n"
    one = recorded(tmp_path, text, f'{TIME}format = "unix"\n{TEMP}')
    assert (played(one), left_out(one)) == ([(0, 1), (300, 3)], {"no-time": 1})


def test_unix_times_are_read_in_their_unit_and_others_get_a_hint(tmp_path: Path) -> None:
    for name, scale in (("unix", 1), ("unix_ms", 1000), ("unix_us", 10**6), ("unix_ns", 10**9)):
        text = f"time,temp\n{1_772_323_200 * scale},1\n"
        assert played(recorded(tmp_path, text, f'{TIME}format = "{name}"\n{TEMP}')) == [(0, 1)]
        with pytest.raises(MappingError, match=f'looks like \\[time\\] format = "{name}"'):
            played(recorded(tmp_path, text))
    with pytest.raises(MappingError, match=r'looks like .*"unix_ms"'):
        played(recorded(tmp_path, "time,temp\n1772323200000,1\n", f'{TIME}format = "unix"\n{TEMP}'))
    with pytest.raises(MappingError, match="%Y%m%d%H%M%S"):
        played(recorded(tmp_path, "time,temp\n20260301000000,1\n"))


def test_date_and_time_in_two_columns_are_one_time(tmp_path: Path) -> None:
    mapping = MAPPING.replace('"time"', '["date", "clock"]', 1)
    assert played(recorded(tmp_path, "date,clock,temp\n2026-03-01,00:05,1\n", mapping)) == [(300, 1)]
    table = pa.table({"date": [dt.date(2026, 3, 1)], "clock": [dt.time(0, 5)], "temp": [1.0]})
    assert played(recorded(tmp_path, table, mapping, name="s.parquet")) == [(300, 1)]


@pytest.mark.parametrize("start", ["2026-03-08T00:00:00", "2026-11-01T00:00:00"])
def test_counted_times_step_evenly_over_a_change_of_summer_time(tmp_path: Path, start: str) -> None:
    mapping = f'[time]\nstart = {start}\nstep_s = 300\nzone = "America/Los_Angeles"\n{TEMP}'
    one = recorded(tmp_path, "temp\n" + "1\n" * 48, mapping)
    times = [at for at, _ in played(one)]
    assert {later - earlier for earlier, later in pairwise(times)} == {300}
    assert len(times) == 48


def test_a_start_that_summer_time_skips_is_a_sentence(tmp_path: Path) -> None:
    mapping = f'[time]\nstart = 2026-03-08T02:30:00\nstep_s = 300\nzone = "America/Denver"\n{TEMP}'
    with pytest.raises(MappingError, match=r"s\.csv: \[time\] start: .* does not exist"):
        played(recorded(tmp_path, "temp\n1\n", mapping))


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_repeated_hour_is_told_apart_by_the_order_of_the_file(
    tmp_path: Path, *, newest_first: bool
) -> None:
    clock = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    rows = [f"2026-11-01 {one},{n}" for n, one in enumerate(clock)]
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = recorded(tmp_path, "time,temp\n" + "\n".join(reversed(rows) if newest_first else rows), mapping)
    found = played(one)
    assert [value for _, value in found] == [0, 1, 2, 3, 4, 5]
    assert {later[0] - earlier[0] for earlier, later in pairwise(found)} == {1800}


def test_the_repeated_hour_of_a_file_without_order_needs_fold(tmp_path: Path) -> None:
    rows = [f"2026-11-{day:02} 01:{minute:02},1" for day in range(1, 9) for minute in range(0, 60, 5)]
    random.Random(2).shuffle(rows)
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = recorded(tmp_path, "time,temp\n" + "\n".join(rows), mapping)
    assert (len(played(one)), left_out(one)) == (84, {"repeated-hour": 12})
    first, second = (
        recorded(
            tmp_path,
            "time,temp\n" + "\n".join(rows),
            f'{TIME}zone = "America/Denver"\nfold = "{fold}"\n{TEMP}',
        )
        for fold in ("first", "second")
    )
    assert second.first_s() - first.first_s() == 3600


def test_an_hour_that_summer_time_skips_is_not_moved_in_silence(tmp_path: Path) -> None:
    mapping = f'{TIME}zone = "America/Denver"\n{TEMP}'
    one = recorded(
        tmp_path, "time,temp\n2026-03-08 01:30,1\n2026-03-08 02:30,2\n2026-03-08 03:30,3\n", mapping
    )
    assert (len(played(one)), left_out(one)) == (2, {"skipped-hour": 1})


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
    wanted = [begin + dt.timedelta(minutes=20 * n) for n in range(24 * 3)]
    rows = [f"{one.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M},{n}" for n, one in enumerate(wanted)]
    folder = tmp_path_factory.mktemp("local")
    text = "time,temp\n" + "\n".join(rows[::-1] if backwards else rows)
    one = recorded(folder, text, f'{TIME}zone = "{zone}"\n{TEMP}')
    inside = [moment for moment in wanted if moment not in (wanted[0], wanted[-1])]
    assert {moment.timestamp() - AT_S for moment in inside[4:-4]} <= {at for at, _ in played(one)}


def test_archives_before_2000_are_counted_before_anything_is_played(tmp_path: Path) -> None:
    one = recorded(tmp_path, "time,temp\n1985-01-01,1\n1999-12-31,2\n2000-01-01,3\n")
    assert one.leave_out_early(0.0) == 2
    assert left_out(one)["before-2000"] == 2
    records = [record for pack in one.packs(earliest_s=946_684_800.0) for record in pack.records]
    assert [record.value for record in records] == [3]


# -- order -----------------------------------------------------------------------------------------


def test_newest_first_is_played_oldest_first(tmp_path: Path) -> None:
    rows = [f"2026-03-01T{hour:02}:00Z,{hour}" for hour in reversed(range(24))]
    one = recorded(tmp_path, "time,temp\n" + "\n".join(rows))
    assert (played(one), left_out(one)) == ([(hour * 3600, hour) for hour in range(24)], {})


def test_several_files_of_one_device_are_played_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    rows = {"w.2026-02.csv": range(5, 9), "w.2026-01.csv": range(6)}  # one row is in both
    for name, hours in rows.items():
        lines = [f"2026-03-01T{hour:02}:00Z,{hour}" for hour in hours]
        (tmp_path / name).write_text("time,temp\n" + "\n".join(lines))
    one = Recording([tmp_path / name for name in rows], mappings.load(tmp_path / "m.toml"))
    assert (played(one), left_out(one)) == ([(hour * 3600, hour) for hour in range(9)], {"repeat": 1})


def test_stations_one_below_the_other_are_refused_or_mapped(tmp_path: Path) -> None:
    text = (
        "time,station,temp\n2026-03-01T00:00Z,a,1\n2026-03-01T00:00Z,b,9\n2026-03-01T00:05Z,b,8\n"
        "2026-03-01T00:05Z,a,2\n"
    )
    with pytest.raises(MappingError, match=r"2 of 4 rows .*station = .*'station'"):
        played(recorded(tmp_path, text))
    one = recorded(tmp_path, text, 'station = "station"\n' + MAPPING)
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
        played(recorded(tmp_path, f"time,station,temp\n{rows}", 'station = "station"\n' + MAPPING))


def test_a_station_that_can_be_no_site_is_left_out_and_named(tmp_path: Path) -> None:
    text = "time,station,temp\n2026-03-01T00:00Z,西桥,1\n2026-03-01T00:00Z,b,9\n2026-03-01T00:00Z,,9\n"
    one = recorded(tmp_path, text, 'station = "station"\n' + MAPPING)
    assert (played(one), left_out(one)) == ([(0, 9)], {"no-station": 2})
    assert "'西桥'" in one.accounts[0].notes[0]
    one = recorded(tmp_path, text, 'station = "station"\n' + MAPPING + '[stations]\n"西桥" = "west"\n')
    assert (len(played(one)), left_out(one)) == (1, {"other-station": 2})


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


# -- whatever the file -------------------------------------------------------------------------------


def test_nanoseconds_in_parquet_are_read_to_the_microsecond(tmp_path: Path) -> None:
    ticks = [1_772_323_200_333_333_333, 1_772_323_500_000_000_001]
    table = pa.table({"time": pa.array(ticks, pa.timestamp("ns", "UTC")), "temp": [1.5, 1.6]})
    assert played(recorded(tmp_path, table, name="s.parquet")) == [
        (pytest.approx(0.333333, abs=1e-6), 1.5),
        (300, 1.6),
    ]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([dt.date(2026, 3, 1)]),
        pa.array(["2026-03-01"]).dictionary_encode(),
        pa.array(["2026-03-01T00:00Z"], pa.large_string()),
        pa.array([1_772_323_200], pa.timestamp("s")),
        pa.array([1_772_323_200_000], pa.timestamp("ms", "Asia/Shanghai")),
    ],
)
@pytest.mark.parametrize(
    "values",
    [pa.array([Decimal("1.5")]), pa.array(["1.5"]).dictionary_encode(), pa.array([1.5], pa.float16())],
)
def test_parquet_of_any_kind_of_column_is_read(tmp_path: Path, times: pa.Array, values: pa.Array) -> None:
    assert played(recorded(tmp_path, pa.table({"time": times, "temp": values}), name="s.parquet")) == [
        (0, 1.5)
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1.0], None]),
        pa.array([{"a": 1}, None]),
        pa.array([True, None]),
        pa.array([b"1", None]),
        pa.array([dt.date(2026, 1, 1), None]),
        pa.array([5, None], pa.duration("ns")),
    ],
)
def test_parquet_columns_that_hold_no_numbers_are_a_sentence(tmp_path: Path, values: pa.Array) -> None:
    times = pa.array([1_772_323_200, 1_772_323_201], pa.timestamp("s", "UTC"))
    with pytest.raises(MappingError, match=r"s\.parquet.*is no number"):
        played(recorded(tmp_path, pa.table({"time": times, "temp": values}), name="s.parquet"))


def test_times_that_no_calendar_has_are_left_out_of_parquet(tmp_path: Path) -> None:
    times = pa.array([2**60, 1_772_323_200_000], pa.timestamp("ms", "UTC"))
    one = recorded(tmp_path, pa.table({"time": times, "temp": [1.0, 2.0]}), name="s.parquet")
    assert (played(one), left_out(one)) == ([(0, 2)], {"no-time": 1})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n\n", "is empty"),
        (b"time,temp\n", "there is no row of data"),
        (b"time,temp\nsoon,1\n", "no row has a time that can be read; .*line 2"),
        (b"time,temp\n2026-03-01,\n", "no mapped cell holds a number"),
        (b"PK\x03\x04abc", "Excel workbook"),
        (b"t\x00i\x00m\x00e\x00,\x00t\x00", 'encoding = "utf-16-le"'),
        (b'{"time": 1}', "JSON"),
        (b"PAR1abcdPAR1", "can't be read as Parquet"),
        (b"\x1f\x8b\x08\x00", "can't be read"),
        (bytes(range(256)) * 20, "no column|no text"),
    ],
)
def test_what_is_no_table_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(MappingError, match=says) as error:
        played(recorded(tmp_path, content))
    assert "s.csv" in str(error.value)


def test_a_folder_and_a_file_that_is_not_there_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    mapping = mappings.load(tmp_path / "m.toml")
    with pytest.raises(MappingError, match="is a folder"):
        Recording(tmp_path, mapping)
    with pytest.raises(MappingError, match="no file that can be read"):
        Recording(tmp_path / "none.csv", mapping)


def test_rows_that_are_cut_ragged_quoted_or_huge_stop_nothing(tmp_path: Path) -> None:
    rows = [
        "time,temp,note",
        "2026-03-01T00:00Z,1,",
        '2026-03-01T00:01Z,2,"two\nlines"',
        "2026-03-01T00:02Z",
        "2026-03-01T00:03Z,4,x,,,",
        "2026-03-01T00:04Z,5,x,6",
        "",
        ", ,",
        "2026-03-01T00:05Z,\x00,x",
        f"2026-03-01T00:06Z,7,{'x' * 200_000}",
        "2026-03-01T00:07Z,8,x",
        f'2026-03-01T00:08Z,9,"never closed{"x" * 140_000}',
        "2026-03-01T00:09Z,10,x",
    ]
    one = recorded(tmp_path, "\n".join(rows))
    values = [value for _, value in played(one)]
    assert values[:4] == [1, 2, 4, 8]
    assert left_out(one) == {
        "blank": 1,
        "short-row": 1,
        "ragged": 1,
        "not-a-number": 1,
        "unreadable": 2,
    }


def test_old_parquet_times_are_read(tmp_path: Path) -> None:
    times = pa.array([dt.datetime(2026, 3, 1), dt.datetime(9000, 1, 1)], pa.timestamp("us"))  # noqa: DTZ001
    pq.write_table(
        pa.table({"time": times, "temp": [1.0, 2.0]}),
        tmp_path / "s.parquet",
        use_deprecated_int96_timestamps=True,
    )
    (tmp_path / "m.toml").write_text(MAPPING)
    one = Recording(tmp_path / "s.parquet", mappings.load(tmp_path / "m.toml"))
    assert [value for _, value in played(one)] == [1, 2]


def test_a_parquet_that_is_cut_is_a_sentence(tmp_path: Path) -> None:
    times = pa.array([1_772_323_200 + n for n in range(50_000)], pa.timestamp("s", "UTC"))
    table = pa.table({"time": times, "temp": pa.array([math.sin(n) for n in range(50_000)])})
    recorded(tmp_path, table, name="s.parquet")
    whole = (tmp_path / "s.parquet").read_bytes()
    with pytest.raises(MappingError, match="can't be read as Parquet"):
        recorded(tmp_path, whole[: len(whole) // 2], name="s.parquet")
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 2000] = bytes(2000)
    one = recorded(tmp_path, bytes(broken), name="s.parquet")
    try:
        assert len(played(one)) + 1 >= 1
        one.read()
    except MappingError as error:
        assert "s.parquet" in str(error)  # noqa: PT017 - what was damaged may be all of it


CELLS = st.sampled_from(
    ["", "1", "-9999", "1,5", "nan", "inf", '"', "\n", ",", "\x00", "2026-03-01", "24:00", "é", "9" * 400]
)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400), st.lists(CELLS, max_size=60).map(lambda cells: ",".join(cells).encode())
    )
)
def test_no_file_makes_a_traceback_and_every_row_is_somewhere(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        one = recorded(folder, b"time,temp\n2026-03-01,1\n" + content)
        assert len(played(one)) >= 1
        left_out(one)
    except MappingError as error:
        assert "s.csv" in str(error)  # noqa: PT017


# -- mappings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "[time]",
            'seperator = ","\n[time]',
            "line 1: there is no key 'seperator': did you mean 'separator'",
        ),
        (
            'unit = "Cel"',
            'unti = "Cel"',
            r"line 6: \[\[column\]\] there is no key 'unti': did you mean 'unit'",
        ),
        ('"water_temperature"', '"water_temprature"', "did you mean 'water_temperature'"),
        ('column = "time"', 'column = "time"\nzone = "Asia/Shangai"', "did you mean 'Asia/Shanghai'"),
        (
            'column = "time"',
            'column = "time"\nformat = "unixms"',
            "there is no format 'unixms': did you mean",
        ),
        ('column = "time"', 'column = "time"\nformat = "DD.MM.YYYY"', "no strptime format"),
        ('column = "time"', 'column = "time"\nformat = "%Q"', "can't be used"),
        ('column = "time"', 'column = "time"\nfold = "late"', "fold"),
        ("[time]", 'encoding = "utf-88"\n[time]', "no text encoding 'utf-88'"),
        ("[time]", 'encoding = "base64"\n[time]', "no text encoding 'base64'"),
        ("[time]", 'separator = ";;"\n[time]', "must be one character"),
        ("[time]", 'decimal = ","\nthousands = ","\n[time]', "must differ"),
        ("[time]", "skip_before = -1\n[time]", "0 or more"),
        ('unit = "Cel"', 'unit = "Cel"\nsite = "{fiel}"', "there is no {fiel}"),
        ('unit = "Cel"', 'unit = "Cel"\nsite = "{station}"', "needs station"),
        ("[[column]]", "[column]", r"write \[\[column\]\]"),
        ("[time]", 'station = "s"\nstations = { a = "西桥" }\n[time]', "can't be a site id"),
        ("[[column]]", '[stations]\na = "b"\n[[column]]', "needs station"),
    ],
)
def test_a_misspelt_mapping_is_a_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in MAPPING
    with pytest.raises(MappingError, match=says) as error:
        recorded(tmp_path, "time,temp\n", MAPPING.replace(old, new, 1))
    assert "m.toml" in str(error.value)


def test_a_mapping_in_another_encoding_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(MAPPING.replace('"temp"', '"温"').encode("gb18030"))
    with pytest.raises(MappingError, match=r"line 4: byte 0x.* is not UTF-8"):
        mappings.load(tmp_path / "m.toml")


def test_a_recording_is_read_once(tmp_path: Path) -> None:
    one: Any = recorded(tmp_path, "time,temp\n2026-03-01T00:00Z,1\n")
    (tmp_path / "s.csv").unlink(missing_ok=False) if one.total() else None
    assert played(one) == played(one) == [(0, 1)]
