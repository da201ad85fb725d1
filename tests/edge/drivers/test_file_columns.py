"""Tests columns and mappings of recorded files; tests are named after the symptoms they prevent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from edge.drivers import file_mapping
from edge.drivers.file_mapping import MappingError
from tests.support.recorded_files import MAPPING, TEMP, TIME, open_recording, played_values

if TYPE_CHECKING:
    from pathlib import Path


def test_brackets_in_a_column_name_are_matched_as_they_stand(tmp_path: Path) -> None:
    mapping = TIME + TEMP.replace('"temp"', '"Temp [°C]"')
    assert played_values(
        open_recording(tmp_path, "time,Temp [°C],pH\n2026-03-01T00:00Z,11.2,7\n", mapping)
    ) == [(0, 11.2)]


def test_an_exact_name_goes_before_a_pattern_that_stands_first(tmp_path: Path) -> None:
    pattern = TEMP.replace('"temp"', '"t*"').replace("{", "{") + 'site = "other"\n'
    one = open_recording(
        tmp_path, "time,temp,t2\n2026-03-01T00:00Z,1,2\n", TIME + pattern + TEMP + 'site = "mine"\n'
    )
    assert {measured.site for measured in one.series()} == {"other", "mine"}


def test_two_columns_of_one_series_are_refused(tmp_path: Path) -> None:
    text = "time,Temp C,Temp F\n2026-03-01T00:00Z,11.2,52\n"
    with pytest.raises(MappingError, match=r"'Temp C' and 'Temp F' \(2, 3\) would both be water_temperature"):
        open_recording(tmp_path, text, TIME + TEMP.replace('"temp"', '"Temp*"'))
    with pytest.raises(MappingError, match="would both be"):
        open_recording(tmp_path, "time,temp,temp\n2026-03-01T00:00Z,11.2,52\n")
    with pytest.raises(MappingError, match="both called 'time'"):
        open_recording(tmp_path, "time,time,temp\n")


def test_look_alike_letters_in_a_name_and_a_unit_are_the_same(tmp_path: Path) -> None:
    mapping = TIME + '[[column]]\nmatch = "EC \u03bcS/cm"\nquantity = "conductivity"\nunit = "\u03bcS/cm"\n'
    assert played_values(
        open_recording(tmp_path, "time,EC \u00b5S/cm\n2026-03-01T00:00Z,410\n", mapping)
    ) == [(0, 0.041)]


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
    assert played_values(open_recording(tmp_path, f"time,x\n2026-03-01T00:00Z,{given}\n", mapping)) == [
        (0, wire)
    ]


def test_any_other_unit_is_scaled_by_the_mapping(tmp_path: Path) -> None:
    one = open_recording(
        tmp_path, "time,temp\n2026-03-01T00:00Z,112\n", MAPPING + "scale = 0.1\noffset = -1\n"
    )
    assert played_values(one) == [(0, 10.2)]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        (
            "[time]",
            'seperator = ","\n[time]',
            1,
            r"there is no key 'seperator' \(did you mean 'separator'\?\); ",
        ),
        (
            'unit = "Cel"',
            'unti = "Cel"',
            6,
            r"\[\[column\]\] there is no key 'unti' \(did you mean 'unit'\?\)",
        ),
        (
            '"water_temperature"',
            '"water_temprature"',
            5,
            r"\(did you mean 'water_temperature'\?\); there are ",
        ),
        ('"Cel"', '"mg/L"', 6, r"\[\[column\]\] 1 \(temp\): .*mg/L"),
        (
            'column = "time"',
            'column = "time"\nzone = "Asia/Shangai"',
            3,
            r"\(did you mean 'Asia/Shanghai'\?\); ",
        ),
        ('column = "time"', 'column = "time"\nformat = "unixms"', 3, r"no format 'unixms' \(did you mean"),
        ('column = "time"', 'column = "time"\nformat = "DD.MM.YYYY"', 3, "no strptime format"),
        ('column = "time"', 'column = "time"\nformat = "%Q"', 3, "can't be used"),
        ('column = "time"', 'column = "time"\nfold = "late"', 3, r"\[time\] fold: invalid enum value 'late'"),
        ('column = "time"', 'column = "time"\nstep_s = 300', 1, "needs either column, or start and step_s"),
        ('column = "time"', "column = []", 2, "names no column"),
        ('column = "time"', "start = 2026-01-01\nstep_s = -1", 3, "must be above 0"),
        ("[time]", 'encoding = "utf-88"\n[time]', 1, "no text encoding 'utf-88'"),
        ("[time]", 'encoding = "base64"\n[time]', 1, "no text encoding 'base64'"),
        ("[time]", 'separator = ";;"\n[time]', 1, "must be one character"),
        ("[time]", 'decimal = ","\nthousands = ","\n[time]', 2, "must differ"),
        ("[time]", "skip_before = -1\n[time]", 1, "0 or more"),
        ("[time]", "skip_after = -1\n[time]", 1, "0 or more"),
        ("[time]", 'comment = ""\n[time]', 1, "what such lines begin with"),
        ("[time]", "skip_after = [\n  1,\n]\n[time]", 1, "skip_after: expected `int`, got `array`"),
        (
            'unit = "Cel"',
            'unit = "Cel"\nscale = "2"',
            7,
            r"\[\[column\]\] 1 scale: expected `float`, got `str`",
        ),
        ('unit = "Cel"\n', "", 3, r"\[\[column\]\] 1: object missing required field `unit`"),
        ('unit = "Cel"', 'unit = "Cel"\nsite = "{fiel}"', 7, "there is no {fiel}"),
        ('unit = "Cel"', 'unit = "Cel"\nsite = "{station}"', 7, "needs station"),
        ("[[column]]", "[column]", 3, r"write \[\[column\]\]"),
        ("[time]", 'station = "s"\nstations = { a = "西桥" }\n[time]', 2, "can't be a site id"),
        ("[time]", 'station = "s"\n[stations]\n"西桥" = "西"\n[time]', 3, "can't be a site id"),
        ("[[column]]", '[stations]\na = "b"\n[[column]]', 3, "needs station"),
    ],
)
def test_a_misspelt_mapping_is_a_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in MAPPING
    with pytest.raises(MappingError, match=says) as error:
        open_recording(tmp_path, "time,temp\n", MAPPING.replace(old, new, 1))
    assert str(error.value).startswith(f"mapping {tmp_path / 'm.toml'}, line {line}: ")


def test_the_second_of_two_columns_is_named_with_its_own_line(tmp_path: Path) -> None:
    second = '\n[[column]]\nmatch = "ph"\nquantity = "ph"\nunit = "ph?"\n'
    with pytest.raises(MappingError, match=r"m\.toml, line 11: \[\[column\]\] 2 \(ph\): "):
        open_recording(tmp_path, "time,temp,ph\n", MAPPING.rstrip() + "\n" + second)


def test_a_match_that_no_column_has_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(
        MappingError, match=r"no column matches 'temp' \(did you mean 'tempo'\?\); it has 'time'"
    ):
        open_recording(tmp_path, "time,tempo\n", MAPPING)


def test_a_mapping_in_another_encoding_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(MAPPING.replace('"temp"', '"温"').encode("gb18030"))
    with pytest.raises(MappingError, match=r"line 4: byte 0x.* is not UTF-8"):
        file_mapping.load_mapping(tmp_path / "m.toml")


def test_a_recording_is_read_once(tmp_path: Path) -> None:
    one: Any = open_recording(tmp_path, "time,temp\n2026-03-01T00:00Z,1\n")
    (tmp_path / "s.csv").unlink(missing_ok=False) if one.total() else None
    assert played_values(one) == played_values(one) == [(0, 1)]
