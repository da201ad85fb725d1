"""Every route, for every role, for the own area, one below it, the one above it, and a foreign one."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from gateway.access import keys, rights
from gateway.access.principal import ROLES, Role
from gateway.settings import Settings
from ingest_service.storage.batch import Batch
from ingest_service.storage.memory import MemoryStore
from ingest_service.storage.model import (
    Area,
    Channel,
    DeadLetter,
    Device,
    DeviceStatus,
    Directory,
    Node,
    Series,
    Site,
)
from tests.support.access import MemoryAccounts, opened
from tests.support.asgi import Stream, ask
from tests.support.kept import anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from ingest_service.storage.accounts import ApiKey

OWN, BELOW, ABOVE, ABROAD = PLACES = ("own", "below", "above", "abroad")
PARENTS = {"above": None, "own": "above", "below": "own", "abroad": "above"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/anomalies/{anomaly_id}/feedback": {"verdict": "confirmed", "note": "so it was"},
    "/v1/dead-letters/replay": {"device": "device-{place}"},
    "/v1/dead-letters/purge": {"device": "device-{place}"},
    "/v1/keys": {"name": "new", "role": "viewer", "area": "{place}"},
}
QUERIES = {"/v1/series/{series_id}/buckets": {"width": "PT1H"}}
COUNTED = {
    "/v1/dead-letters/replay",
    "/v1/dead-letters/purge",
}  # of a foreign place they do nothing, and say so
ENDLESS = {"/v1/live"}
PAGES = {"/docs", "/docs/oauth2-redirect", "/openapi.json", "/login", "/healthz", "/readyz", "/metrics"}


class Place(NamedTuple):
    """What there is in an area."""

    site_id: str
    series_id: int
    anomaly_id: int
    letter_id: int
    key_id: str


class World(NamedTuple):
    """A gateway over four areas, each with one of everything, and a key of one of them for each role."""

    app: FastAPI
    store: MemoryStore
    accounts: MemoryAccounts
    places: dict[str, Place]
    headers: dict[Role, dict[str, str]]


@cache
def made(role: Role) -> tuple[ApiKey, str]:
    """A key of a role, made once: argon2 is slow on purpose."""
    return keys.mint(MemoryAccounts(), name=role.word, role=role, area_id=OWN, created_by="tests")


@pytest.fixture
def world() -> World:
    store, accounts = MemoryStore(), MemoryAccounts()
    words: Any = {"en": "x", "zh": "x"}
    for place in ("above", "own", "below", "abroad"):
        store.enrol(
            Directory(
                areas=[Area(area_id=place, parent=PARENTS[place], level="county", **words)],
                sites=[
                    Site(site_id=f"site-{place}", area_id=place, kind="river_section", lon=1, lat=1, **words)
                ],
                devices=[Device(device_id=f"device-{place}", area_id=place)],
                series=[Series(site_id=f"site-{place}", quantity="ph")],
                channels=[
                    Channel(device_id=f"device-{place}", name="ph", site_id=f"site-{place}", quantity="ph")
                ],
                nodes=[
                    Node(
                        node_id=f"node-{place}",
                        network="river",
                        area_id=place,
                        kind="section",
                        lon=1,
                        lat=1,
                        site_id=f"site-{place}",
                        **words,
                    )
                ],
            )
        )
    series = {one.site_id: one.series_id for one in store.directory().series}
    places = {}
    for number, place in enumerate(PLACES, 1):
        series_id = series[f"site-{place}"]
        store.commit(
            Batch(
                fresh=readings(series_id, range(number)),
                anomalies=[
                    anomaly(
                        subject=place,
                        site_id=f"site-{place}",
                        series_id=series_id,
                        device_id=f"device-{place}",
                    )
                ],
                letters=[
                    DeadLetter(
                        received_s=1.0,
                        topic=f"towntwin/v1/{place}/device-{place}/data",
                        payload=b"?",
                        reason="unit",
                        detail="x",
                    )
                ],
                statuses=[DeviceStatus(device_id=f"device-{place}", received_s=5.0, status={"online": True})],
            )
        )
        key, _ = made(Role.VIEWER)
        key = msgspec.structs.replace(key, key_id=f"{number:012x}", area_id=place)
        accounts.create(key)
        places[place] = Place(f"site-{place}", series_id, number, number, key.key_id)
    headers = {}
    for role in Role:
        key, text = made(role)
        accounts.create(key)
        headers[role] = {"Authorization": f"Bearer {text}"}
    app = opened(store, accounts=accounts, settings=Settings(requests_burst=10_000))
    return World(app, store, accounts, places, headers)


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that an application answers, those of what is mounted in it, too."""
    for one in iter_route_contexts(app.routes):
        route = one.original_route
        if isinstance(route, Mount):
            yield from (("*", f"{route.path}{inner.path}") for inner in route.routes)  # type: ignore[attr-defined]
        else:
            yield from ((method, str(one.path)) for method in one.methods or () if method != "HEAD")


