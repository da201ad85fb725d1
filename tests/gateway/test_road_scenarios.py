"""Scenarios on the roads, and a past event replayed: computed from what was recorded, compared, shown."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from httpx import ASGITransport, AsyncClient

from analytics.service.incident_traces import trace_incidents
from analytics.service.settings import Settings
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.models import (
    READING,
    AnomalyQuery,
    Device,
    Directory,
    Link,
    Node,
    Series,
    Site,
)
from ingest_service.storage.contract.network_changes import NetworkChange
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.scenarios import ScenarioLog
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.gateway_access import ACCOUNTS, HEADERS, gateway_app
from tests.support.incident_world import NAMES, anomaly_at, maintain
from tests.support.throwaway_servers import fresh_database
from tests.support.traced_river import add_cloud, traced_river

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from tests.support.throwaway_servers import PostgresServer

# west ──▶ count ──▶ fork ──▶ {top, bottom} ──▶ east, the way over the bottom with one lane
ROADS = {
    ("west", "count"): 2,
    ("count", "fork"): 2,
    ("fork", "top"): 2,
    ("top", "east"): 2,
    ("fork", "bottom"): 1,
    ("bottom", "east"): 1,
}
FLOW_VEH_H, BY_NIGHT = 2400.0, 0.1  # counted by day, and its share from 20 to 6 h UTC
NOW_S = time.time()
NOON_S = NOW_S // 86_400 * 86_400 - 2 * 86_400 + 10 * 3600  # two days ago
CLOSURE = {"kind": "lane_closure", "link": "count:fork", "lanes": 1, "duration_minutes": 120}


def world() -> Directory:
    found = traced_river()
    for name in dict.fromkeys(end for ends in ROADS for end in ends):
        site = "a-count" if name == "count" else None
        kind = "detector" if site else "junction"
        lon, lat = {"top": (120.03, 30.01), "bottom": (120.03, 29.99)}.get(
            name, (120.0 + len(name) / 100, 30.0)
        )
        found.nodes.append(
            Node(
                node_id=name, network="road", area_id="a", kind=kind, lon=lon, lat=lat, site_id=site, **NAMES
            )
        )
    for (begin, end), lanes in ROADS.items():
        found.links.append(
            Link(
                link_id=f"{begin}:{end}",
                network="road",
                from_node=begin,
                to_node=end,
                length_m=5000.0 if begin == "west" else 1500.0,
                speed_m_s=15.0,
                lanes=lanes,
                **NAMES,
            )
        )
    found.sites.append(
        Site(site_id="a-count", area_id="a", kind="road_section", lon=120.05, lat=30.0, **NAMES)
    )
    found.devices.append(Device(device_id="a-count", area_id="a"))
    found.series += [Series(site_id="a-count", quantity=one) for one in ("traffic_flow", "traffic_speed")]
    return found


@pytest.fixture(scope="module")
def store(plain_server: PostgresServer) -> Iterator[PostgresStore]:
    """A database with a week of counts, and with an incident whose release was traced to the outfall a-o."""
    with fresh_database(plain_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(world())
        times_s = np.arange(NOW_S - 8 * 86_400, NOW_S, 900.0)
        hour = times_s % 86_400 / 3600
        for one in store.directory().series:
            if one.site_id == "a-count":
                rows = np.zeros(len(times_s), READING)
                rows["series_id"], rows["time_us"] = one.series_id, (times_s * 1e6).astype(np.int64)
                rows["received_us"], rows["quality"] = rows["time_us"], 1
                flow = FLOW_VEH_H * np.where((hour >= 6) & (hour < 20), 1, BY_NIGHT)
                rows["value"] = flow if one.quantity == "traffic_flow" else 50.0
                store.commit(Batch(fresh=rows))
        add_cloud(store, passed_s=NOW_S - 5 * 3600, now_s=NOW_S)
        store.record_anomalies([anomaly_at("a-r1", NOW_S - 5.5 * 3600, detector="cause/sewage", severity=3)])
        maintain(store)
        trace_incidents(store, Settings(trace_again_s=0))
        yield store
        store.close()


@pytest.fixture(scope="module")
def app(store: PostgresStore) -> FastAPI:
    return gateway_app(store, console=True)


def send(
    app: FastAPI,
    method: str,
    path: str,
    body: Any = None,
    headers: Any = HEADERS,
    *,
    root: str = "/v1/scenarios",
) -> Response:
    async def request() -> Response:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            return await client.request(method, f"{root}{path}", json=body)

    return asyncio.run(request())


def run(app: FastAPI, *changes: dict[str, Any], **other: Any) -> dict[str, Any]:
    body = {"name": "trial", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOON_S)), **other}
    answer = send(app, "POST", "", {**body, "changes": list(changes)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def roads(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["link_id"]: one for one in found["result"]["roads"]}


def codes(found: dict[str, Any]) -> list[str]:
    return [one["code"] for one in found["result"]["statements"]]


def test_a_closed_lane_delays_what_was_counted_at_that_time(app: FastAPI) -> None:
    """Of 2,400 vehicles/h 1,800 pass for two hours: 1,200 wait, and are gone an hour later."""
    found = run(app, CLOSURE, hours=6)
    assert (found["kind"], codes(found)) == ("traffic", ["lanes_closed", "delay"])
    result = found["result"]
    assert (result["counted_nodes"], result["recorded_share"]) == (1, 1.0)
    assert result["delay_veh_h"] == pytest.approx(1800, rel=0.05)
    low, high = result["delay_band_veh_h"]
    assert low <= result["delay_veh_h"] <= high
    altered = roads(found)
    queues = np.sum([one["queue_veh"] for one in altered.values()], axis=0)
    # those that queue upstream count from there, 433 s before they would reach the closure
    assert queues.max() == pytest.approx(1200 + 600 * 433 / 3600, rel=0.03)
    assert queues[result["time_s"].index(7200.0)] == queues.max()
    closed = altered["count:fork"]
    assert max(closed["base_flow_veh_h"]) == pytest.approx(FLOW_VEH_H, rel=0.03)
    assert max(closed["base_queue_veh"]) < 10
    before = altered["west:count"]  # the queue stands there
    assert min(before["speed_km_h"]) < 20
    assert min(before["base_speed_km_h"]) >= 45
    assert (before["base_level"], before["level"]) == (1, 5)
    night = run(app, CLOSURE | {"start_minutes": 720}, hours=15)
    assert codes(night) == ["lanes_closed", "no_delay"]
    compared = send(app, "GET", f"/compare?a={found['scenario_id']}&b={night['scenario_id']}").json()
    row = next(one for one in compared["roads"] if one["link_id"] == "west:count")
    assert row["longest_queue_a_veh"] > 1000
    assert row["longest_queue_b_veh"] is None  # not altered


def test_closed_roads_and_diversions_use_the_other_way(app: FastAPI) -> None:
    closed = run(app, {"kind": "road_closure", "link": "fork:top", "duration_minutes": 60}, hours=3)
    assert codes(closed)[0] == "road_closed"
    altered = roads(closed)
    assert altered["fork:top"]["flow_veh_h"][1:4] == pytest.approx([0, 0, 0], abs=1)
    # all of it takes the way of one lane, 1,800 vehicles/h
    assert max(altered["fork:bottom"]["flow_veh_h"]) == pytest.approx(1800, rel=0.02)
    diverted = run(
        app, {"kind": "diversion", "link": "fork:top", "share": 0.25, "to_link": "fork:bottom"}, hours=3
    )
    top, bottom = (roads(diverted)[one] for one in ("fork:top", "fork:bottom"))
    assert top["flow_veh_h"][5] == pytest.approx(0.75 * top["base_flow_veh_h"][5], rel=0.01)
    more = bottom["flow_veh_h"][5] - bottom["base_flow_veh_h"][5]
    assert more == pytest.approx(0.25 * top["base_flow_veh_h"][5], rel=0.03)
    signal = {"kind": "signal", "link": "count:fork", "green_share": 0.75, "usual_green_share": 0.6}
    retimed = run(app, signal, hours=3)
    assert codes(retimed)[0] == "signal_retimed"
    assert retimed["result"]["delay_veh_h"] < -50  # 2,160 vehicles/h could pass, now 2,700
    unchanged = signal | {"green_share": 0.7, "usual_green_share": 0.7}  # 2,520 vehicles/h can pass
    rain = {"kind": "road_rain", "link": "west:count", "mm_h": 12}
    wet = run(app, unchanged, rain, hours=3)
    assert "roads_in_rain" in codes(wet)
    assert max(roads(wet)["count:fork"]["flow_veh_h"][4:]) == pytest.approx(2520 * 0.725, rel=0.01)
    assert wet["result"]["delay_veh_h"] > 500
    below = roads(wet)["fork:top"]  # behind what can pass, free
    assert max(below["speed_km_h"]) == pytest.approx(0.95 * max(below["base_speed_km_h"]), rel=0.01)
    drizzle = run(app, unchanged, rain | {"mm_h": 0.1}, hours=3)
    assert abs(drizzle["result"]["delay_veh_h"]) < 1
    now = run(app, CLOSURE, hours=3, at=None)
    assert codes(now)[-1] == "demand_of_days_before"


def test_requests_that_cannot_be_computed_name_the_reason(app: FastAPI) -> None:
    spill = {"kind": "spill", "node": "a-o", "kg": 1}
    for changes, status, words in (
        ([CLOSURE | {"lanes": 3}], 422, "closure of 3 lanes of 'count:fork': it has 2"),
        ([CLOSURE | {"link": "a-r0:a-r1"}], 404, "a-r0:a-r1"),
        (
            [{"kind": "diversion", "link": "count:fork", "share": 0.5}],
            422,
            "no link before it leads elsewhere",
        ),
        ([CLOSURE, spill], 422, "all on the river or all on the roads"),
        ([], 422, "give at least one"),
        ([{"kind": "signal", "link": "count:fork", "green_share": one} for one in (0.2, 0.9)], 422, "twice"),
    ):
        answer = send(app, "POST", "", {"name": "trial", "changes": changes})
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    water = run(app, spill, at=None)
    road = run(app, CLOSURE, hours=1)
    answer = send(app, "GET", f"/compare?a={water['scenario_id']}&b={road['scenario_id']}")
    assert (answer.status_code, "two of one kind" in answer.text) == (422, True)


def test_a_traced_incident_is_replayed_with_a_closed_sluice(app: FastAPI, store: PostgresStore) -> None:
    (incident,) = Incidents(store).found(IncidentQuery())
    sluice = {"kind": "sluice", "link": "a-r1:a-r2"}
    free, held = (
        run(app, *changes, at=None, incident_id=incident.incident_id) for changes in ((), (sluice,))
    )
    spill = free["inputs"]["changes"][0]
    assert (spill["kind"], spill["node"]) == ("spill", "a-o")
    at = np.datetime64(free["at"].rstrip("Z")).astype("datetime64[s]").astype(float)
    assert NOW_S - 12 * 3600 < at < NOW_S - 5 * 3600
    sites = {one["node_id"]: one for one in free["result"]["sites"]}
    # as measured: 1.5 mg/L above the expected value at a-r1
    assert sites["a-r1"]["peak_mg_l"] == pytest.approx(1.5, rel=0.5)
    last = next(one for one in held["result"]["sites"] if one["node_id"] == "a-r2")
    assert (last["arrival_s"], last["base"]["peak_mg_l"] > 0.3) == (None, True)
    answer = send(app, "POST", "", {"name": "x", "incident_id": incident.incident_id + 1})
    assert answer.status_code == 404
    early = {
        "name": "x",
        "incident_id": incident.incident_id,
        "at": datetime.fromtimestamp(at - 30 * 3600, UTC).isoformat(),
    }
    answer = send(app, "POST", "", early)
    assert (answer.status_code, answer.json()["where"]) == (422, "at"), answer.text
    _, key = api_keys.create_key(
        ACCOUNTS, name="k", role=Role.OPERATOR, area_id="a", scopes=["scenarios"], created_by="tests"
    )
    body = {"name": "x", "incident_id": incident.incident_id}
    assert send(app, "POST", "", body, headers={"X-API-Key": key}).status_code == 404  # no right to incidents

    async def pages() -> tuple[str, str]:
        headers = {"Origin": "http://gateway", "Accept-Language": "en"}
        async with AsyncClient(
            transport=ASGITransport(app), base_url="http://gateway", headers=headers
        ) as client:
            await client.post("/login", json={"key": HEADERS["X-API-Key"]})
            address = f"/console/scenarios?incident={incident.incident_id}"
            page = await client.get(f"/console/incidents/{incident.incident_id}")
            return page.text if address in page.text else "", (await client.get(address)).text

    page, form = asyncio.run(pages())
    assert page, "the page of the incident leads to the form"
    assert '<option value="a-o" selected>' in form
    assert f'value="Incident {incident.incident_id}, replayed"' in form
    assert f'name="amount" type="number" step="any" value="{spill["kg"]:g}"' in form


def test_pages_hold_times_at_both_ends_of_the_calendar(app: FastAPI, store: PostgresStore) -> None:
    """A scenario of the year 9999 was kept; its page failed, as the towns' zone has no such time."""
    late = send(app, "POST", "", {"name": "x", "at": "9999-12-31T23:59:59Z", "changes": [CLOSURE]})
    assert (late.status_code, late.json()["where"]) == (422, "at")
    early = run(app, CLOSURE, at="0001-01-01T00:00:00Z", hours=1)
    log = ScenarioLog(store)
    kept = log.one(early["scenario_id"])
    assert kept is not None
    kept_before = log.insert(msgspec.structs.replace(kept, at_s=253_402_300_799.0))
    for path in (
        f"scenarios?a={early['scenario_id']}",
        f"scenarios?a={kept_before.scenario_id}",
        "state?quantity=ammonia_nitrogen&at=0001-01-01T00:00",
    ):
        page = send_request(app, "GET", f"/console/{path}", headers=HEADERS | {"Accept": "text/html"})
        assert page.status_code == 200, path


