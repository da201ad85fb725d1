"""Tests the SensorThings façade over a socket with a third-party client that follows its links."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import frost_sta_client
import pytest

from tests.support import howto_pages
from tests.support.gateway_access import HEADERS, KEY, gateway_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest_service.storage.postgres.store import PostgresStore

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
    with howto_pages.serve_app(gateway_app(filled)) as address:
        yield frost_sta_client.SensorThingsService(f"{address}/sta/v1.1", auth_handler=Keyed())


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


@pytest.mark.parametrize("line", howto_pages.curl_lines("sensorthings.md"))
def test_the_examples_of_the_page_run(
    line: str, service: frost_sta_client.SensorThingsService, tmp_path: Path
) -> None:
    address = str(service.url).removesuffix("/sta/v1.1")
    answer = howto_pages.run_command(line, address, key=KEY, folder=tmp_path)
    if "$value" in line:
        assert answer == "river_section"
        return
    found = json.loads(answer)
    if "during(" in line or "resultQuality" in line:  # of a time, or of faults, that this test does not have
        assert found["value"] is not None
    else:
        assert len(found["value"] if isinstance(found, dict) else found) > 0