def entries(*, without: set[str]) -> list[tuple[str, str, rights.Right]]:
    """The table of rights, as far as it is about data."""
    found = []
    for entry, right in rights.RIGHTS.items():
        method, path = entry.split(" ")
        if path.startswith("/v1") and path not in without:
            found.append((method, path, right))
    return found


def request(world: World, method: str, path: str, place: str, role: Role) -> Any:
    filled = path.format(**world.places[place]._asdict())
    body = BODIES.get(path) if method == "POST" else None
    assert method != "POST" or body is not None, f"{path}: say in BODIES how it is asked"
    body = body and {name: value.format(place=place) for name, value in body.items()}
    return ask(world.app, method, filled, headers=world.headers[role], json=body, params=QUERIES.get(path))


def test_every_route_has_its_entry_and_every_entry_its_route(world: World) -> None:
    found = set(routes(opened(world.store, accounts=world.accounts, console=True)))
    apart = {(method, path) for method, path in found if method == "*"}
    assert {f"{method} {path}" for method, path in found - apart} | {
        entry for entry, right in rights.RIGHTS.items() if right is rights.CONSOLE
    } == set(rights.RIGHTS)
    for _, path in apart:
        here = rights.find("GET", "/" if path == "/" else f"{path}/x")
        assert here is not None, path
        assert here.right is rights.CONSOLE, path


def test_what_is_open_to_anybody_holds_no_data(world: World) -> None:
    open_to_all = {entry.split(" ")[1] for entry, right in rights.RIGHTS.items() if right.role is None}
    assert open_to_all == (PAGES | {"/logout"}) - {"/metrics"}
    for path in sorted(PAGES - {"/metrics"}):
        answer = ask(world.app, "GET", path)
        assert answer.status_code == 200, path
        assert not any(word in answer.text for word in ("site-own", "device-own")), path


@pytest.mark.parametrize("role", Role, ids=list(ROLES))
def test_a_role_may_what_the_table_says(world: World, role: Role) -> None:
    for method, path, right in entries(without=ENDLESS):
        answer = request(world, method, path, OWN, role)
        assert right.role is not None
        assert (answer.status_code == 403) == (role < right.role), (method, path, answer.text)
        assert answer.status_code in {200, 403}, (method, path, answer.text)
        nobody = ask(world.app, method, path.replace("{", "").replace("}", ""))
        assert (nobody.status_code, nobody.headers["content-type"]) == (401, "application/problem+json")
    metrics = ask(world.app, "GET", "/metrics", headers=world.headers[role])
    assert (metrics.status_code, "whole platform" in metrics.text) == (403, True)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("role", Role, ids=list(ROLES))
