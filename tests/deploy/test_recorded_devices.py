"""Tests the grouping of recorded files by device, the checks before a replay, and its exit status."""

from __future__ import annotations

import math
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from deploy import agent_fleet, enrolment_changes, recorded_devices, replay_run, replay_summary, site_files
from deploy.__main__ import main
from deploy.agent_fleet import FleetProgress
from deploy.embedded.server_environment import free_port
from deploy.settings import SettingsError
from edge.agent.settings import Settings as AgentSettings
from edge.drivers import Pack, file_mapping
from edge.drivers.file_report import FileReport
from edge.drivers.replay_driver import Recording  # noqa: TC001
from edge.wire.broker_address import BrokerAddress
from edge.wire.senml import Record
from ingest_service.storage.contract.models import Device, Directory
from tests.support.processes import REPOSITORY
from tests.support.recorded_files import PH, TOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Broken:
    """A driver that fails at its second pack."""

    def packs(self) -> Iterator[Pack]:
        """One pack, then an error."""
        yield Pack(0.0, [Record(name="ph", time_s=1e9, value=7)])
        raise RuntimeError("the sensor is gone")


def test_a_device_that_fails_ends_the_replay_and_is_named(tmp_path: Path) -> None:
    reports: list[FleetProgress] = []
    last = agent_fleet.run_fleet(
        [agent_fleet.FleetMember("a", "replay-a", Broken())],
        folder=tmp_path,
        broker=BrokerAddress("127.0.0.1", free_port()),
        settings=AgentSettings(),
        clock=lambda: math.inf,
        stop=threading.Event(),
        report=reports.append,
    )
    assert last.faults == ("replay-a: the driver ended: RuntimeError: the sensor is gone",)
    assert last.finished
    with pytest.raises(ValueError, match="one device"):
        agent_fleet.run_fleet(
            [agent_fleet.FleetMember("a", "b", Broken())] * 2,
            folder=tmp_path,
            broker=BrokerAddress("127.0.0.1", 1),
            settings=AgentSettings(),
            clock=time.time,
            stop=threading.Event(),
            report=reports.append,
        )


def test_two_replays_on_one_spool_folder_do_not_take_each_others_session(tmp_path: Path) -> None:
    with (
        replay_run._lock_spool_folder(tmp_path),
        pytest.raises(SettingsError, match="another replay"),
        replay_run._lock_spool_folder(tmp_path),
    ):
        pass


def opened(folder: Path, mapping: str, *names: str) -> list[Recording]:
    (folder / "m.toml").write_text(mapping)
    for name in names:
        (folder / name).write_text("time,ph\n2026-03-01T08:00Z,7\n")
    return recorded_devices.open_recordings([folder / name for name in names], folder / "m.toml")


def test_a_file_name_that_is_no_device_id_makes_one_of_its_site(tmp_path: Path) -> None:
    mapping = PH + 'site = "wz-01"\n'
    (one,) = opened(tmp_path, mapping, "West bridge 2026-03.csv", "西桥.csv")
    (device,) = recorded_devices.devices_of_recordings([one], Directory(), "replay")
    assert (device.device, device.area, len(one.files)) == ("replay-wz-01", "replay", 2)
    with pytest.raises(SettingsError, match=r"西桥\.csv: column 'ph' makes site '西桥': letters, digits"):
        opened(tmp_path, PH, "西桥.csv")


def test_monthly_files_of_one_logger_are_one_device(tmp_path: Path) -> None:
    found = opened(tmp_path, PH, "wz-01.2026-02.csv", "wz-01.2026-01.csv", "wz-02.csv")
    assert [(one.device, len(one.files)) for one in found] == [("wz-01", 2), ("wz-02", 1)]


def test_a_file_that_is_named_twice_is_played_once(tmp_path: Path) -> None:
    opened(tmp_path, PH, "a.csv")
    (one,) = recorded_devices.open_recordings(
        [tmp_path / "a.csv", tmp_path / "." / "a.csv"], tmp_path / "m.toml"
    )
    assert one.total() == 1


