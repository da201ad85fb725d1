"""Tests `towntwin replay`: nothing enrolled is changed, and every row is accounted for."""

from __future__ import annotations

import io
import json
import signal
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy import site_files
from deploy.__main__ import main
from ingest_service.storage.contract.models import Area, Directory, Site
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.mqtt_test_device import MqttTestDevice as LiveDevice
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.recorded_files import PH, TOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

LIVE = "towntwin/v1/330483-wz/a1/data"
WITHIN_S = 60.0


class ReplayPlatform:
    """A database and a broker with an ingest process, and the `towntwin` command."""

    def __init__(self, dsn: str, broker: Any, folder: Path) -> None:
        self.folder, self.broker = folder, broker
        self._environ = {"TOWNTWIN_DSN": dsn, "TOWNTWIN_BROKER": broker.url}
        migrate(dsn)
        self.store = PostgresStore.open(dsn)
        self.ingest = PlatformProcess("ingest", log=folder / "ingest.log", **self._environ)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ingest runs and is subscribed."""
        with running_processes(self.ingest):
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
def platform(timescale_dsn: str, mosquitto: Any, tmp_path: Path) -> Iterator[ReplayPlatform]:
    one = ReplayPlatform(timescale_dsn, mosquitto, tmp_path)
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
    platform: ReplayPlatform,
) -> None:
    store = platform.store
    before = store.enrol(site_files.load_site_files([Path(platform.file("town.toml", TOWN))]))
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
        code, summary, printed = platform.replay(
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
        assert (code, summary["dead_lettered"], summary["repeated"]) == (0, 1, 1), "of this replay alone"
        assert "changes site a1: en 'West bridge' -> 'East bridge'" in printed
        assert platform.ingest.stop() == 0


def test_stations_of_two_towns_and_of_none_are_played_from_one_file(platform: ReplayPlatform) -> None:
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
