"""Tests live streams: new events, resumption after a cut, and disconnection of slow readers."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.directory_cache import DirectoryCache
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.live import missed_events
from gateway.live.broadcaster import EventBroadcaster
from gateway.live.events import LiveEvent, StreamPosition
from gateway.settings import Settings
from tests.support.asgi import StreamedResponse, send_request
from tests.support.gateway_access import HEADERS, MemoryApiKeyStore, gateway_app
from tests.support.live_streams import (
    SETTINGS,
    add_anomaly,
    add_device_status,
    add_readings,
    kinds_and_sources,
    subscribe_to,
    take_events,
    two_towns,
)

if TYPE_CHECKING:
    from ingest_service.storage.memory.store import MemoryStore

BEGIN = StreamPosition(0, 0)


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def has_received(stream: StreamedResponse, words: str) -> bool:
    return words in stream.text


def test_a_stream_sends_what_is_new_and_nothing_old(store: MemoryStore) -> None:
    async def scenario() -> list[tuple[str, object]]:
        add_anomaly(store, "a")
        add_readings(store, 2)
        add_device_status(store, "da")
        stream = subscribe_to(store)
        assert isinstance(await anext(stream), StreamPosition), "it listens"
        first = await take_events(stream, 1)  # received so recently that nobody can know
        add_anomaly(store, "b")
        add_readings(store, 3)
        add_device_status(store, "db")
        return kinds_and_sources(first + await take_events(stream, 3))

    assert asyncio.run(scenario()) == [("reading", 2), ("reading", 3), ("anomaly", 3), ("health", "db")]


@pytest.mark.parametrize(
    ("filters", "expected_events"),
    [
        (
            {},
            {
                ("reading", 1),
                ("reading", 2),
                ("reading", 3),
                ("anomaly", 1),
                ("anomaly", 3),
                ("health", "da"),
                ("health", "db"),
            },
        ),
        ({"area": "a"}, {("reading", 1), ("reading", 2), ("anomaly", 1), ("health", "da")}),
        ({"site": "sb"}, {("reading", 3), ("anomaly", 3), ("health", "db")}),
        ({"quantity": "turbidity"}, {("reading", 2), ("health", "da"), ("health", "db")}),
        ({"kinds": ["anomaly"]}, {("anomaly", 1), ("anomaly", 3)}),
        ({"area": "b", "kinds": ["reading", "health"]}, {("reading", 3), ("health", "db")}),
    ],
)
def test_filters_hold_for_every_kind_now_and_again(
    filters: dict[str, Any], expected_events: set[Any], store: MemoryStore
) -> None:
    async def scenario() -> tuple[set[Any], set[Any]]:
        stream = subscribe_to(store, **filters)
        await anext(stream)
        for series in (1, 2, 3):
            add_readings(store, series)
        for town in ("a", "b"):
            add_anomaly(store, town)
            add_device_status(store, f"d{town}")
        now = await take_events(stream, len(expected_events))
        again = await take_events(
            subscribe_to(store, after=StreamPosition(0, round(time.time() * 1e6) - 5_000_000), **filters),
            len(expected_events),
        )
        return set(kinds_and_sources(now)), set(kinds_and_sources(again))

    assert asyncio.run(scenario()) == (expected_events, expected_events)


def test_a_stream_goes_on_where_it_was_cut(store: MemoryStore) -> None:
    async def scenario() -> None:
        for number in range(5):
            add_anomaly(store, "a", number)
        for ago_s in (300, 200, 100):
            add_readings(store, 1, ago_s=ago_s)
        whole = await take_events(
            subscribe_to(store, after=StreamPosition(0, round((time.time() - 250) * 1e6))), 7
        )
        assert [one.kind for one in whole] == ["reading"] * 2 + ["anomaly"] * 5
        assert [one.position for one in whole] == sorted(one.position for one in whole)
        stream = subscribe_to(store, after=whole[4].position, kinds=["anomaly"])
        assert [one.position.revision for one in await take_events(stream, 2)] == [4, 5]
        add_anomaly(store, "b", 9)
        assert [one.position.revision for one in await take_events(stream, 1)] == [6]

    asyncio.run(scenario())


def test_what_is_too_old_or_too_much_is_a_gap(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[list[str], list[LiveEvent]]:
        add_readings(store, 1, ago_s=2 * missed_events.MAX_REPLAYED_AGE_S, n=3)
        add_readings(store, 1, ago_s=10, n=7)
        old = await take_events(subscribe_to(store, after=BEGIN), 8)
        monkeypatch.setattr(missed_events, "MAX_REPLAYED_READINGS", 4)
        much = await take_events(
            subscribe_to(store, after=StreamPosition(0, round((time.time() - 60) * 1e6))), 5
        )
        return [one.kind for one in old], much

    old, much = asyncio.run(scenario())
    assert old == ["gap"] + ["reading"] * 7
    assert [one.kind for one in much] == ["reading"] * 4 + ["gap"]
    assert json.loads(much[-1].data)["from"] < json.loads(much[-1].data)["to"]


def test_a_quiet_stream_sends_its_position(store: MemoryStore) -> None:
    async def scenario() -> list[StreamPosition]:
        add_anomaly(store, "a")
        stream = subscribe_to(store)
        return [await anext(stream) for _ in range(2)]

    assert [one.revision for one in asyncio.run(scenario())] == [1, 1]


def test_a_slow_reader_gets_an_end_event_and_delays_no_other(store: MemoryStore) -> None:
    async def scenario() -> None:
        broadcaster = EventBroadcaster(store, DirectoryCache(store), SETTINGS)
        slow_stream, quick = (
            subscribe_to(store, broadcaster=broadcaster, kinds=["anomaly"]) for _ in range(2)
        )
        await anext(slow_stream)
        await anext(quick)
        for number in range(30):
            add_anomaly(store, "a", number)
            assert (await take_events(quick, 1))[0].position.revision == number + 1
        delivered_kinds = [one.kind async for one in slow_stream if isinstance(one, LiveEvent)]
        assert delivered_kinds == ["anomaly"] * 9 + ["end"]
        assert broadcaster.streams == 1
        await broadcaster.close()

    asyncio.run(scenario())


def test_a_thousand_streams_are_served_in_one_process(store: MemoryStore) -> None:
    async def scenario() -> None:
        app = gateway_app(store, settings=Settings(requests_burst=10_000, live_poll_s=0.05, heartbeat_s=60))
        streams = [
            StreamedResponse(app, "/v1/live", HEADERS, query=f"area={'ab'[n % 2]}") for n in range(1000)
        ]
        for one in streams:
            await one.until(partial(has_received, one, "nothing new"), within_s=60)
        add_anomaly(store, "a")
        add_readings(store, 3)
        for number, one in enumerate(streams):
            expected_events = ("event: anomaly", "event: reading")[number % 2]
            await one.until(partial(has_received, one, expected_events), within_s=60)
        assert "event: reading" not in streams[0].text
        assert "event: anomaly" not in streams[1].text
        for one in streams:
            one.task.cancel()

    asyncio.run(scenario())


def test_a_stream_ends_with_its_key(store: MemoryStore) -> None:
    async def scenario() -> int:
        accounts = MemoryApiKeyStore()
        app = gateway_app(store, accounts=accounts, settings=SETTINGS)
        soon: Any = {"role": Role.VIEWER, "created_by": "tests", "expires_s": time.time() + 1.0}
        _, expires = api_keys.create_key(accounts, name="expires", **soon)
        _, revoked = api_keys.create_key(accounts, name="revoked", **soon | {"expires_s": None})
        streams = [StreamedResponse(app, "/v1/live", {"X-API-Key": key}) for key in (expires, revoked)]
        for one in streams:
            await one.until(partial(has_received, one, "nothing new"))
        accounts.revoke(revoked.split("_")[1], by="tests")
        for one in streams:
            await one.until(one.task.done)
        return len([one for one in streams if one.status == 200])

    assert asyncio.run(scenario()) == 2


def test_an_event_has_an_id_that_can_be_sent_again(store: MemoryStore) -> None:
    async def scenario() -> str:
        app = gateway_app(store, settings=SETTINGS)
        first = StreamedResponse(app, "/v1/live", HEADERS)
        await first.until(lambda: "nothing new" in first.text)
        add_readings(store, 1)
        await first.until(lambda: "event: reading" in first.text)
        position = first.text.split("event: reading")[0].rsplit("id: ", 1)[1].strip()
        await first.disconnect()
        add_anomaly(store, "b")
        add_readings(store, 4)
        second = StreamedResponse(app, "/v1/live", HEADERS | {"Last-Event-ID": position})
        await second.until(lambda: "event: anomaly" in second.text)
        await second.disconnect()
        return second.text

    assert '"series_id":4' in asyncio.run(scenario())
    for forged in ("yesterday", "7", "-7-7", "7-7; DROP TABLE site", "9" * 30 + "-1"):
        answer = send_request(
            gateway_app(store), "GET", "/v1/live", headers=HEADERS | {"Last-Event-ID": forged}
        )
        assert (answer.status_code, answer.json()["where"]) == (422, "last-event-id"), forged
