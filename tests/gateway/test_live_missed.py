"""What a live stream missed: bounded, with gaps that tell where to query, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway import missed, news
from gateway.known import Directories
from gateway.live import Hub
from gateway.news import News, Place
from tests.support.kept import anomaly
from tests.support.listening import SETTINGS, find, listening, take, two_towns

if TYPE_CHECKING:
    from ingest_service.storage.memory import MemoryStore

BEGIN = Place(0, 0)


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def test_an_old_place_brings_the_newest_anomalies_and_a_gap_that_tells_where_to_query(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed, "ANOMALIES", 4)
    monkeypatch.setattr(missed, "PAGE", 3)

    async def scenario() -> list[News]:
        for number in range(10):
            find(store, "ab"[number % 2], number)
        return await take(listening(store, after=BEGIN, kinds=["anomaly"]), 5)

    gap, *anomalies = asyncio.run(scenario())
    assert gap.kind == "gap"
    told = json.loads(gap.data)
    start = datetime.fromtimestamp(anomaly().start_s, UTC).isoformat()
    assert told["kind"] == "anomaly"
    assert told["from"] < start.replace("+00:00", "Z") < told["to"]
    assert [one.place.revision for one in anomalies] == [7, 8, 9, 10]
    assert gap.place.revision == 6, "who comes again with it gets the rest"


def test_a_gap_of_other_towns_is_not_told(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "ANOMALIES", 1)

    async def scenario() -> list[News]:
        for number in range(5):
            find(store, "a", number)
        find(store, "b")
        return await take(listening(store, after=BEGIN, kinds=["anomaly"], area="b"), 1)

    assert [(one.kind, one.site_id) for one in asyncio.run(scenario())] == [("anomaly", "sb")]


def test_very_many_missed_anomalies_are_a_gap_from_the_beginning(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missed, "ANOMALIES", 1)
    monkeypatch.setattr(missed, "COUNTED", 2)

    async def scenario() -> list[News]:
        for number in range(5):
            find(store, "a", number)
        return await take(listening(store, after=BEGIN, kinds=["anomaly"]), 2)

    gap, last = asyncio.run(scenario())
    assert json.loads(gap.data)["from"].startswith("1970-01-01T00:00:00")
    assert (last.kind, last.place.revision) == ("anomaly", 5)


def test_a_place_from_before_a_restore_is_a_gap_and_the_stream_goes_on(store: MemoryStore) -> None:
    async def scenario() -> tuple[list[News], list[News]]:
        find(store, "a")
        now_us = round(time.time() * 1e6)
        stream = listening(store, after=Place(10**17, now_us), kinds=["anomaly"])
        first = await take(stream, 1)
        find(store, "b")
        return first, await take(stream, 1)

    (gap,), (next_,) = asyncio.run(scenario())
    assert (gap.kind, json.loads(gap.data)["kind"], gap.place.revision) == ("gap", "anomaly", 1)
    assert (next_.kind, next_.place.revision) == ("anomaly", 2)


def test_a_slow_reader_that_comes_again_misses_nothing(store: MemoryStore) -> None:
    async def scenario() -> list[int]:
        hub = Hub(store, Directories(store), SETTINGS)
        slow = listening(store, hub=hub, kinds=["anomaly"])
        await anext(slow)
        for number in range(30):
            find(store, "a", number)
        told = [one async for one in slow if isinstance(one, News)]
        assert told[-1].kind == "end"
        again = listening(store, hub=hub, after=told[-1].place, kinds=["anomaly"])
        told = told[:-1] + await take(again, 30 - len(told) + 1)
        await hub.close()
        return [one.place.revision for one in told]

    assert asyncio.run(scenario()) == list(range(1, 31))


def test_an_anomaly_that_cannot_be_rendered_holds_no_stream_up(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = news.anomaly

    def broken(one: Any, *rest: Any) -> News:
        if one.revision == 1:
            raise KeyError("a quantity of another version")
        return render(one, *rest)

    monkeypatch.setattr(news, "anomaly", broken)

    async def scenario() -> list[News]:
        stream = listening(store, kinds=["anomaly"])
        await anext(stream)
        find(store, "a")
        find(store, "b")
        return await take(stream, 1)

    assert [one.place.revision for one in asyncio.run(scenario())] == [2]
