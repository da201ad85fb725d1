"""Tests fleets from CSV: hierarchy, dry run, and errors with their lines."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.__main__ import main
from deploy.fleet_table import COLUMNS, read_fleet
from deploy.site_format import SiteFileError
from ingest_service.storage.contract.models import Area, Channel, Directory
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import howto_pages

if TYPE_CHECKING:
    from pathlib import Path

HEADER = (
    "county_id,county_zh,town_id,town_en,site_id,kind,lon,lat,device_id,channel,quantity,limit.suspect_low"
)
FIRST = "330483,桐乡市,d1,Wuzhen,s-1,river_section,120.5,30.7,wz-1,pH,ph,6"
SECOND = "330483,,d1,,s-1,,,,wz-1,,water_temperature,"


def read(folder: Path, *lines: str, header: str = HEADER, enrolled: Directory | None = None) -> Directory:
    path = folder / "fleet.csv"
    path.write_text("\n".join([header, *lines]), "utf-8")
    return read_fleet(path, enrolled or Directory())


def problems(folder: Path, *lines: str, header: str = HEADER, enrolled: Directory | None = None) -> list[str]:
    with pytest.raises(SiteFileError) as caught:
        read(folder, *lines, header=header, enrolled=enrolled)
    return [one.removeprefix(f"{folder}/") for one in caught.value.problems]


def test_a_fleet_has_its_hierarchy_and_repeats_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, FIRST, "", SECOND)
    assert [(one.area_id, one.parent, one.level, one.en, one.zh) for one in found.areas] == [
        ("330483", None, "county", "桐乡市", "桐乡市"),
        ("d1", "330483", "town", "Wuzhen", "Wuzhen"),
    ]
    assert [(one.site_id, one.area_id, one.lon) for one in found.sites] == [("s-1", "d1", 120.5)]
    assert [(one.device_id, one.area_id) for one in found.devices] == [("wz-1", "d1")]
    assert [(one.quantity, one.limits) for one in found.series] == [
        ("ph", {"suspect_low": 6.0}),
        ("water_temperature", {}),
    ]
    assert found.channels[1] == Channel(
        device_id="wz-1", name="water_temperature", site_id="s-1", quantity="water_temperature"
    )


def test_areas_that_are_enrolled_keep_names_and_parents(tmp_path: Path) -> None:
    enrolled = Directory(
        areas=[
            Area(area_id="330483", level="county", en="Tongxiang", zh="桐乡市"),
            Area(area_id="d1", level="town", parent="330483", en="Wuzhen", zh="乌镇"),
        ]
    )
    header = "town_id,site_id,kind,lon,lat,device_id,quantity"
    found = read(tmp_path, "d1,s-1,river_section,1,2,wz-1,ph", header=header, enrolled=enrolled)
    assert found.areas == [enrolled.areas[1]]


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        ([FIRST.replace("120.5", '"120,5"')], ["line 2, column lon: '120,5' is no number (a decimal point"]),
        ([FIRST, SECOND.replace("wz-1", "")], ["line 3: device_id is empty"]),
        ([FIRST, "x,y"], ["line 3: has 2 cells, and the header 12"]),
        (
            [FIRST, FIRST.replace("pH,ph", "t,water_temperature").replace("30.7", "30.8")],
            ["in line 2: correct one"],
        ),
        ([FIRST, FIRST], ["series 's-1 / ph' is already in", "channel 'wz-1 / pH' is already in"]),
        (
            [SECOND],
            ["county '330483' is new and has no name", "site 's-1' is new, and kind, lon, lat is empty"],
        ),
        (
            [FIRST.replace(",ph,", ",pH,")],
            ["line 2: series 's-1 / pH' has quantity 'pH', which is not known"],
        ),
        ([FIRST.replace("wz-1", "wz/#")], ["line 2: device 'wz/#' can't stand in a topic"]),
        (
            [FIRST.replace("s-1", "s/1")],
            ["line 2: site 's/1' has site_id 's/1', which addresses and file names"],
        ),
        ([FIRST.replace(",6", ",1e400")], ["line 2, column limit.suspect_low: '1e400' is no number"]),
        (['"a\nb",,d1,,s-1,,,,wz-1,,ph,', "x"], ["line 4: has 1 cells"]),
        ([], ["has no lines below its header"]),
    ],
)
def test_problems_name_their_lines(lines: list[str], sentences: list[str], tmp_path: Path) -> None:
    found = problems(tmp_path, *lines)
    for sentence in sentences:
        assert any(sentence in one for one in found), found
    assert all(one.startswith("fleet.csv") for one in found)


def test_unknown_missing_and_repeated_columns_are_sentences(tmp_path: Path) -> None:
    (unknown, missing) = problems(tmp_path, header="site_id,device,quantity")
    assert "line 1: column 'device' is not known (did you mean 'device_id'?): correct it" in unknown
    assert "line 1: device_id is missing" in missing
    (repeated, _) = problems(tmp_path, header="site_id,device_id,quantity,lon,lon")
    assert "column 'lon' is there twice" in repeated
    (limit,) = problems(tmp_path, FIRST, header=HEADER.replace("suspect_low", "suspect_lo"))
    assert "fleet.csv, line 2: site 's-1', limits.ph: " in limit


def test_a_table_of_a_chinese_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_bytes(f"{HEADER}\r\n{FIRST}".encode("gb18030"))
    assert read_fleet(path, Directory()).areas[0].zh == "桐乡市"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["", f"{','.join(COLUMNS)}\n"]))
def test_any_text_is_a_fleet_or_problems_with_lines(
    tmp_path_factory: pytest.TempPathFactory, text: str, header: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(header + text, "utf-8", "surrogatepass")
    with suppress(SiteFileError):
        assert isinstance(read_fleet(path, Directory()), Directory)


def test_the_page_on_fleets_runs_as_written(
    plain_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(plain_dsn)
    monkeypatch.setenv("TOWNTWIN_DSN", plain_dsn)
    monkeypatch.chdir(tmp_path)
    (fleet,) = howto_pages.code_blocks("enrol-a-fleet-from-csv.md", "text")
    (tmp_path / "fleet.csv").write_text(fleet, "utf-8")
    assert main(["enrol", "--csv", "fleet.csv", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "adds device wz-01" in shown
    assert "dry run: " in shown
    store = PostgresStore.open(plain_dsn)
    assert store.directory().devices == []
    assert main(["enrol", "--csv", "fleet.csv", "--credentials", "passwords.csv"]) == 0
    assert {one.device_id for one in store.directory().devices} == {"wz-01", "wz-02"}
    assert main(["enrol", "--csv", "fleet.csv", "--dry-run"]) == 0
    assert "dry run: 0 changes" in capsys.readouterr().out
    (tmp_path / "fleet.csv").write_text(fleet.replace("120.49", "120,49"), "utf-8")
    assert main(["enrol", "--csv", "fleet.csv"]) == 2
    assert "fleet.csv, line 2: has " in capsys.readouterr().err
    store.close()


def test_a_code_is_made_by_command(
    plain_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(plain_dsn)
    monkeypatch.setenv("TOWNTWIN_DSN", plain_dsn)
    store = PostgresStore.open(plain_dsn)
    store.enrol(Directory(areas=[Area(area_id="d1", level="town", en="T", zh="T")]))
    store.close()
    assert main(["enrol", "--code", "d1", "--url", "https://twin.example.org/"]) == 0
    assert capsys.readouterr().out.startswith("https://twin.example.org/#tte_")
    for arguments, sentence in (
        (["--code", "d2", "--url", "https://h"], "there is no area 'd2'"),
        (["--code", "d1"], "give the address of the gateway"),
        ([], "give site files, or a fleet by --csv"),
        (["x.toml", "--credentials", "y"], "belongs to --csv"),
    ):
        assert main(["enrol", *arguments]) == 2
        assert sentence in capsys.readouterr().err
