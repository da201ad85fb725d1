"""Recorded files played by `towntwin replay`: nothing enrolled is changed, and every row is accounted for."""

from __future__ import annotations

import io
import json
import math
import signal
import threading
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy import enrolment_changes, fleet, recorded, replay_summary, sites
from deploy.__main__ import main
from deploy.commands import replay
from deploy.embedded.folder import free_port
from deploy.fleet import Report
from deploy.settings import SettingsError
from edge.agent.settings import Settings as AgentSettings
from edge.drivers import Pack
from edge.drivers.account import Account
from edge.drivers.replay import Recording  # noqa: TC001
from edge.wire.broker import Broker
from edge.wire.senml import Record
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import Area, Device, Directory, Site
from ingest_service.storage.postgres import PostgresStore
from tests.support.device import Device as LiveDevice
from tests.support.processes import Process, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

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
LIVE = "towntwin/v1/330483-wz/a1/data"
WITHIN_S = 60.0


class Platform:
    """A database and a broker with an ingest process, and the `towntwin` command."""

    def __init__(self, dsn: str, broker: Any, folder: Path) -> None:
        self.folder, self.broker = folder, broker
        self._environ = {"TOWNTWIN_DSN": dsn, "TOWNTWIN_BROKER": broker.url}
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        self.ingest = Process("ingest", log=folder / "ingest.log", **self._environ)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ingest runs and is subscribed."""
        with running(self.ingest):
            wait_until(
                lambda: "subscribed" in self.ingest.log.read_text(), within_s=WITHIN_S, what="ingest is ready"
            )
            yield

    def file(self, name: str, text: str) -> str:
        """A file in the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return str(self.folder / name)

    def replay(self, *args: str) -> tuple[int, dict[str, Any], str]:
        """Run `towntwin replay` in this process: exit code, summary, and what it printed for people."""
        out, error = io.StringIO(), io.StringIO()
        flags = [*args, "--spool", str(self.folder / "spool"), "--report", str(self.folder / "fleet.json")]
        handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
        with redirect_stdout(out), redirect_stderr(error), pytest.MonkeyPatch.context() as patch:
            for name, value in self._environ.items():
                patch.setenv(name, value)
            code = main(["replay", *flags])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        print(out.getvalue(), error.getvalue())
        lines = out.getvalue().strip().splitlines()
        return code, json.loads(lines[-1]) if lines else {}, error.getvalue()


@pytest.fixture
def platform(timescale_dsn: str, mosquitto: Any, tmp_path: Path) -> Iterator[Platform]:
    one = Platform(timescale_dsn, mosquitto, tmp_path)
    yield one
    one.store.close()


def by_id(directory: Directory) -> dict[str, Any]:
    """What is enrolled of areas, sites and series."""
    return {
        **{one.area_id: one for one in directory.areas},
        **{one.site_id: one for one in directory.sites},
        **{f"{one.site_id}/{one.quantity}": one for one in directory.series},
    }


def test_history_for_an_enrolled_site_changes_nothing_of_it_and_its_device_goes_on(
    platform: Platform,
) -> None:
    store = platform.store
    before = store.enrol(sites.load([Path(platform.file("town.toml", TOWN))]))
    mapping = platform.file("m.toml", PH)
    rows = "2026-10-01T08:00:00+08:00,7.2\n2026-10-01T08:05:00+08:00,7.3\n"
    history = platform.file("a1.csv", f"time,ph\n{rows}")
    with platform.listening(), LiveDevice(platform.broker, LIVE) as live:
        code, summary, _ = platform.replay(history, "--mapping", mapping)
        assert (code, summary["stored"], summary["lost"]) == (0, 2, {})
        after = store.directory()
        assert by_id(after) == by_id(before)
        assert [(one.device_id, one.area_id, one.kind) for one in after.devices] == [
            ("a1", "330483-wz", "agent"),
            ("replay-a1", "330483-wz", "replay"),
        ]
        live.send(b'[{"n":"ph","u":"pH","v":7.5,"t":1790900000}]')
        wait_until(lambda: store.health().readings == 3, within_s=WITHIN_S, what="the live device is taken")

        code, summary, _ = platform.replay(history, "--mapping", mapping)
        assert (code, summary["stored"], summary["repeated"]) == (0, 0, 2)

        other = platform.file(
            "other.csv", "time,ph\n2026-10-01T08:00:00+08:00,9.9\n2026-10-01T08:10:00+08:00,7.4\n"
        )
        there = platform.file("there.toml", PH + 'site = "a1"\n')
        code, summary, printed = platform.replay(other, "--mapping", there)
        assert (code, summary["dead_lettered"], summary["stored"]) == (1, 1, 1), (
            "one clashes with what is stored"
        )
        assert summary["lost"] == {"dead-letter": 1}
        assert "conflict" in printed
        code, _, printed = platform.replay(
            other,
            "--mapping",
            there,
            "--allow",
            "dead-letter",
            "--enrol",
            platform.file(
                "new.toml", TOWN.replace("West bridge", "East bridge").replace("330483-wz", "330483-wz")
            ),
        )
        assert code == 0
        assert "changes site a1: en 'West bridge' -> 'East bridge'" in printed
        assert platform.ingest.stop() == 0


