"""A client that others wrote reads the façade over a socket, by the façade's own links."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import frost_sta_client
import pytest
import uvicorn

from tests.support import loud
from tests.support.access import HEADERS, KEY, opened
from tests.support.processes import REPOSITORY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.postgres import PostgresStore

pytestmark = pytest.mark.filterwarnings("ignore:furl:DeprecationWarning")  # what the client still uses


class Keyed(frost_sta_client.AuthHandler):  # type: ignore[misc]
    """Has the client send our key."""

    def add_auth_header(self) -> Any:
        return with_key


def with_key(request: Any) -> Any:
    request.headers.update(HEADERS)
    return request


@pytest.fixture(scope="module")
def service(filled: PostgresStore) -> Iterator[frost_sta_client.SensorThingsService]:
    """The client, on a server of this test."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(opened(filled), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started, within_s=30, what="the gateway listens")
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/sta/v1.1"
    yield frost_sta_client.SensorThingsService(address, auth_handler=Keyed())
    server.should_exit = True
    thread.join()
    listening.close()


def test_sets_are_read_to_their_end(service: frost_sta_client.SensorThingsService) -> None:
    things = service.things().query().expand("Datastreams,Locations").list()
    ids = [one.id for one in things]
    assert len(ids) == len(set(ids)) > 40
    streams = (
        service.datastreams().query().filter("ObservedProperty/name eq 'pH'").orderby("name", "asc").list()
    )
    assert [one.name for one in streams] == sorted(one.name for one in streams)


def test_observations_of_a_datastream(service: frost_sta_client.SensorThingsService) -> None:
    stream = service.datastreams().find(1)
    assert stream.unit_of_measurement.symbol == "Cel"
    query = stream.get_observations().query().filter("result gt 0").orderby("phenomenonTime", "desc").top(10)
    times = [one.phenomenon_time for one in query.list()]
    assert len(times) > 50
    assert times == sorted(times, reverse=True)


def test_an_id_of_text(service: frost_sta_client.SensorThingsService) -> None:
    thing = service.things().find("330483-d1-r04")
    assert thing.id == "330483-d1-r04"
    assert thing.properties["kind"] == "river_section"


def examples() -> list[str]:
    lines = (REPOSITORY / "docs/howto/sensorthings.md").read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    curl")]


@pytest.mark.parametrize("line", examples())
def test_the_examples_of_the_page_run(line: str, service: frost_sta_client.SensorThingsService) -> None:
    if shutil.which("curl") is None:
        loud.skip_always("the examples of docs/howto/sensorthings.md: curl is missing")
    address = str(service.url).removesuffix("/sta/v1.1")
    command = line.replace("http://127.0.0.1:8080", address).replace("curl ", "curl -f ", 1)
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=True, env=os.environ | {"KEY": KEY}
    )
    answer = done.stdout
    if "$value" in line:
        assert answer == "river_section"
        return
    found = json.loads(answer)
    if "during(" in line or "resultQuality" in line:  # of a time, or of faults, that this test does not have
        assert found["value"] is not None
    else:
        assert len(found["value"] if isinstance(found, dict) else found) > 0
