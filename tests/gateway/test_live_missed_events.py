"""Tests the replay of missed live events: bounded, with gap events that say where to query."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.directory_cache import DirectoryCache
from gateway.live import events, missed_events
from gateway.live.broadcaster import EventBroadcaster
from gateway.live.events import LiveEvent, StreamPosition
from tests.support.live_streams import SETTINGS, add_anomaly, subscribe_to, take_events, two_towns
from tests.support.store_samples import anomaly

if TYPE_CHECKING:
    from ingest_service.storage.memory.store import MemoryStore

BEGIN = StreamPosition(0, 0)


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def test_an_old_position_brings_the_newest_anomalies_and_a_gap_with_the_query_to_send(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed_events, "MAX_REPLAYED_ANOMALIES", 4)
    monkeypatch.setattr(missed_events, "EVENTS_PER_PAGE", 3)

    async def scenario() -> list[LiveEvent]:
        for number in range(10):
            add_anomaly(store, "ab"[number % 2], number)
        return await take_events(subscribe_to(store, after=BEGIN, kinds=["anomaly"]), 5)

    gap, *anomalies = asyncio.run(scenario())
    assert gap.kind == "gap"
    delivered = json.loads(gap.data)
    start = datetime.fromtimestamp(anomaly().start_s, UTC).isoformat()
    assert delivered["kind"] == "anomaly"
    assert delivered["from"] < start.replace("+00:00", "Z") < delivered["to"]
    assert [one.position.revision for one in anomalies] == [7, 8, 9, 10]
    assert gap.position.revision == 6, "who comes again with it gets the rest"


def test_a_gap_of_other_towns_is_not_reported(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_events, "MAX_REPLAYED_ANOMALIES", 1)

    async def scenario() -> list[LiveEvent]:
        for number in range(5):
            add_anomaly(store, "a", number)
        add_anomaly(store, "b")
        return await take_events(subscribe_to(store, after=BEGIN, kinds=["anomaly"], area="b"), 1)

    assert [(one.kind, one.site_id) for one in asyncio.run(scenario())] == [("anomaly", "sb")]


def test_very_many_missed_anomalies_are_a_gap_from_the_beginning(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed_events, "MAX_REPLAYED_ANOMALIES", 1)
    monkeypatch.setattr(missed_events, "MAX_COUNTED_CHANGES", 2)

    async def scenario() -> list[LiveEvent]:
        for number in range(5):
            add_anomaly(store, "a", number)
        return await take_events(subscribe_to(store, after=BEGIN, kinds=["anomaly"]), 2)

    gap, last = asyncio.run(scenario())
    assert json.loads(gap.data)["from"].startswith("1970-01-01T00:00:00")
    assert (last.kind, last.position.revision) == ("anomaly", 5)


def test_a_place_from_before_a_restore_is_a_gap_and_the_stream_goes_on(store: MemoryStore) -> None:
    async def scenario() -> tuple[list[LiveEvent], list[LiveEvent]]:
        add_anomaly(store, "a")
        now_us = round(time.time() * 1e6)
        stream = subscribe_to(store, after=StreamPosition(10**17, now_us), kinds=["anomaly"])
        first = await take_events(stream, 1)
        add_anomaly(store, "b")
        return first, await take_events(stream, 1)

    (gap,), (next_,) = asyncio.run(scenario())
    assert (gap.kind, json.loads(gap.data)["kind"], gap.position.revision) == ("gap", "anomaly", 1)
    assert (next_.kind, next_.position.revision) == ("anomaly", 2)


def test_a_slow_reader_that_comes_again_misses_nothing(store: MemoryStore) -> None:
    async def scenario() -> list[int]:
        broadcaster = EventBroadcaster(store, DirectoryCache(store), SETTINGS)
        slow = subscribe_to(store, broadcaster=broadcaster, kinds=["anomaly"])
        await anext(slow)
        for number in range(30):
            add_anomaly(store, "a", number)
        delivered = [one async for one in slow if isinstance(one, LiveEvent)]
        assert delivered[-1].kind == "end"
        resumed = subscribe_to(
            store, broadcaster=broadcaster, after=delivered[-1].position, kinds=["anomaly"]
        )
        delivered = delivered[:-1] + await take_events(resumed, 30 - len(delivered) + 1)
        await broadcaster.close()
        return [one.position.revision for one in delivered]

    assert asyncio.run(scenario()) == list(range(1, 31))


def test_an_anomaly_that_cannot_be_rendered_holds_no_stream_up(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = events.anomaly_event

    def broken(one: Any, *rest: Any) -> LiveEvent:
        if one.revision == 1:
            raise KeyError("a quantity of another version")
        return render(one, *rest)

    monkeypatch.setattr(events, "anomaly_event", broken)

    async def scenario() -> list[LiveEvent]:
        stream = subscribe_to(store, kinds=["anomaly"])
        await anext(stream)
        add_anomaly(store, "a")
        add_anomaly(store, "b")
        return await take_events(stream, 1)

    assert [one.position.revision for one in asyncio.run(scenario())] == [2]
