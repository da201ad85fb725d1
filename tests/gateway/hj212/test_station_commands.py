"""Commands given by API reach a station, are repeated, survive a restart of the server, and are on record."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from deploy.embedded.server_environment import free_port
from gateway.hj212.commands import command_frame, dialect_of, station_answer
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame
from gateway.hj212.stations import Station
from ingest_service.storage.contract.models import Device, Directory
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.station_commands import ClaimedCommand
from ingest_service.storage.postgres.store import PostgresStore
from tests.gateway.hj212.test_server import STATIONS, WITHIN_S, TestStation, connected, upload
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.processes import PlatformProcess, running_processes, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    from httpx import Response

STATION = Station(station="A1", area="a", device="d", key="30" * 16)
UPLOADED = Segment(request="20260101080000000", system="32", command="2011", station="A1", flag=9)


def test_a_command_is_written_as_the_station_writes_and_encrypted_where_the_edition_wants_it() -> None:
    dialect = dialect_of(UPLOADED)
    claimed = ClaimedCommand(1, "d", "1012", {}, "20260101080000123")
    plain = command_frame(claimed, STATION, dialect, now_s=1767225600.0)
    assert plain[6:-6] == (
        b"QN=20260101080000123;ST=32;CN=1012;PW=123456;MN=A1;Flag=9;CP=&&SystemTime=20260101080000&&"
    )
    (frame,) = FrameReader().feed(plain)
    assert isinstance(frame, Frame)
    history = ClaimedCommand(2, "d", "2061", {"from_s": 1767225600.0, "to_s": 1767312000.0}, "1")
    assert b"CP=&&{0x" in command_frame(history, STATION, dialect)
    assert b"CP=&&Begin" in command_frame(history, Station(station="A1", area="a", device="d"), dialect)


@pytest.mark.parametrize(
    ("command", "content", "state", "is_final"),
    [
        ("9011", "QnRtn=1", "accepted", False),
        ("9011", "", "accepted", False),
        ("9011", "QnRtn=3", "refused", True),
        ("9012", "ExeRtn=1", "done", True),
        ("9012", "x=1;ExeRtn=100", "failed", True),
        ("1011", "SystemTime=20260101080000", None, False),
    ],
)
def test_an_answer_changes_the_state(
    command: str, content: str, state: str | None, *, is_final: bool
) -> None:
    answer = station_answer(
        Segment(request="1", command=command, content=content, station="A1"), "d", is_upload=False
    )
    assert answer is not None
    assert (answer.state, answer.is_final) == (state, is_final)


class Api:
    """Requests to the commands of one device."""

    def __init__(self, store: PostgresStore) -> None:
        self._app = gateway_app(store)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Response:
        async def request() -> Response:
            transport = ASGITransport(self._app, raise_app_exceptions=False)
            async with AsyncClient(transport=transport, base_url="http://gateway", headers=HEADERS) as client:
                return await client.request(method, f"/v1/devices/{path}", json=body)

        return asyncio.run(request())

    def command(self, device: str, **body: Any) -> int:
        response = self.send("POST", f"{device}/commands", body)
        assert response.status_code == 200, response.text
        return int(response.json()["command_id"])

    def wait_for(self, device: str, command_id: int, state: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def is_reached() -> bool:
            found.update(self.send("GET", f"{device}/commands/{command_id}").json())
            return bool(found["state"] == state)

        wait_until(is_reached, within_s=WITHIN_S, what=f"command {command_id} is {state}")
        return found


def respond(station: TestStation, request: Segment, command: str, content: str) -> None:
    system = "91" if command.startswith("9") else "21"
    station.send(
        build_frame(
            Segment(
                request=request.request,
                system=system,
                command=command,
                station=request.station,
                flag=4,
                content=content,
            )
        )
    )


def test_commands_reach_the_station_and_their_answers_the_api(
    timescale_dsn: str, mosquitto: Any, tmp_path: Path
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.enrol(
        Directory(devices=[Device(device_id=name, area_id="330483-d1") for name in ("st-01", "st-02")])
    )
    api = Api(store)
    stations = tmp_path / "stations.toml"
    stations.write_text(STATIONS)
    port = free_port()
    server = PlatformProcess(
        "hj212",
        *("--port", str(port), "--stations", str(stations), "--spool", str(tmp_path / "spool")),
        log=tmp_path / "hj212.log",
        TOWNTWIN_DSN=timescale_dsn,
        TOWNTWIN_BROKER=mosquitto.url,
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(running_processes(server))
            station = stack.enter_context(closing(connected(port)))
            set_time = api.command("st-01", kind="set-time", note="4 min late")
            read_time = api.command("st-01", kind="read-time")
            station.send(upload("A1", 0, 7.0))
            frames = [station.answer(), station.answer()]
            request = next(one for one in frames if one.command == "1012")
            assert request.content.startswith("SystemTime=20")
            respond(station, request, "9011", "QnRtn=1")
            assert api.wait_for("st-01", set_time, "accepted")["attempts"] == 1
            respond(station, request, "9012", "ExeRtn=1")
            done = api.wait_for("st-01", set_time, "done")
            assert (done["result"], done["note"]) == (1, "4 min late")
            assert [one["command"] for one in done["answers"]] == ["9011", "9012"]
            # One after the other: the second is sent once the first is finished.
            request = station.answer()
            assert request.command == "1011"
            respond(station, request, "9011", "QnRtn=2")
            assert api.wait_for("st-01", read_time, "refused")["result"] == 2
            # Nobody answers: two attempts under one request number.
            ignored = api.command("st-01", kind="read-interval", over_time_s=1, re_count=1)
            assert {(station.answer().command, station.answer().request) for _ in range(1)}
            assert api.wait_for("st-01", ignored, "timed_out")["attempts"] == 2
            # Commands wait for a server and a station that are away; the answer after a restart counts.
            server.kill()
            history = api.command(
                "st-01", kind="upload-history", data="real-time", over_time_s=30,
                **{"from": "2026-01-01T08:00:00+08:00", "to": "2026-01-01T09:00:00+08:00"},
            )  # fmt: skip
            server.start()
            again = stack.enter_context(closing(connected(port)))
            again.send(upload("A1", 1, 7.0))
            request = next(one for one in (again.answer(), again.answer()) if one.command == "2011")
            assert request.content == "BeginTime=20260101080000,EndTime=20260101090000"
            server.kill()
            server.start()
            again = stack.enter_context(closing(connected(port)))
            wait_until(
                lambda: "hj212_listening" in (tmp_path / "hj212.log").read_text(),
                within_s=WITHIN_S, what="the server listens",
            )  # fmt: skip
            again.send(upload("A1", 2, 7.0))
            assert again.answer().command == "9014"
            wait_until(
                lambda: _uploads_after(api, again, request, history) >= 1, within_s=WITHIN_S, what="an upload"
            )
            respond(again, request, "9012", "ExeRtn=1")
            assert api.wait_for("st-01", history, "done")["uploads"] >= 1
            listed = api.send("GET", "st-01/commands").json()
            assert [one["state"] for one in listed] == ["done", "timed_out", "refused", "done"]
            assert api.send("GET", "st-02/commands").json() == []
            assert api.send("POST", "nobody/commands", {"kind": "read-time"}).status_code == 404
            backwards = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z", "data": "hour"}
            wrong = api.send("POST", "st-01/commands", {"kind": "upload-history", **backwards})
            assert wrong.status_code == 422
    finally:
        store.close()


def _uploads_after(api: Api, station: TestStation, request: Segment, command_id: int) -> int:
    """Send an upload of the past under the request's number; returns how many the platform has counted."""
    respond(station, request, "2011", "DataTime=20260101080000;w01001-Rtd=7.0,w01001-Flag=N")
    return int(api.send("GET", f"st-01/commands/{command_id}").json()["uploads"])
