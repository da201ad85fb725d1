"""Tests that responses to a town's key name nothing outside its area: evidence, reasons, exports, reports."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.gateway.test_authorization import QUERIES_BY_PATH, format_values
from tests.support.asgi import send_request
from tests.support.four_areas import ABOVE, ABROAD, OWN, FourAreas, enrol, four_areas_gateway
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.support.throwaway_servers import NamedServer, PostgresServer


# Tested with their own forms: reports, GeoJSON of incidents, files of networks.
FORMS_OF_THEIR_OWN = {
    "/v1/reports/{area}/{month}",
    "/v1/incidents/export",
    "/v1/twin/network/export",
    "/v1/twin/placement/report",
}


@pytest.fixture(scope="module")
def world(timescale_server: PostgresServer | NamedServer) -> Iterator[FourAreas]:
    """A gateway on a database with the four areas."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        yield four_areas_gateway(store)
        store.close()


@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "arrow", "parquet"])
def test_no_answer_names_what_is_elsewhere_in_any_form(world: FourAreas, form: str) -> None:
    """Every route with forms, exports included; an anomaly of the own area has a neighbour abroad."""
    described = send_request(world.app, "GET", "/openapi.json").json()["paths"]
    own, n_checked = world.contents_by_area[OWN]._asdict() | {"place": OWN}, 0
    for path, operations in described.items():
        named = {one["name"] for one in operations.get("get", {}).get("parameters", [])}
        if "format" not in named or path in FORMS_OF_THEIR_OWN:
            continue
        params = format_values(QUERIES_BY_PATH.get(path, {}), own) | {"format": form}
        answer = send_request(
            world.app, "GET", path.format(**own), headers=world.headers[Role.VIEWER], params=params
        )
        assert answer.status_code == 200, (path, answer.text)
        text = as_text(answer.content, form)
        assert ABROAD not in text, (path, text)
        assert f"-{ABOVE}" not in text, path
        n_checked += 1
        if path == "/v1/anomalies":
            assert "a neighbouring town" in text
            assert "邻镇" in text
            assert "77.25" in text, "the neighbour below is shown whole"
    assert n_checked >= 5


def as_text(content: bytes, form: str) -> str:
    if form == "arrow":
        return str(pa.ipc.open_stream(content).read_all().to_pylist())
    return str(pq.read_table(io.BytesIO(content)).to_pylist()) if form == "parquet" else content.decode()


def test_reports_and_one_anomaly_name_nothing_elsewhere(world: FourAreas) -> None:
    place = world.contents_by_area[OWN]
    for path in (
        f"/v1/anomalies/{place.anomaly_id}",
        f"/v1/anomalies/{place.anomaly_id}/trace",
        f"/v1/reports/{OWN}/{place.month}?language=en",
        f"/v1/reports/{OWN}/{place.month}?language=zh",
        f"/v1/anomalies?text={ABROAD}xyz",
    ):
        answer = send_request(world.app, "GET", path, headers=world.headers[Role.VIEWER])
        assert answer.status_code == 200, (path, answer.text)
        assert ABROAD not in answer.text, (path, answer.text)
        assert "site-above" not in answer.text
    everything = api_keys.create_key(world.accounts, name="all", role=Role.VIEWER, created_by="tests")[1]
    whole = send_request(
        world.app, "GET", f"/v1/anomalies/{place.anomaly_id}", headers={"X-API-Key": everything}
    )
    assert f"it passed site-{ABROAD}" in whole.text, (
        "who sees both sides of a border reads the whole evidence"
    )


def test_no_reason_from_before_0028_is_found_by_a_name_elsewhere(
    timescale_server: PostgresServer | NamedServer,
) -> None:
    """`enrol` writes reasons as they were before migration 0028; 0030 changes those that are there."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        world = four_areas_gateway(store)
        query: Any = {"params": {"text": f"site-{ABROAD}"}, "headers": world.headers[Role.VIEWER]}
        before = send_request(world.app, "GET", "/v1/anomalies", **query).json()["items"]
        assert before, "the stored reason has the name, which the answer leaves out"
        with store.transaction() as connection:
            connection.execute("UPDATE anomaly SET severity = severity")  # leaves a past behind
        migration = files("ingest_service.storage.postgres").joinpath(
            "migrations/0030_reasons_name_no_other_area.sql"
        )
        for _ in range(2):
            with store.transaction() as connection:
                connection.execute(migration.read_text().encode())
        assert send_request(world.app, "GET", "/v1/anomalies", **query).json()["items"] == []
        with store.transaction() as connection:
            for table in ("anomaly", "anomaly_history"):
                stored = connection.execute(
                    f"SELECT reason_en || reason_zh FROM {table} WHERE site_id = 'site-own'".encode()
                ).fetchall()
                assert stored
                assert all("site-" not in reason and "邻镇亦有此现象" in reason for (reason,) in stored), (
                    stored
                )
        store.close()
