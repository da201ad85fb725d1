"""Scenarios of the twin: computed, kept, listed, compared, audited, and only of one's areas."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.models import Area, Directory, Link, Node
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.scenarios import ScenarioLog
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from tests.support.throwaway_servers import NamedServer, PostgresServer

SPILL = {"kind": "spill", "node": "spring", "kg": 20, "duration_minutes": 60}
# Two ways lead from the fork to the bridge, in the upper town; one on to the sea, in the lower town.
REACHES = ("spring-fork", "fork-mill", "fork-lock", "mill-bridge", "lock-bridge", "bridge-sea")
NODES = {"spring": "source", "fork": "section", "mill": "section", "lock": "section", "bridge": "section"}


def river() -> Directory:
    places = {**dict.fromkeys(NODES, "upper"), "sea": "lower"}
    return Directory(
        areas=[
            Area(area_id="county", level="county", parent=None, en="County", zh="县"),
            *(
                Area(area_id=one, level="town", parent="county", en=one, zh="镇")
                for one in ("upper", "lower")
            ),
        ],
        nodes=[
            Node(
                node_id=one,
                network="river",
                area_id=area,
                kind=NODES.get(one, "mouth"),
                en=one,
                zh="点",
                lon=120.5,
                lat=30.7,
            )
            for one, area in places.items()
        ],
        links=[
            Link(
                link_id=one,
                network="river",
                from_node=one.split("-")[0],
                to_node=one.split("-")[1],
                en=one,
                zh="河段",
                length_m=900.0,
                speed_m_s=0.3,
            )
            for one in REACHES
        ],
    )


@pytest.fixture(scope="module")
def store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(river())
        yield store
        store.close()


@pytest.fixture(scope="module")
def app(store: PostgresStore) -> FastAPI:
    return gateway_app(store)


def send(app: FastAPI, method: str, path: str, body: Any = None, headers: Any = HEADERS) -> Response:
    async def request() -> Response:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            return await client.request(method, f"/v1/scenarios{path}", json=body)

    return asyncio.run(request())


def run(app: FastAPI, *changes: dict[str, Any], **other: Any) -> dict[str, Any]:
    answer = send(app, "POST", "", {"name": "trial", "changes": list(changes), **other})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [one["code"] for one in found["result"]["statements"]]


def test_a_spill_arrives_at_the_usual_speed_and_is_kept(app: FastAPI) -> None:
    found = run(app, SPILL)
    sites = {one["node_id"]: one for one in found["result"]["sites"]}
    assert next(iter(sites)) == "spring"
    assert set(sites) == {*NODES, "sea"}
    # 3,600 m at 0.3 m/s, and half of the spill's hour
    assert sites["sea"]["peak_s"] == pytest.approx(3600 / 0.3 + 1800, rel=0.15)
    low, high = sites["sea"]["arrival_band_s"]
    assert low <= sites["sea"]["arrival_s"] <= high < sites["sea"]["peak_s"] * 1.5
    assert max(sites["sea"]["concentration_mg_l"]) == pytest.approx(sites["sea"]["peak_mg_l"], rel=1e-3)
    assert codes(found) == ["spill_reaches", "no_discharge"]
    assert found["who"].startswith("Wang Fang")
    again = send(app, "GET", f"/{found['scenario_id']}").json()
    assert again == found
    listed = send(app, "GET", "?limit=1").json()
    assert listed["items"][0]["scenario_id"] == found["scenario_id"] == listed["next_before"]
    assert ACCOUNTS.lines[-1].detail["scenario"] == found["scenario_id"]


def test_a_closed_sluice_is_never_without_an_answer(app: FastAPI) -> None:
    around = run(app, SPILL, {"kind": "sluice", "link": "fork-mill"})
    assert codes(around)[1] == "flow_diverted"
    altered = {one["link_id"]: one for one in around["result"]["links"]}
    assert altered["fork-mill"]["discharge_m3_s"] == pytest.approx(0, abs=1e-6)
    assert altered["fork-lock"]["discharge_m3_s"] == pytest.approx(
        2 * altered["fork-lock"]["base_m3_s"], rel=0.01
    )
    stopped = run(app, SPILL, {"kind": "sluice", "link": "bridge-sea"})
    assert codes(stopped)[1] == "flow_stops"
    assert "Flow stops at bridge-sea" in stopped["result"]["statements"][1]["en"]
    sea = next(one for one in stopped["result"]["sites"] if one["node_id"] == "sea")
    assert sea["arrival_s"] is None
    assert sea["base"]["arrival_s"] > 0
    compared = send(app, "GET", f"/compare?a={around['scenario_id']}&b={stopped['scenario_id']}").json()
    sea = next(one for one in compared["sites"] if one["node_id"] == "sea")
    assert sea["a"]["peak_mg_l"] > 0 == sea["b"]["peak_mg_l"]
    assert {one["link_id"] for one in compared["links"]} >= {"fork-mill", "bridge-sea"}


def test_pump_and_rain_alter_the_flow_and_impossible_requests_name_the_reason(app: FastAPI) -> None:
    wet = run(app, {"kind": "rain", "node": "fork", "mm": 36, "catchment_km2": 1, "duration_minutes": 600})
    # half of 36,000 m³ in ten hours
    last = next(one for one in wet["result"]["links"] if one["link_id"] == "bridge-sea")
    assert last["discharge_m3_s"] - last["base_m3_s"] == pytest.approx(0.5, rel=1e-3)
    assert last["volume_m3"] - last["base_m3"] == pytest.approx(18_000, rel=1e-3)
    assert codes(wet) == ["rain_alters_flow", "no_discharge"]
    for change, status, words in (
        ({"kind": "pump", "node": "mill", "m3_s": -50}, 422, "at node mill, 50 m³/s are taken out"),
        ({"kind": "pump", "node": "nowhere", "m3_s": 1}, 404, "nowhere"),
        ({"kind": "sluice", "link": "spring-sea"}, 404, "spring-sea"),
        ({**SPILL, "start_minutes": 1440}, 422, "begins after the end"),
        ({**SPILL, "kg": -1}, 422, "kg"),
        ({**SPILL, "kind": "flood"}, 422, "flood"),
    ):
        answer = send(app, "POST", "", {"name": "trial", "changes": [change]})
        assert answer.status_code == status, answer.text
        assert words in answer.text
    for body, media_type, where, words in (
        (b'{"name": }', "application/json", "body", "is no JSON, at character 9"),
        (b"<scenario/>", "text/xml", "content-type", "send the body as application/json"),
        (b"{}", "", "content-type", "send the body as application/json"),
    ):
        headers = HEADERS | ({"Content-Type": media_type} if media_type else {})
        answer = send_request(app, "POST", "/v1/scenarios", content=body, headers=headers)
        assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text
        assert words in answer.json()["detail"]


def test_a_scenario_is_read_only_where_all_of_its_places_may_be(app: FastAPI, store: PostgresStore) -> None:
    whole = run(app, SPILL)
    headers = {}
    for area, role in (("lower", Role.OPERATOR), ("upper", Role.OPERATOR), ("county", Role.VIEWER)):
        _, key = api_keys.create_key(ACCOUNTS, name=area, role=role, area_id=area, created_by="tests")
        headers[area] = {"X-API-Key": key}
    path = f"/{whole['scenario_id']}"
    assert send(app, "GET", path, headers=headers["lower"]).status_code == 404
    assert send(app, "GET", path, headers=headers["county"]).status_code == 200
    assert ScenarioLog(store.for_area("lower")).one(whole["scenario_id"]) is None  # by the database alone
    assert ScenarioLog(store.for_area("county")).one(whole["scenario_id"]) is not None
    request = {"name": "own", "changes": [SPILL]}
    assert send(app, "POST", "", request, headers=headers["county"]).status_code == 403
    assert send(app, "POST", "", request, headers=headers["lower"]).status_code == 404
    own = send(app, "POST", "", request, headers=headers["upper"]).json()
    assert {one["node_id"] for one in own["result"]["sites"]} == set(NODES)  # the network of the own areas
    listed = send(app, "GET", "", headers=headers["upper"]).json()["items"]
    assert own["scenario_id"] in {one["scenario_id"] for one in listed}
    assert whole["scenario_id"] not in {one["scenario_id"] for one in listed}


def test_the_worker_process_computes_it_for_api_and_console(store: PostgresStore) -> None:
    worker = [sys.executable, "-m", "deploy.heavy_worker", "{}"]
    app = gateway_app(store, heavy_worker=worker, console=True)
    form = {"name": "page", "kind": "spill", "target": "spring", "amount": "20"}
    form |= dict.fromkeys(("catchment", "start", "duration"), "")

    async def send_forms() -> list[Response]:
        headers = {"Origin": "http://gateway", "Accept-Language": "en"}
        async with AsyncClient(
            transport=ASGITransport(app, raise_app_exceptions=False),
            base_url="http://gateway",
            headers=headers,
        ) as client:
            await client.post("/login", json={"key": HEADERS["X-API-Key"]})
            return [
                await client.post("/console/scenarios", data=form | changed)
                for changed in ({}, {"amount": "0"})
            ]

    try:
        found = run(app, SPILL)
        assert app.state.heavy.pid is not None
        assert ACCOUNTS.lines[-1].detail["scenario"] == found["scenario_id"]
        done, refused = asyncio.run(send_forms())
        assert (done.status_code, done.headers["location"]) == (
            303,
            f"/console/scenarios?a={found['scenario_id'] + 1}",
        )
        assert (refused.status_code, 'id="refusal"' in refused.text) == (422, True)
    finally:
        app.state.heavy.close()