def test_stations_of_two_towns_and_of_none_are_played_from_one_file(platform: Platform) -> None:
    areas = [Area(area_id=one, level="town", en=one, zh=one) for one in ("east", "west")]
    roads = [
        Site(
            site_id=f"{one.area_id}-1",
            area_id=one.area_id,
            kind="road_section",
            en="R",
            zh="路",
            lon=1,
            lat=2,
        )
        for one in areas
    ]
    platform.store.enrol(Directory(areas=areas, sites=roads))
    mapping = platform.file(
        "m.toml",
        'station = "station"\n[time]\ncolumn = "time"\n[[column]]\nmatch = "flow"\n'
        'quantity = "traffic_flow"\nunit = "veh/h"\n[stations]\na = "east-1"\nb = "west-1"\nc = "new-1"\n',
    )
    table = platform.file(
        "detectors.csv",
        "time,station,flow\n2026-03-01T08:00:00+08:00,a,100\n2026-03-01T08:00:00+08:00,b,900\n"
        "2026-03-01T08:05:00+08:00,b,910\n2026-03-01T08:05:00+08:00,a,101\n2026-03-01T08:05:00+08:00,c,7\n"
        "1999-12-31T08:05:00+08:00,c,7\n2026-03-01T08:05:00+08:00,d,7\n",
    )
    with platform.listening():
        code, summary, printed = platform.replay(table, "--mapping", mapping)
        assert (code, summary["rows"], summary["stored"]) == (1, 7, 5)
        assert summary["lost"] == {"other-station": 1, "before-2000": 1}
        assert printed.index("before 2000-01-01") < printed.index("will be played"), (
            "it is known before the start"
        )
        code, summary, _ = platform.replay(
            table, "--mapping", mapping, "--allow", "other-station,before-2000", "--shift", "keep"
        )
        assert (code, summary["repeated"]) == (0, 5)
        assert platform.ingest.stop() == 0
    known = platform.store.directory()
    assert {one.area_id for one in known.devices if one.kind == "replay"} == {"east", "west", "replay"}
    stored = {(one.site_id): one.series_id for one in known.series}
    rows = {
        site: platform.store.readings(number, 0, 2e9, limit=9)["value"] for site, number in stored.items()
    }
    assert {site: found.round(6).tolist() for site, found in rows.items()} == {
        "east-1": [100, 101],
        "west-1": [900, 910],
        "new-1": [7],
    }


class Broken:
    """A driver that fails at its second pack."""

    def packs(self) -> Iterator[Pack]:
        """One pack, then an error."""
        yield Pack(0.0, [Record(name="ph", time_s=1e9, value=7)])
        raise RuntimeError("the sensor is gone")


def test_a_device_that_fails_ends_the_replay_and_is_named(tmp_path: Path) -> None:
    reports: list[Report] = []
    last = fleet.run(
        [fleet.Member("a", "replay-a", Broken())],
        folder=tmp_path,
        broker=Broker("127.0.0.1", free_port()),
        settings=AgentSettings(),
        clock=lambda: math.inf,
        stop=threading.Event(),
        report=reports.append,
    )
    assert last.failed == {"replay-a": "RuntimeError: the sensor is gone"}
    assert last.finished
    with pytest.raises(ValueError, match="one device"):
        fleet.run(
            [fleet.Member("a", "b", Broken())] * 2,
            folder=tmp_path,
            broker=Broker("127.0.0.1", 1),
            settings=AgentSettings(),
            clock=time.time,
            stop=threading.Event(),
            report=reports.append,
        )


