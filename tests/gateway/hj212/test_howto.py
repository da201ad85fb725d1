"""Runs the files and the command of docs/howto/connect-an-hj212-station.md, with other ports."""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from deploy.__main__ import main
from deploy.embedded.server_environment import free_port
from gateway.hj212.forward.settings import read_forward_file
from gateway.hj212.segment import Segment, build_frame
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.gateway.hj212.test_server import WITHIN_S, connected
from tests.support import howto_pages
from tests.support.processes import PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = "connect-an-hj212-station.md"


def test_a_station_is_connected_as_the_page_describes(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(timescale_dsn)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWNTWIN_DSN", timescale_dsn)
    devices, stations, platforms = howto_pages.code_blocks(PAGE, "toml")
    town, *_ = howto_pages.code_blocks("connect-a-device.md", "toml")
    (tmp_path / "town.toml").write_text(f"{town}\n{devices}")
    (tmp_path / "stations.toml").write_text(stations)
    (tmp_path / "platforms.toml").write_text(platforms)
    assert [one.name for one in read_forward_file(tmp_path / "platforms.toml").platforms] == ["county"]
    assert main(["enrol", "town.toml"]) == 0

    port, local = free_port(), time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + 8 * 3600))
    command = howto_pages.indented_commands(PAGE, "towntwin")[0]
    changed = {
        "0.0.0.0": "127.0.0.1",  # noqa: S104 - replaced
        "2120": str(port),
        "stations.toml": str(tmp_path / "stations.toml"),
        "mqtt://127.0.0.1:1883": mosquitto.url,
    }
    program, *arguments = [changed.get(one, one) for one in shlex.split(command)]
    assert program == "towntwin"
    spool = str(tmp_path / "spool")
    server = PlatformProcess(*arguments, log=tmp_path / "hj212.log", TOWNTWIN_HJ212_SPOOL=spool)
    ingest = PlatformProcess("ingest", log=tmp_path / "ingest.log", TOWNTWIN_BROKER=mosquitto.url)
    store = PostgresStore.open(timescale_dsn)
    with closing(store), running_processes(server, ingest), closing(connected(port)) as station:
        content = f"DataTime={local};w01001-Rtd=7.1,w01001-Flag=N;w21003-Rtd=0.4,w21003-Flag=N"
        upload = Segment(
            request=f"{local}000",
            system="32",
            command="2011",
            station="010000A8900016F000169DC0",
            flag=5,
            content=content,
        )
        station.send(build_frame(upload))
        assert station.answer().command == "9014"
        series = {one.quantity: one.series_id for one in store.directory().series if one.site_id == "wz-01"}
        stored = [series["ph"], series["ammonia_nitrogen"]]
        wait_until(
            lambda: [len(store.readings(one, 0, 4e9, limit=9)) for one in stored] == [1, 1],
            within_s=WITHIN_S,
            what="both values are stored",
        )
