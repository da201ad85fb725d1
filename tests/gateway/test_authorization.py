"""Tests every route with every role, for its own, a lower, a higher and a foreign area."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from gateway.auth import api_keys, authorization
from gateway.auth.authorization import ALL_SCOPES, DeclaredRight, RouteRights, UndeclaredRightError
from gateway.auth.principal import ROLES_BY_NAME, Role
from gateway.settings import Settings
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.area_incidents import add_incident, tiny_photo
from tests.support.asgi import StreamedResponse, send_request
from tests.support.duty_samples import duty_requests
from tests.support.four_areas import (
    ABOVE,
    ABROAD,
    AREA_NAMES,
    BELOW,
    OWN,
    AreaContents,
    FourAreas,
    enrol,
    four_areas_gateway,
    key_of_role,
    neighbour_evidence,
    principals_of_roles,
)
from tests.support.gateway_access import gateway_app
from tests.support.store_samples import anomaly
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.support.throwaway_servers import NamedServer, PostgresServer

WIDE = {"from": "2026-09-01T00:00:00Z", "to": "2026-10-01T00:00:00Z"}
BODIES_BY_ROUTE: dict[str, Any] = {
    "POST /v1/incidents": {"site_id": "site-{place}", "kind": "water", "summary": "dead fish"},
    "POST /v1/incidents/{incident_id}/transitions": {"event": "report", "why": "x", "revision": "{revision}"},
    "POST /v1/incidents/{incident_id}/comments": {"text": "x"},
    "PUT /v1/incidents/{incident_id}/assignment": {"assignee": "Li", "revision": "{revision}"},
    "POST /v1/incidents/{incident_id}/merge": {
        "incident_ids": ["{other_id}"],
        "revision": "{revision}",
        "why": "x",
    },
    "POST /v1/incidents/{incident_id}/split": {
        "anomaly_ids": ["{member_id}"],
        "revision": "{revision}",
        "why": "x",
    },
    "POST /v1/incidents/{incident_id}/requests": {"kind": "return", "why": "x", "revision": "{revision}"},
    "POST /v1/incidents/{incident_id}/requests/{request_id}/decision": {
        "state": "withdrawn",
        "revision": "{revision}",
    },
    "POST /v1/incidents/{incident_id}/photos": tiny_photo(),
    "POST /v1/incidents/maintenance": {"site_id": "site-{place}", **WIDE, "why": "x"},
    "POST /v1/anomalies/{anomaly_id}/feedback": {"verdict": "confirmed", "note": "so it was"},
    "POST /v1/dead-letters/replay": {"device": "device-{place}"},
    "POST /v1/dead-letters/purge": {"device": "device-{place}"},
    "POST /v1/keys": {"name": "new", "role": "viewer", "area": "{place}"},
    "POST /v1/enrolment-codes": {"area": "{place}"},
    "POST /v1/enrolments/{enrolment_id}/decision": {"decision": "reject"},
    "POST /v1/judge": {"time": [1.79e9, 1.79e9 + 300], "value": [7.0, 7.1]},
    "POST /v1/scenarios": {
        "name": "x",
        "changes": [{"kind": "spill", "node": "node-{place}", "kg": 1.0}],
    },
    "POST /v1/series/{series_id}/trial": {**WIDE, "limits": {"score_strong": 9.0}},
    "POST /v1/devices/{device_id}/commands": {"kind": "read-time"},
    "POST /v1/devices/{device_id}/maintenance": {"action": "begin"},
    "POST /v1/series/{series_id}/calibrations": {"reference": 7.0, "before": 7.1, "after": 7.0},
    "POST /v1/federation/limits": {"site_id": "site-{place}", "quantity": "ph", "limits": {}},
    "POST /v1/federation/incidents": {"site_id": "site-{place}", "summary": "foam"},
    "POST /v1/federation/dashboards": {
        "area_id": "{place}",
        "dashboard": {"uid": "rivers", "title": "Rivers"},
    },
    "PUT /v1/series/{series_id}/limits": {"limits": {"score_strong": 9.0}, "note": "tried"},
}
QUERIES_BY_PATH: dict[str, dict[str, Any]] = {
    "/v1/series/{series_id}/buckets": {"width": "PT1H"},
    "/v1/readings": WIDE,
    "/v1/twin/estimates": {"quantity": "ph"},
    "/v1/twin/placement/report": {"area": "{area}", "format": "html"},
    "/v1/plot": {"series": "{series_id}", **WIDE},
    "/v1/scenarios/compare": {"a": "{scenario_id}", "b": "{scenario_id}"},
    "/v1/judge": {"quantity": "ph"},
    "/v1/incidents/performance": WIDE,
    "/v1/incidents/suppressed": WIDE,
}
PATHS_THAT_COUNT = {
    "/v1/dead-letters/replay",
    "/v1/dead-letters/purge",
}  # of a foreign place they do nothing, and say so
PATHS_WITHOUT_STORED_DATA = {"/v1/judge"}  # nothing that is stored is in the answer
PATHS_WITHOUT_PLACE = {
    "/v1/readings",
    "/v1/twin/estimates",
    "/v1/incidents/performance",
    "/v1/incidents/suppressed",
}  # in the query
PATHS_WITHOUT_AREA = {
    "/v1/me",
    "/v1/twin/network/findings",
    "/v1/twin/placement/report",
    "/v1/health",
    "/v1/quantities",
    "/v1/audit",
    "/sta/v1.1",
    "/sta/v1.1/",
}
ENDLESS_PATHS = {"/v1/live"}
# For forwarded sites and towns that forward alone.
PATHS_OF_TOWNS = {"/v1/federation/limits", "/v1/federation/incidents", "/v1/federation/dashboards"}
THINGS = "/sta/v1.1/{path:path}"
SETS = (
    "Things",
    "Locations",
    "HistoricalLocations",
    "Datastreams",
    "Sensors",
    "Observations?$expand=FeatureOfInterest",
    "FeaturesOfInterest",
    "Things?$expand=Datastreams($expand=Observations,Sensor)",
    "ObservedProperties?$expand=Datastreams($expand=Thing)",
)
# Each starts a process; the import is refused to whoever is restricted to areas (test_network_files.py).
PATHS_OF_NETWORK_FILES = {"/v1/twin/network/imports", "/v1/twin/network/export"}
DEVICE_PATHS = {"/v1/enrolments", "/v1/enrolments/{enrolment_id}/collect"}  # by a code or token in the body
# By a code or token in the body; by a key with the scope by name (tests/acceptance/test_federation_https.py).
OF_DEVICES = (authorization.DEVICE_ENROLMENT, authorization.FORWARDING)
PAGES = {"/docs", "/docs/{name}", "/openapi.json", "/login", "/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    """A database with the four areas."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        yield store
        store.close()