def test_two_replays_on_one_spool_folder_do_not_take_each_others_session(tmp_path: Path) -> None:
    with (
        replay._alone(tmp_path),
        pytest.raises(SettingsError, match="another replay"),
        replay._alone(tmp_path),
    ):
        pass


def opened(folder: Path, mapping: str, *names: str) -> list[Recording]:
    (folder / "m.toml").write_text(mapping)
    for name in names:
        (folder / name).write_text("time,ph\n2026-03-01T08:00Z,7\n")
    return recorded.open_all([folder / name for name in names], folder / "m.toml")


def test_a_file_name_that_is_no_device_id_makes_one_of_its_site(tmp_path: Path) -> None:
    mapping = PH + 'site = "wz-01"\n'
    (one,) = opened(tmp_path, mapping, "West bridge 2026-03.csv", "西桥.csv")
    (device,) = recorded.publishers([one], Directory(), "replay")
    assert (device.device, device.area, len(one.files)) == ("replay-wz-01", "replay", 2)
    with pytest.raises(SettingsError, match=r"西桥\.csv: column 'ph' makes site '西桥': letters, digits"):
        opened(tmp_path, PH, "西桥.csv")


def test_monthly_files_of_one_logger_are_one_device(tmp_path: Path) -> None:
    found = opened(tmp_path, PH, "wz-01.2026-02.csv", "wz-01.2026-01.csv", "wz-02.csv")
    assert [(one.device, len(one.files)) for one in found] == [("wz-01", 2), ("wz-02", 1)]


def test_a_file_that_is_named_twice_is_played_once(tmp_path: Path) -> None:
    opened(tmp_path, PH, "a.csv")
    (one,) = recorded.open_all([tmp_path / "a.csv", tmp_path / "." / "a.csv"], tmp_path / "m.toml")
    assert one.total() == 1


def test_a_device_id_is_never_that_of_another_device(tmp_path: Path) -> None:
    (one,) = opened(tmp_path, PH, "a1.csv")
    taken = Directory(devices=[Device(device_id="replay-a1", area_id="elsewhere", kind="replay")])
    (device,) = recorded.publishers([one], taken, "replay")
    assert device.device.startswith("replay-a1-")
    (again,) = recorded.publishers([one], taken, "replay")
    assert again.device == device.device
    with pytest.raises(SettingsError, match="--area 'a/b'"):
        recorded.publishers([one], taken, "a/b")


def test_a_column_that_no_file_has_is_told_before_anything_starts(tmp_path: Path) -> None:
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
    assert main([*command, *flags, "--allow", "no-times"]) == 2
    assert "no reason 'no-times': did you mean 'no-time'" in capsys.readouterr().err


def test_what_would_change_is_listed_before_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "town.toml"
    path.write_text(TOWN)
    town = sites.load([path])
    assert enrolment_changes.differences(town, town) == []
    assert len(enrolment_changes.shown(enrolment_changes.differences(Directory(), town))) == 8


@pytest.mark.parametrize(
    ("allowed", "good"),
    [([], False), (["no-time"], False), (["no-time", "dead-letter"], True), (["all"], True)],
)
def test_a_replay_is_good_only_if_nothing_was_lost_or_it_is_allowed(
    allowed: list[str],
    good: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    account = Account(tmp_path / "a.csv", rows=10, rows_taken=9, cells=9, readings=8)
    account.left_out.update({"no-time": 1, "no-value": 1})
    last = Report(taken=8, kept=8, evicted=0, waiting=0, finished=True)
    summary = replay_summary.of_run([("a", account)], last, added=5, dead=(2, ["why"]), allowed=allowed)
    assert (summary.stored, summary.repeated, summary.dead_lettered, summary.good) == (5, 1, 2, good)
    assert (good or "--allow" in replay_summary.lines(summary)[-1]) is True
