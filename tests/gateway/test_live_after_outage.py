"""Tests live streams after a database outage: late events are sent, old ones are not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.live import broadcaster
from gateway.live.events import StreamPosition
from ingest_service.storage.contract.errors import StoreUnavailableError
from tests.support.live_streams import (
    add_anomaly,
    add_readings,
    kinds_and_sources,
    subscribe_to,
    take_events,
    two_towns,
)

if TYPE_CHECKING:
    from ingest_service.storage.memory.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def test_what_was_committed_long_after_it_was_received_is_sent(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "FULL_READ_INTERVAL_S", 0.05)

    async def scenario() -> list[tuple[str, object]]:
        add_readings(store, 1, ago_s=100)
        stream = subscribe_to(store)
        assert isinstance(await anext(stream), StreamPosition), "it listens"
        add_readings(store, 2, ago_s=100)  # ingest held it while its database was away
        return kinds_and_sources(await take_events(stream, 1))

    assert asyncio.run(scenario()) == [("reading", 2)]


def test_a_stream_that_begins_without_the_database_sends_nothing_old_either(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_anomaly(store, "a")
    answers = store.newest_revision

    def away() -> int:
        monkeypatch.setattr(store, "newest_revision", answers)
        raise StoreUnavailableError("away")

    monkeypatch.setattr(store, "newest_revision", away)

    async def scenario() -> list[tuple[str, object]]:
        stream = subscribe_to(store)
        before = one = await anext(stream)
        async with asyncio.timeout(20):
            while one == before:  # until it knows its place
                one = await anext(stream)
        assert isinstance(one, StreamPosition)
        add_anomaly(store, "b")
        return kinds_and_sources(await take_events(stream, 1))

    assert asyncio.run(scenario()) == [("anomaly", 3)]
