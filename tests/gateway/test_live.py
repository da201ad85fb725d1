"""Live streams tell what is new, resume where they were cut, and drop a reader that is too slow."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gateway import missed
from gateway.access import keys
from gateway.access.principal import Role
from gateway.known import Directories
from gateway.live import Hub
from gateway.news import News, Place
from gateway.settings import Settings
from tests.support.access import HEADERS, MemoryAccounts, opened
from tests.support.asgi import Stream, ask
from tests.support.listening import SETTINGS, find, listening, measure, of, say, take, two_towns

if TYPE_CHECKING:
    from ingest_service.storage.memory import MemoryStore

BEGIN = Place(0, 0)


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def hears(stream: Stream, words: str) -> bool:
    return words in stream.text


def test_a_stream_tells_what_is_new_and_nothing_old(store: MemoryStore) -> None:
    async def scenario() -> list[tuple[str, object]]:
        find(store, "a")
        measure(store, 2)
        say(store, "da")
        stream = listening(store)
        assert isinstance(await anext(stream), Place), "it listens"
        first = await take(stream, 1)  # received so recently that nobody can know
        find(store, "b")
        measure(store, 3)
        say(store, "db")
        return of(first + await take(stream, 3))

    assert asyncio.run(scenario()) == [("reading", 2), ("reading", 3), ("anomaly", 3), ("health", "db")]


@pytest.mark.parametrize(
    ("filters", "wanted"),
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
    filters: dict[str, Any], wanted: set[Any], store: MemoryStore
) -> None:
    async def scenario() -> tuple[set[Any], set[Any]]:
        stream = listening(store, **filters)
        await anext(stream)
        for series in (1, 2, 3):
            measure(store, series)
        for town in ("a", "b"):
            find(store, town)
            say(store, f"d{town}")
        now = await take(stream, len(wanted))
        again = await take(
            listening(store, after=Place(0, round(time.time() * 1e6) - 5_000_000), **filters), len(wanted)
        )
        return set(of(now)), set(of(again))

    assert asyncio.run(scenario()) == (wanted, wanted)


def test_a_stream_goes_on_where_it_was_cut(store: MemoryStore) -> None:
    async def scenario() -> None:
        for number in range(5):
            find(store, "a", number)
        for ago_s in (300, 200, 100):
            measure(store, 1, ago_s=ago_s)
        whole = await take(listening(store, after=Place(0, round((time.time() - 250) * 1e6))), 7)
        assert [one.kind for one in whole] == ["reading"] * 2 + ["anomaly"] * 5
        assert [one.place for one in whole] == sorted(one.place for one in whole)
        stream = listening(store, after=whole[4].place, kinds=["anomaly"])
        assert [one.place.revision for one in await take(stream, 2)] == [4, 5]
        find(store, "b", 9)
        assert [one.place.revision for one in await take(stream, 1)] == [6]

    asyncio.run(scenario())


def test_what_is_too_old_or_too_much_is_a_gap(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[list[str], list[News]]:
        measure(store, 1, ago_s=2 * missed.READINGS_S, n=3)
        measure(store, 1, ago_s=10, n=7)
        old = await take(listening(store, after=BEGIN), 8)
        monkeypatch.setattr(missed, "READINGS", 4)
        much = await take(listening(store, after=Place(0, round((time.time() - 60) * 1e6))), 5)
        return [one.kind for one in old], much

    old, much = asyncio.run(scenario())
    assert old == ["gap"] + ["reading"] * 7
    assert [one.kind for one in much] == ["reading"] * 4 + ["gap"]
    assert json.loads(much[-1].data)["from"] < json.loads(much[-1].data)["to"]


def test_a_quiet_stream_says_where_it_stands(store: MemoryStore) -> None:
    async def scenario() -> list[Place]:
        find(store, "a")
        stream = listening(store)
        return [await anext(stream) for _ in range(2)]

    assert [one.revision for one in asyncio.run(scenario())] == [1, 1]


def test_a_slow_reader_is_told_so_and_hurts_nobody(store: MemoryStore) -> None:
    async def scenario() -> None:
        hub = Hub(store, Directories(store), SETTINGS)
        slow, quick = (listening(store, hub=hub, kinds=["anomaly"]) for _ in range(2))
        await anext(slow)
        await anext(quick)
        for number in range(30):
            find(store, "a", number)
            assert (await take(quick, 1))[0].place.revision == number + 1
        told = [one.kind async for one in slow if isinstance(one, News)]
        assert told == ["anomaly"] * 9 + ["end"]
        assert hub.streams == 1
        await hub.close()

    asyncio.run(scenario())


def test_a_thousand_streams_are_told_in_one_process(store: MemoryStore) -> None:
    async def scenario() -> None:
        app = opened(store, settings=Settings(requests_burst=10_000, live_poll_s=0.05, heartbeat_s=60))
        streams = [Stream(app, "/v1/live", HEADERS, query=f"area={'ab'[n % 2]}") for n in range(1000)]
        for one in streams:
            await one.until(partial(hears, one, "nothing new"), within_s=60)
        find(store, "a")
        measure(store, 3)
        for number, one in enumerate(streams):
            wanted = ("event: anomaly", "event: reading")[number % 2]
            await one.until(partial(hears, one, wanted), within_s=60)
        assert "event: reading" not in streams[0].text
        assert "event: anomaly" not in streams[1].text
        for one in streams:
            one.task.cancel()

    asyncio.run(scenario())


def test_a_stream_ends_with_its_key(store: MemoryStore) -> None:
    async def scenario() -> int:
        accounts = MemoryAccounts()
        app = opened(store, accounts=accounts, settings=SETTINGS)
        soon: Any = {"role": Role.VIEWER, "created_by": "tests", "expires_s": time.time() + 1.0}
        _, expires = keys.mint(accounts, name="expires", **soon)
        _, revoked = keys.mint(accounts, name="revoked", **soon | {"expires_s": None})
        streams = [Stream(app, "/v1/live", {"X-API-Key": key}) for key in (expires, revoked)]
        for one in streams:
            await one.until(partial(hears, one, "nothing new"))
        accounts.revoke(revoked.split("_")[1], by="tests")
        for one in streams:
            await one.until(one.task.done)
        return len([one for one in streams if one.status == 200])

    assert asyncio.run(scenario()) == 2


def test_an_event_has_an_id_that_can_be_sent_again(store: MemoryStore) -> None:
    async def scenario() -> str:
        app = opened(store, settings=SETTINGS)
        first = Stream(app, "/v1/live", HEADERS)
        await first.until(lambda: "nothing new" in first.text)
        measure(store, 1)
        await first.until(lambda: "event: reading" in first.text)
        place = first.text.split("event: reading")[0].rsplit("id: ", 1)[1].strip()
        await first.leave()
        find(store, "b")
        measure(store, 4)
        second = Stream(app, "/v1/live", HEADERS | {"Last-Event-ID": place})
        await second.until(lambda: "event: anomaly" in second.text)
        await second.leave()
        return second.text

    assert '"series_id":4' in asyncio.run(scenario())
    for forged in ("yesterday", "7", "-7-7", "7-7; DROP TABLE site", "9" * 30 + "-1"):
        answer = ask(opened(store), "GET", "/v1/live", headers=HEADERS | {"Last-Event-ID": forged})
        assert (answer.status_code, answer.json()["where"]) == (422, "last-event-id"), forged
