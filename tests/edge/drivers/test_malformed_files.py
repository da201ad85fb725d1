"""Fuzzes the reader of recorded files: it gives readings, reasons or an error sentence, no traceback."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers import file_mapping
from edge.drivers.file_mapping import MappingError
from edge.drivers.replay_driver import Recording
from tests.support.recorded_files import MAPPING, left_out_by_reason, open_recording, played_values

if TYPE_CHECKING:
    from pathlib import Path


def test_nanoseconds_in_parquet_are_read_to_the_microsecond(tmp_path: Path) -> None:
    ticks = [1_772_323_200_333_333_333, 1_772_323_500_000_000_001]
    table = pa.table({"time": pa.array(ticks, pa.timestamp("ns", "UTC")), "temp": [1.5, 1.6]})
    assert played_values(open_recording(tmp_path, table, name="s.parquet")) == [
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
    assert played_values(
        open_recording(tmp_path, pa.table({"time": times, "temp": values}), name="s.parquet")
    ) == [(0, 1.5)]


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
        played_values(open_recording(tmp_path, pa.table({"time": times, "temp": values}), name="s.parquet"))


def test_times_that_no_calendar_has_are_left_out_of_parquet(tmp_path: Path) -> None:
    times = pa.array([2**60, 1_772_323_200_000], pa.timestamp("ms", "UTC"))
    one = open_recording(tmp_path, pa.table({"time": times, "temp": [1.0, 2.0]}), name="s.parquet")
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 2)], {"no-time": 1})


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
        played_values(open_recording(tmp_path, content))
    assert "s.csv" in str(error.value)


def test_a_folder_and_a_file_that_is_not_there_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    mapping = file_mapping.load_mapping(tmp_path / "m.toml")
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
    one = open_recording(tmp_path, "\n".join(rows))
    values = [value for _, value in played_values(one)]
    assert values[:4] == [1, 2, 4, 8]
    assert left_out_by_reason(one) == {
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
    one = Recording(tmp_path / "s.parquet", file_mapping.load_mapping(tmp_path / "m.toml"))
    assert [value for _, value in played_values(one)] == [1, 2]


def test_a_parquet_that_is_cut_is_a_sentence(tmp_path: Path) -> None:
    times = pa.array([1_772_323_200 + n for n in range(50_000)], pa.timestamp("s", "UTC"))
    table = pa.table({"time": times, "temp": pa.array([math.sin(n) for n in range(50_000)])})
    open_recording(tmp_path, table, name="s.parquet")
    whole = (tmp_path / "s.parquet").read_bytes()
    with pytest.raises(MappingError, match="can't be read as Parquet"):
        open_recording(tmp_path, whole[: len(whole) // 2], name="s.parquet")
    first_page, last_page = 1000, len(whole) - 3000
    with pytest.raises(MappingError, match=r"s\.parquet: there is no row of data.*cut-file"):
        played_values(open_recording(tmp_path, zeroed(whole, first_page), name="s.parquet"))
    one = open_recording(tmp_path, zeroed(whole, last_page), name="s.parquet")
    assert 0 < len(played_values(one)) < 50_000, "the rows before the damage are read"
    assert left_out_by_reason(one) == {"cut-file": 1}


def zeroed(content: bytes, at: int, length: int = 2000) -> bytes:
    """Return a copy with some bytes replaced by zeros, as a file with a lost sector has them."""
    return content[:at] + bytes(length) + content[at + length :]


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
        one = open_recording(folder, b"time,temp\n2026-03-01,1\n" + content)
        assert len(played_values(one)) >= 1
        left_out_by_reason(one)
    except MappingError as error:  # of bytes that are no text
        assert "s.csv" in str(error)  # noqa: PT017
