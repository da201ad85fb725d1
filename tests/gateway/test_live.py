"""Live streams tell what is new, resume where they were cut, and drop a reader that is too slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.live import Hub, News
from gateway.settings import Settings
from ingest_service.storage.memory import MemoryStore
from ingest_service.storage.model import Anomaly, Area, Directory, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = Settings(live_poll_s=0.01, live_waiting=10, heartbeat_s=0.05)


def store_with(n: int) -> MemoryStore:
    store = MemoryStore()
    store.enrol(
        Directory(
            areas=[Area(area_id="a", level="town", en="A", zh="甲")],
            sites=[Site(site_id="s", area_id="a", kind="river_section", en="S", zh="断面", lon=0, lat=0)],
        )
    )
    for number in range(n):
        record(store, number)
    return store


def record(store: MemoryStore, number: int) -> None:
    store.record(
        [
            Anomaly(
                subject=f"site/{number}",
                site_id="s",
                detector="residual",
                version="1",
                start_s=float(number),
                peak_s=0.0,
                score=1.0,
                severity=1,
                n_readings=1,
                state="open",
                reason_en="because",
                reason_zh="因为",
            )
        ]
    )


async def next_news(stream: AsyncIterator[News | None]) -> News:
    async for news in stream:
        if news is not None:
            return news
    raise AssertionError("the stream ended")


def test_a_stream_tells_what_is_new_and_nothing_old() -> None:
    async def scenario() -> list[int | None]:
        store = store_with(3)
        hub = Hub(store, SETTINGS)
        stream = hub.listen(None)
        first = asyncio.ensure_future(next_news(stream))
        await asyncio.sleep(0.1)
        record(store, 3)
        told = [(await first).id_]
        await hub.close()
        return told

    assert asyncio.run(scenario()) == [4]


def test_a_stream_goes_on_where_it_was_cut() -> None:
    async def scenario() -> list[int | None]:
        store = store_with(5)
        hub = Hub(store, SETTINGS)
        stream = hub.listen(2)
        told = [(await next_news(stream)).id_ for _ in range(3)]
        record(store, 5)
        told.append((await next_news(stream)).id_)
        await hub.close()
        return told

    assert asyncio.run(scenario()) == [3, 4, 5, 6]


def test_a_quiet_stream_says_so() -> None:
    async def scenario() -> News | None:
        hub = Hub(store_with(0), SETTINGS)
        stream = hub.listen(None)
        heard = await anext(stream)
        await hub.close()
        return heard

    assert asyncio.run(scenario()) is None


def test_a_slow_reader_is_told_so_and_hurts_nobody() -> None:
    async def scenario() -> tuple[list[str], int]:
        store = store_with(0)
        hub = Hub(store, SETTINGS)
        slow, quick = hub.listen(None), hub.listen(None)
        await anext(slow)  # a heartbeat: it listens now
        reading = asyncio.ensure_future(next_news(quick))
        await asyncio.sleep(0.05)
        for number in range(30):
            record(store, number)
            await asyncio.sleep(0.02)
            if reading.done():
                reading = asyncio.ensure_future(next_news(quick))
        told = [str(news.kind) async for news in slow if news is not None]
        streams = hub.streams
        await hub.close()
        reading.cancel()
        return told, streams

    told, streams = asyncio.run(scenario())
    assert told[-1] == "end"
    assert len(told) == 10
    assert streams == 1