def test_a_device_id_is_never_that_of_another_device(tmp_path: Path) -> None:
    (one,) = opened(tmp_path, PH, "a1.csv")
    taken = Directory(devices=[Device(device_id="replay-a1", area_id="elsewhere", kind="replay")])
    (device,) = recorded_devices.devices_of_recordings([one], taken, "replay")
    assert device.device.startswith("replay-a1-")
    (again,) = recorded_devices.devices_of_recordings([one], taken, "replay")
    assert again.device == device.device
    with pytest.raises(SettingsError, match="--area 'a/b'"):
        recorded_devices.devices_of_recordings([one], taken, "a/b")


def test_a_column_that_no_file_has_is_reported_before_anything_starts(tmp_path: Path) -> None:
    more = PH + '[[column]]\nmatch = "Tepm"\nquantity = "water_temperature"\nunit = "Cel"\n'
    with pytest.raises(SettingsError, match=r"no file has a column 'Tepm'.*optional = true"):
        opened(tmp_path, more, "a1.csv")
    assert opened(tmp_path, f"{more}optional = true\n", "a1.csv")[0].total() == 1


@pytest.mark.parametrize("command", [["replay", "--broker", "mqtt://127.0.0.1"], ["up", "--replay"]])
def test_a_wrong_mapping_is_one_sentence_before_anything_starts(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(tmp_path, PH, "a1.csv")
    (tmp_path / "m.toml").write_text(PH.replace('"ph"', '"stage"', 1))
    flags = [str(tmp_path / "a1.csv"), "--mapping", str(tmp_path / "m.toml")]
    assert main([*command, *flags]) == 2
    assert "a1.csv: no column matches 'stage'" in capsys.readouterr().err
    (tmp_path / "m.toml").write_text(PH.replace('"time"', '"time"\nformat = "%d.%m.%Y"'))
    assert main([*command, *flags]) == 2
    assert "a1.csv: no row has a time that can be read" in capsys.readouterr().err
    assert main([*command, *flags, "--allow", "no-times"]) == 2
    assert "no reason 'no-times' (did you mean 'no-time'?)" in capsys.readouterr().err


def test_what_would_change_is_listed_before_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "town.toml"
    path.write_text(TOWN)
    town = site_files.load_site_files([path])
    assert enrolment_changes.enrolment_differences(town, town) == []
    assert (
        len(enrolment_changes.summarise_changes(enrolment_changes.enrolment_differences(Directory(), town)))
        == 8
    )


@pytest.mark.parametrize(
    ("allowed", "good"),
    [([], False), (["no-time"], False), (["no-time", "dead-letter"], True), (["all"], True)],
)
def test_a_replay_is_good_only_if_nothing_was_lost_or_it_is_allowed(
    allowed: list[str],
    good: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    account = FileReport(tmp_path / "a.csv", rows=10, rows_taken=9, cells=9, readings=8)
    account.left_out.update({"no-time": 1, "no-value": 1})
    last = FleetProgress(taken=8, kept=8, evicted=0, waiting=0, finished=True)
    summary = replay_summary.summarise_replay(
        [("a", account)], last, added=5, dead=(2, ["why"]), allowed=allowed
    )
    assert (summary.stored, summary.repeated, summary.dead_lettered, summary.good) == (5, 1, 2, good)
    assert (good or "--allow" in replay_summary.summary_lines(summary)[-1]) is True


def test_the_page_has_a_mapping_with_every_key_and_a_row_for_every_reason(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs/replay.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "m.toml").write_text(text)
    file_mapping.load_mapping(tmp_path / "m.toml")
    keys = {*file_mapping.FileMapping.__struct_fields__, *file_mapping.TimeMapping.__struct_fields__}
    keys |= {*file_mapping.ColumnMapping.__struct_fields__}
    assert [key for key in keys if not re.search(rf"\b{key}\b", text)] == []
    assert [one for one in replay_summary.ALL_REASONS if f"`{one}`" not in page] == []


def test_a_site_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "town.toml"
    path.write_text("\ufeff" + TOWN, encoding="utf-8")
    assert [one.site_id for one in site_files.load_site_files([path]).sites] == ["a1"]