def test_a_past_time_has_the_networks_that_were_valid_then(app: FastAPI, store: PostgresStore) -> None:
    (event,) = store.anomalies(AnomalyQuery(site_ids=["a-r1"]))
    before = send(app, "GET", "/network", root="/v1/twin").json()
    store.change_network(
        NetworkChange(
            ended_nodes=["bottom", "a-o"],
            ended_links=["fork:bottom", "bottom:east", "a-o:a-r1"],
            valid_from_s=NOW_S - 3600,
        )
    )
    time.sleep(1.1)  # the gateway checks for changes once a second
    closed = {"kind": "road_closure", "link": "fork:bottom", "duration_minutes": 60}
    assert roads(run(app, closed))["fork:bottom"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_S - 60))
    refused = send(app, "POST", "", {"name": "now", "at": at, "changes": [closed]})
    assert (refused.status_code, "fork:bottom" in refused.text) == (404, True)
    trace = send(app, "GET", f"/{event.anomaly_id}/trace", root="/v1/anomalies").json()
    assert "a-o" in {one["node_id"] for one in trace["candidates"]}
    past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_S - 7200))
    found = send(app, "GET", f"/network?at={past}", root="/v1/twin").json()
    assert len(found["features"]) == len(before["features"])
    assert (
        len(send(app, "GET", "/network", root="/v1/twin").json()["features"]) == len(before["features"]) - 5
    )
