"""Live streams and a database that was away: what is late is told, and what is old is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway import live
from gateway.news import Place
from ingest_service.storage.errors import StoreUnavailable
from tests.support.listening import find, listening, measure, of, take, two_towns

if TYPE_CHECKING:
    from ingest_service.storage.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return two_towns()


def test_what_was_committed_long_after_it_was_received_is_told(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WHOLE_EVERY_S", 0.05)

    async def scenario() -> list[tuple[str, object]]:
        measure(store, 1, ago_s=100)
        stream = listening(store)
        assert isinstance(await anext(stream), Place), "it listens"
        measure(store, 2, ago_s=100)  # ingest held it while its database was away
        return of(await take(stream, 1))

    assert asyncio.run(scenario()) == [("reading", 2)]


def test_a_stream_that_begins_without_the_database_tells_nothing_old_either(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(store, "a")
    answers = store.newest_revision

    def away() -> int:
        monkeypatch.setattr(store, "newest_revision", answers)
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "newest_revision", away)

    async def scenario() -> list[tuple[str, object]]:
        stream = listening(store)
        before = one = await anext(stream)
        async with asyncio.timeout(20):
            while one == before:  # until it knows its place
                one = await anext(stream)
        assert isinstance(one, Place)
        find(store, "b")
        return of(await take(stream, 1))

    assert asyncio.run(scenario()) == [("anomaly", 3)]