def test_what_is_elsewhere_is_not_there(world: World, role: Role, place: str) -> None:
    described = ask(world.app, "GET", "/openapi.json").json()["paths"]
    here = place in {OWN, BELOW}
    for method, path, right in entries(without=ENDLESS):
        if right.role is None or role < right.role:
            continue
        if "{" in path or method == "POST":
            answer = request(world, method, path, place, role)
            if path in COUNTED:
                assert answer.json() == {"letters": 1 if here else 0}, (method, path)
            else:
                assert answer.status_code == (200 if here else 404), (method, path, answer.text)
        if method != "GET":
            continue
        named = {one["name"] for one in described[path]["get"].get("parameters", [])}
        for name, value in (("area", place), ("site", f"site-{place}"), ("device", f"device-{place}")):
            if name in named:
                answer = ask(world.app, "GET", path, headers=world.headers[role], params={name: value})
                nothing = answer.status_code == 404 or answer.json() == {"items": [], "next": None}
                assert nothing != here, (path, name, answer.text)


@pytest.mark.parametrize("role", Role, ids=list(ROLES))
def test_nothing_that_is_listed_is_elsewhere(world: World, role: Role) -> None:
    for method, path, right in entries(without=ENDLESS):
        if method != "GET" or "{" in path or right.role is None or role < right.role:
            continue
        text = ask(world.app, "GET", path, headers=world.headers[role]).text
        assert ABROAD not in text, path
        assert f"-{ABOVE}" not in text, path
        assert path in {"/v1/me", "/v1/health", "/v1/quantities", "/v1/audit"} or OWN in text, path
    health = ask(world.app, "GET", "/v1/health", headers=world.headers[role]).json()
    assert (health["readings"], health["open_anomalies"], health["dead_letters"]) == (1 + 2, 2, 2)
    areas = ask(world.app, "GET", "/v1/areas", headers=world.headers[role]).json()
    assert [one["area_id"] for one in areas] == ["above", "below", "own"], "the one above by its name"


def test_a_foreign_page_is_not_opened_by_a_cursor_of_another(world: World) -> None:
    """A cursor is a place in an order: in other hands it opens nothing that they would not see anyway."""
    everything = keys.mint(world.accounts, name="all", role=Role.VIEWER, created_by="tests")[1]
    for path in ("/v1/anomalies", "/v1/dead-letters"):
        first = ask(world.app, "GET", path, headers={"X-API-Key": everything}, params={"limit": 1}).json()
        stolen = {"cursor": first["next"]}
        page = ask(world.app, "GET", path, headers=world.headers[Role.VIEWER], params=stolen)
        assert page.status_code == 200
        assert ABROAD not in page.text
        assert f"-{ABOVE}" not in page.text
        for forged in ("x" * 201, "bmFuOm5hbg", "MTsgRFJPUCBUQUJMRSBzaXRl", "MWU5OTk6MQ", "Li4vLi4"):
            answer = ask(
                world.app, "GET", path, headers=world.headers[Role.VIEWER], params={"cursor": forged}
            )
            assert (answer.status_code, "cursor" in answer.text) == (422, True), forged


def test_a_stream_tells_of_its_own_areas_alone_and_ends_with_its_key(world: World) -> None:
    async def scenario() -> str:
        app = opened(
            world.store, accounts=world.accounts, settings=Settings(live_poll_s=0.02, heartbeat_s=0.1)
        )
        _, text = keys.mint(world.accounts, name="s", role=Role.VIEWER, area_id=OWN, created_by="tests")
        stream = Stream(app, "/v1/live", {"X-API-Key": text})
        await stream.until(lambda: "nothing new" in stream.text)
        for place in (ABROAD, ABOVE, BELOW, OWN):
            changed = anomaly(
                subject=place, site_id=f"site-{place}", series_id=world.places[place].series_id, score=9.0
            )
            world.store.record([changed])
        await stream.until(lambda: "site-own" in stream.text)
        world.accounts.revoke(text.split("_")[1], by="tests")
        await stream.until(stream.task.done)
        return stream.text

    told = asyncio.run(scenario())
    assert "site-below" in told
    assert ABROAD not in told
    assert ABOVE not in told
    assert asyncio.run(foreign_stream(world)) == 404


async def foreign_stream(world: World) -> int:
    stream = Stream(world.app, "/v1/live", world.headers[Role.VIEWER], query=f"area={ABROAD}")
    await stream.until(stream.task.done)
    return stream.status
