"""A station's upload is answered once it is durable, and reaches the database through the broker."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from analytics.core.flags import Flag, Rule
from deploy.embedded.server_environment import free_port
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame, decode_text, parse_segment
from ingest_service.storage.contract.models import Channel, DeadLetterQuery, Device
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

STATIONS = """
[[stations]]
station = "A1"
area = "330483-d1"
device = "st-01"

[[stations]]
station = "A2"
area = "330483-d1"
device = "st-02"
"""
WITHIN_S = 30.0


def upload(station: str, minute: int, value: float, flag: str = "N") -> bytes:
    now = time.localtime(time.time() // 3600 * 3600 - 7200 + 60 * minute)
    local = time.strftime("%Y%m%d%H%M%S", time.gmtime(time.mktime(now) + 8 * 3600))
    return build_frame(
        Segment(
            request=f"{local}{minute:03d}",
            system="21",
            command="2011",
            station=station,
            flag=5,
            content=f"DataTime={local};w01001-Rtd={value},w01001-Flag={flag}",
        )
    )


class TestStation:
    """A TCP client that sends frames and reads answers."""

    __test__ = False

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
        self._frames = FrameReader()

    def send(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def answer(self) -> Segment:
        """Wait for the next frame."""
        while True:
            for one in self._frames.feed(self._socket.recv(1) or pytest.fail("the server closed")):
                assert isinstance(one, Frame)
                return parse_segment(decode_text(one.segment))

    def close(self) -> None:
        self._socket.close()


def connected(port: int) -> TestStation:
    found: list[TestStation] = []

    def is_listening() -> bool:
        try:
            found.append(TestStation(port))
        except ConnectionRefusedError:
            return False
        return True

    wait_until(is_listening, within_s=WITHIN_S, what="the server listens")
    return found[0]


def test_what_was_answered_survives_a_kill_of_the_server_and_reaches_the_database(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.enrol(
        type(DIRECTORY)(
            devices=[Device(device_id=name, area_id="330483-d1") for name in ("st-01", "st-02")],
            channels=[
                Channel(device_id="st-01", name="w01001", site_id="s1", quantity="ph"),
                Channel(device_id="st-02", name="w01001", site_id="s1", quantity="turbidity"),
            ],
        )
    )
    stations = tmp_path / "stations.toml"
    stations.write_text(STATIONS)
    port = free_port()
    environ = {"TOWNTWIN_DSN": timescale_dsn, "TOWNTWIN_BROKER": mosquitto.url}
    flags = ("--port", str(port), "--stations", str(stations), "--spool", str(tmp_path / "spool"))
    server = PlatformProcess("hj212", *flags, log=tmp_path / "hj212.log", **environ)
    ingest = PlatformProcess("ingest", log=tmp_path / "ingest.log", **environ)
    try:
        with ExitStack() as stack:
            stack.enter_context(running_processes(server))
            station = stack.enter_context(closing(connected(port)))
            for minute in range(20):
                station.send(upload("A1", minute, 7 + minute / 100))
                assert station.answer().command == "9014"
            station.send(b"RING##0010broken&&FFFF\r\n" + upload("A1", 20, 3.0, flag="M"))
            assert station.answer().command == "9014", "so all bytes before it are read"
            station.send(upload("UNKNOWN", 1, 1.0))
            server.kill()  # ingest never ran: all of it is in the spool alone
            server.start()
            again = stack.enter_context(closing(connected(port)))
            again.send(upload("A1", 20, 3.0, flag="M") + upload("A1", 21, 7.21))
            assert [again.answer().command for _ in range(2)] == ["9014", "9014"]
            ingest.start()
            series_id = next(one.series_id for one in store.directory().series if one.quantity == "ph")
            wait_until(
                lambda: len(store.readings(series_id, 0, 4e9, limit=100)) == 22,
                within_s=WITHIN_S,
                what="22 rows",
            )
            rows = store.readings(series_id, 0, 4e9, limit=100)
            assert rows["value"].tolist() == pytest.approx(
                [*(7 + minute / 100 for minute in range(20)), 3.0, 7.21]
            )
            assert (rows["quality"][20], rows["rules"][20]) == (Flag.FAIL, Rule.DEVICE)
            wait_until(
                lambda: len(store.dead_letters(DeadLetterQuery(limit=10))) >= 1,
                within_s=WITHIN_S,
                what="a letter",
            )
            dead_letters = store.dead_letters(DeadLetterQuery(limit=10))
            assert "belong to no frame" in " ".join(one.detail for one in dead_letters)
            assert not [one.topic for one in dead_letters if one.topic.endswith("/status")]
            wait_until(
                lambda: (
                    [one.instance for one in store.processes() if one.kind == "hj212" and one.works]
                    == ["hj212-server"]
                ),
                within_s=WITHIN_S,
                what="its state in health",
            )
            assert server.stop() == 0
            assert not [one for one in store.processes() if one.kind == "hj212"]
    finally:
        ingest.stop()
        store.close()