@pytest.fixture
def world(store: PostgresStore) -> FourAreas:
    return four_areas_gateway(store)


@pytest.fixture(scope="module")
def query_names(store: PostgresStore) -> dict[str, set[str]]:
    """Names of the parameters in the query of each path; an application takes a second to describe itself."""
    described = send_request(gateway_app(store), "GET", "/openapi.json").json()["paths"]
    return {
        path: {one["name"] for one in methods["get"].get("parameters", []) if one["in"] == "query"}
        for path, methods in described.items()
        if "get" in methods
    }


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that an application answers, those of what is mounted in it, too."""
    for one in iter_route_contexts(app.routes):
        route = one.original_route
        if isinstance(route, Mount):
            yield from (("*", f"{route.path}{inner.path}") for inner in route.routes)  # type: ignore[attr-defined]
        else:
            yield from ((method, str(one.path)) for method in one.methods or () if method != "HEAD")


def data_rights(world: FourAreas, *, without: set[str]) -> list[DeclaredRight]:
    """The rights of the routes that serve data."""
    return [
        declared
        for declared in world.app.state.route_rights
        if declared.path.startswith(("/v1", "/sta"))
        and declared.path not in without
        and declared.right not in OF_DEVICES
        and declared.path not in PATHS_OF_NETWORK_FILES
    ]


def request(world: FourAreas, method: str, path: str, place: str, role: Role) -> Any:
    principals = principals_of_roles() if place == OWN else None
    of_duty = duty_requests(place, f"-{place}", principals).get(f"{method} {path}")
    if of_duty is not None:
        return send_request(world.app, method, of_duty[0], headers=world.headers[role], json=of_duty[1])
    names = world.contents_by_area[place]._asdict() | {"place": place}
    if "/incidents/" in path:  # a new one, for the request before may have changed or closed it
        who = f"{role.role_name} (key:{key_of_role(role)[0].key_id})"
        names |= add_incident(world.store, place, who)
    body = BODIES_BY_ROUTE.get(f"{method} {path}")
    assert method not in {"POST", "PUT"} or body is not None or path == THINGS, (
        f"{path}: add a request to BODIES"
    )
    params = QUERIES_BY_PATH.get(path, {})
    return send_request(
        world.app,
        method,
        path.replace(":path", "").format(**names),
        headers=world.headers[role],
        json=format_values(body, names) if isinstance(body, dict) else None,
        content=body if isinstance(body, bytes) else None,
        params=format_values(params, names) if params else None,
    )


def format_values(values: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.format(**names)
        if isinstance(value, str)
        else [
            one.format(**names)
            if isinstance(one, str)
            else format_values(one, names)
            if isinstance(one, dict)
            else one
            for one in value
        ]
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }


def expected_status(method: str, path: str) -> int:
    """What is answered to whoever may: the SensorThings façade only reads; the sites here are of no town."""
    if path in PATHS_OF_TOWNS:
        return 409
    return 501 if path == THINGS and method != "GET" else 200


def test_every_route_has_its_entry_and_every_entry_its_route(world: FourAreas) -> None:
    app = gateway_app(world.store, accounts=world.accounts, console=True)
    assert set(routes(app)) == {(one.method, one.path) for one in app.state.route_rights}


def test_a_route_without_a_declared_right_is_refused_when_the_application_is_built() -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(UndeclaredRightError, match=r"/v1/forgotten: declare the right of .*forgotten"):
        RouteRights(router.routes)


def test_every_scope_is_required_by_a_route(world: FourAreas) -> None:
    app = gateway_app(world.store, accounts=world.accounts, console=True)
    assert {one.right.scope for one in app.state.route_rights} - {None} == set(ALL_SCOPES)


def test_what_is_open_to_anybody_holds_no_data(world: FourAreas) -> None:
    open_to_all = {one.path for one in world.app.state.route_rights if one.right.role is None}
    assert open_to_all == (PAGES | DEVICE_PATHS | {"/logout", "/acknowledge/{token}"}) - {"/metrics"}
    for path in sorted(PAGES - {"/metrics"}):
        answer = send_request(world.app, "GET", path.replace("{name}", "swagger-ui.css"))
        ready = 503 if path == "/readyz" else 200  # no ingest runs here, and the sentence names no area
        assert answer.status_code == ready, path
        assert not any(word in answer.text for word in ("site-own", "device-own")), path


@pytest.mark.parametrize("role", Role, ids=list(ROLES_BY_NAME))
def test_a_role_has_the_rights_of_the_table(world: FourAreas, role: Role) -> None:
    for method, path, right in data_rights(world, without=ENDLESS_PATHS):
        answer = request(world, method, path, OWN, role)
        assert right.role is not None
        assert (answer.status_code == 403) == (role < right.role), (method, path, answer.text)
        assert answer.status_code in {expected_status(method, path), 403}, (method, path, answer.text)
        nobody = send_request(world.app, method, path.replace("{", "").replace("}", ""))
        assert (nobody.status_code, nobody.headers["content-type"]) == (401, "application/problem+json")
    metrics = send_request(world.app, "GET", "/metrics", headers=world.headers[role])
    assert (metrics.status_code, "whole platform" in metrics.text) == (403, True)


@pytest.mark.parametrize("place", AREA_NAMES)
@pytest.mark.parametrize("role", Role, ids=list(ROLES_BY_NAME))
def test_what_is_elsewhere_is_not_there(
    world: FourAreas, query_names: dict[str, set[str]], role: Role, place: str
) -> None:
    """Each route is requested by the lowest role that has its right, and by the administrator."""
    is_visible = place in {OWN, BELOW}
    for method, path, right in data_rights(world, without=ENDLESS_PATHS):
        if role not in {right.role, Role.ADMINISTRATOR}:
            continue
        if "{" in path or method == "POST" or path in QUERIES_BY_PATH:
            answer = request(world, method, path, place, role)
            if path in PATHS_THAT_COUNT:
                assert answer.json() == {"letters": 1 if is_visible else 0}, (method, path)
            elif (
                expected_status(method, path) in {200, 409}
                and path not in PATHS_WITHOUT_STORED_DATA | PATHS_WITHOUT_PLACE
            ):
                expected = expected_status(method, path) if is_visible else 404
                assert answer.status_code == expected, (method, path, answer.text)
            else:
                assert f"-{place}" not in answer.text or is_visible
        if method != "GET":
            continue
        for name, value in area_filters(world.contents_by_area[place]).items():
            if name not in query_names.get(path, set()):
                continue
            params = format_values(QUERIES_BY_PATH.get(path, {}), world.contents_by_area[OWN]._asdict()) | {
                name: value
            }
            params |= {"within_m": 10} if name == "near" else {}
            answer = send_request(world.app, "GET", path, headers=world.headers[role], params=params)
            assert answer.status_code in ({200} if is_visible else {200, 404}), (path, name, answer.text)
            nothing = answer.status_code == 404 or answer.content == b'{"items":[],"next":null}'
            assert nothing != is_visible, (path, name, answer.text)


def area_filters(place: AreaContents) -> dict[str, Any]:
    """Every parameter of a query that names something of a place."""
    return {
        "area": place.area,
        "site": place.site_id,
        "device": f"device-{place.area}",
        "series": place.series_id,
        "near": place.site_id,
    }


@pytest.mark.parametrize("role", Role, ids=list(ROLES_BY_NAME))
def test_nothing_that_is_listed_is_elsewhere(world: FourAreas, role: Role) -> None:
    for method, path, right in data_rights(world, without=ENDLESS_PATHS):
        if method != "GET" or "{" in path or right.role is None or role < right.role:
            continue
        params = format_values(QUERIES_BY_PATH.get(path, {}), world.contents_by_area[OWN]._asdict()) or None
        check_listed(
            send_request(world.app, "GET", path, headers=world.headers[role], params=params).text, path
        )
    for one in SETS:
        check_listed(
            send_request(world.app, "GET", f"/sta/v1.1/{one}", headers=world.headers[role]).text, one
        )
    health = send_request(world.app, "GET", "/v1/health", headers=world.headers[role]).json()
    assert (health["readings"], health["open_anomalies"], health["dead_letters"]) == (1 + 2, 2, 2)
    areas = send_request(world.app, "GET", "/v1/areas", headers=world.headers[role]).json()
    assert [one["area_id"] for one in areas] == ["above", "below", "own"], "the one above by its name"


def check_listed(text: str, path: str) -> None:
    assert ABROAD not in text, path
    assert f"-{ABOVE}" not in text, path
    assert path in PATHS_WITHOUT_AREA or OWN in text, (path, text)


def test_a_cursor_in_other_hands_is_refused_and_shows_nothing(world: FourAreas) -> None:
    everything = api_keys.create_key(world.accounts, name="all", role=Role.VIEWER, created_by="tests")[1]
    for path in ("/v1/anomalies", "/v1/dead-letters"):
        first = send_request(
            world.app, "GET", path, headers={"X-API-Key": everything}, params={"limit": 1}
        ).json()
        for cursor in (first["next"], "x" * 201, "bmFuOm5hbg", "MTsgRFJPUCBUQUJMRSBzaXRl", "Li4vLi4"):
            answer = send_request(
                world.app, "GET", path, headers=world.headers[Role.VIEWER], params={"cursor": cursor}
            )
            assert (answer.status_code, "cursor" in answer.text) == (422, True), cursor
            assert "site-" not in answer.text


def test_a_stream_sends_events_of_its_own_areas_only_and_ends_with_its_key(world: FourAreas) -> None:
    async def scenario() -> str:
        app = gateway_app(
            world.store, accounts=world.accounts, settings=Settings(live_poll_s=0.02, heartbeat_s=0.1)
        )
        _, text = api_keys.create_key(
            world.accounts, name="s", role=Role.VIEWER, area_id=OWN, created_by="tests"
        )
        stream = StreamedResponse(app, "/v1/live", {"X-API-Key": text})
        await stream.until(lambda: "nothing new" in stream.text)
        for place in (ABROAD, ABOVE, BELOW, OWN):
            at: Any = {"site_id": f"site-{place}", "series_id": world.contents_by_area[place].series_id}
            changed = anomaly(subject=place, score=9.0, **at, **neighbour_evidence(place))
            world.store.record_anomalies([changed])
        await stream.until(lambda: "site-own" in stream.text)
        world.accounts.revoke(text.split("_")[1], by="tests")
        await stream.until(stream.task.done)
        return stream.text

    received_text = asyncio.run(scenario())
    assert "site-below" in received_text
    assert ABROAD not in received_text
    assert ABOVE not in received_text
    assert asyncio.run(status_of_foreign_stream(world)) == 404


async def status_of_foreign_stream(world: FourAreas) -> int:
    stream = StreamedResponse(world.app, "/v1/live", world.headers[Role.VIEWER], query=f"area={ABROAD}")
    await stream.until(stream.task.done)
    return stream.status
