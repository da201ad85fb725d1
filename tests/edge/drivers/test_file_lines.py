"""Tests lines, encodings and numbers of recorded files; tests are named after the symptoms they prevent."""

from __future__ import annotations

import datetime as dt
import gzip
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from edge.drivers.file_mapping import MappingError
from tests.support.recorded_files import (
    BEGIN,
    MAPPING,
    TEMP,
    TIME,
    left_out_by_reason,
    open_recording,
    played_values,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_before_and_after_the_names_are_skipped(tmp_path: Path) -> None:
    text = (
        '"TOA5","Bridge","CR300"\n"TIMESTAMP","RECORD","temp"\n"TS","RN","degC"\n"","","Avg"\n'
        '"2026-03-01 00:05:00",0,11.2\n"2026-03-01 00:10:00",1,"NAN"\n'
    )
    mapping = "skip_before = 1\nskip_after = 2\n" + MAPPING.replace('"time"', '"TIMESTAMP"')
    one = open_recording(tmp_path, text, mapping, name="logger.dat")
    assert (played_values(one), left_out_by_reason(one)) == ([(300, 11.2)], {"no-value": 1})
    with pytest.raises(MappingError, match=r"no column 'TIMESTAMP'.*skip_before"):
        open_recording(tmp_path, text, MAPPING.replace('"time"', '"TIMESTAMP"'))


def test_comments_are_skipped_and_names_may_come_from_the_mapping(tmp_path: Path) -> None:
    mapping = 'comment = "#"\nnames = ["time", "temp"]\n' + MAPPING
    assert played_values(
        open_recording(tmp_path, "# river\n2026-03-01T00:00Z,1\n#\n2026-03-01T00:01Z,2\n", mapping)
    ) == [
        (0, 1),
        (60, 2),
    ]


def test_a_byte_order_mark_in_mapping_and_file_is_ignored(tmp_path: Path) -> None:
    one = open_recording(tmp_path, b"\xef\xbb\xbftime,temp\n2026-03-01T00:00Z,11\n", "\ufeff" + MAPPING)
    assert played_values(one) == [(0, 11)]


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "latin-1", "cp1252", "utf-16-be"])
def test_encodings_are_read_by_their_name_or_mark(tmp_path: Path, encoding: str) -> None:
    header = "time,temp,备注" if encoding == "gb18030" else "time,temp,µS"
    named = "" if encoding == "utf-16" else f'encoding = "{encoding}"\n'
    text = (
        f"{header}\n2026-03-01T00:00Z,11,°\n"
        if encoding != "gb18030"
        else f"{header}\n2026-03-01T00:00Z,11,晴\n"
    )
    one = open_recording(tmp_path, text.encode(encoding), named + MAPPING)
    assert (played_values(one), one.accounts[0].notes) == ([(0, 11)], [])


def test_a_bad_byte_late_in_a_file_is_one_sentence_and_the_rest_is_played(tmp_path: Path) -> None:
    rows = [f"{(BEGIN + dt.timedelta(minutes=n)).isoformat()},{n},".encode() for n in range(5000)]
    rows[3200] += "晴".encode("gb18030")
    rows[4200] = rows[4200].replace(b",4200,", b",42\xb000,")
    one = open_recording(tmp_path, b"time,temp,note\n" + b"\n".join(rows) + b"\n")
    assert len(played_values(one)) == 4999
    assert left_out_by_reason(one) == {"not-a-number": 1}
    notes = one.accounts[0].notes
    assert "s.csv, line 3202: 2 of its bytes are not UTF-8" in notes[0]
    assert any("line 4202" in note for note in notes)


def test_names_that_are_no_text_get_a_hint_at_the_encoding(tmp_path: Path) -> None:
    text = "time,Temp [°C]\n2026-03-01T00:00Z,11\n".encode("latin-1")
    mapping = TIME + TEMP.replace('"temp"', '"Temp [°C]"')
    with pytest.raises(MappingError, match=r'give an encoding, such as "latin-1"'):
        open_recording(tmp_path, text, mapping)
    assert played_values(open_recording(tmp_path, text, 'encoding = "latin-1"\n' + mapping)) == [(0, 11)]


def test_a_gz_that_is_cut_short_is_one_sentence_and_what_was_read_is_played(tmp_path: Path) -> None:
    numbers = random.Random(1)
    text = "time,temp\n" + "".join(
        f"{(BEGIN + dt.timedelta(minutes=n)).isoformat()},{numbers.random():.6f}\n" for n in range(5000)
    )
    full_text = gzip.compress(text.encode())
    one = open_recording(tmp_path, full_text[: len(full_text) // 2], name="s.csv.gz")
    assert 1000 < len(played_values(one)) < 4000
    assert left_out_by_reason(one)["cut-file"] == 1
    assert "end before their end marker; what follows is lost" in one.accounts[0].notes[-1]


def test_decimal_commas_and_thousands_are_read(tmp_path: Path) -> None:
    mapping = 'separator = ";"\ndecimal = ","\nthousands = "."\n' + MAPPING
    text = "time;temp\n2026-03-01T00:00Z;1.011,2\n2026-03-01T00:01Z;11,3\n2026-03-01T00:02Z;1.1,5\n"
    one = open_recording(tmp_path, text, mapping)
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 1011.2), (60, 11.3)], {"not-a-number": 1})


def test_a_decimal_comma_that_is_not_declared_loses_nothing_in_silence(tmp_path: Path) -> None:
    one = open_recording(tmp_path, "time,temp\n2026-03-01T00:00Z,11\n2026-03-01T00:01Z,11,2\n")
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 11)], {"ragged": 1})
    assert "decimal commas" in one.accounts[0].notes[0]
    with pytest.raises(MappingError, match='a decimal comma needs decimal = ","'):
        played_values(open_recording(tmp_path, 'time,temp\n2026-03-01T00:00Z,"11,2"\n'))
    with pytest.raises(MappingError, match='separator = ";"'):
        open_recording(tmp_path, "time;temp\n", f"[time]\nstart = 2026-03-01\nstep_s = 1\n{TEMP}")


@pytest.mark.parametrize("cell", ["-9999", "-9999.0", " -9999.00", "-9.999e3", "", " ", "nan", "NULL"])
def test_a_sentinel_is_no_value_in_any_notation(tmp_path: Path, cell: str) -> None:
    one = open_recording(
        tmp_path,
        f"time,temp\n2026-03-01T00:00Z,1\n2026-03-01T00:01Z,{cell}\n",
        'missing = [-9999, "NULL"]\n' + MAPPING,
    )
    assert (played_values(one), left_out_by_reason(one)) == ([(0, 1)], {"no-value": 1})


def test_sentinels_are_not_stored_from_parquet(tmp_path: Path) -> None:
    times = pa.array([1_772_323_200_000_000 + n for n in range(4)], pa.timestamp("us", "UTC"))
    for kind, sentinel in ((pa.float64(), "-9999"), (pa.float32(), -9999.9), (pa.int32(), -9999.0)):
        value = int(float(sentinel)) if kind == pa.int32() else float(sentinel)
        table = pa.table({"time": times, "temp": pa.array([1, value, None, 2], kind)})
        mapping = f"missing = [{sentinel!r}]\n" + MAPPING
        one = open_recording(tmp_path, table, mapping, name="s.parquet")
        assert [value for _, value in played_values(one)] == [1, 2]
        assert left_out_by_reason(one) == {"no-value": 2}
