"""Tests that a device's dead letters beyond a quota are only counted, so that they can't fill the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import DeadLetter, DeadLetterQuery
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.dead_letters import (
    MAX_DEAD_LETTER_BYTES_PER_DAY,
    MAX_DEAD_LETTERS_PER_DAY,
)
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.contract.store import Store

DAY_S = 86_400.0
LARGE = b"first bytes" + b"x" * (12 * 2**20)


def dead_letters(device: str, payloads: Iterable[bytes], received_s: float = 1.79e9) -> list[DeadLetter]:
    """Dead letters of a device."""
    topic = f"towntwin/v1/330483-d1/{device}/data"
    return [
        DeadLetter(received_s=received_s, topic=topic, payload=one, reason="decode", detail="x")
        for one in payloads
    ]


def kept_count(store: Store, device: str) -> int:
    """How many of a device are kept."""
    return len(store.dead_letters(DeadLetterQuery(device=device, whole=False, limit=10_000)))


def exceed_quotas(store: Store) -> None:
    """More letters of one device than a day may have, one more the day after, and one of another device."""
    store.enrol(DIRECTORY)
    store.commit(
        Batch(dead_letters=dead_letters("d1", (b"%d" % at for at in range(MAX_DEAD_LETTERS_PER_DAY + 300))))
    )
    assert kept_count(store, "d1") == MAX_DEAD_LETTERS_PER_DAY
    store.commit(
        Batch(dead_letters=dead_letters("d1", [b"next"], 1.79e9 + DAY_S) + dead_letters("d2", [b"other"]))
    )
    assert (kept_count(store, "d1"), kept_count(store, "d2")) == (MAX_DEAD_LETTERS_PER_DAY + 1, 1)
    store.commit(Batch(dead_letters=dead_letters("d3", [LARGE, LARGE, LARGE, b"small"])))
    assert kept_count(store, "d3") == 3, "the third large one is beyond the bytes of a day"
    assert 2 * len(LARGE) <= MAX_DEAD_LETTER_BYTES_PER_DAY < 3 * len(LARGE)


def test_dead_letters_beyond_a_quota_are_counted_with_the_first_bytes(plain_dsn: str) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    exceed_quotas(store)
    with psycopg.connect(plain_dsn) as connection:
        found = connection.execute(
            "SELECT device, letters, beyond, bytes_beyond, first_beyond FROM dead_letter_quota"
            " WHERE beyond > 0 ORDER BY device"
        ).fetchall()
    assert [row[:3] for row in found] == [
        ("330483-d1/d1", MAX_DEAD_LETTERS_PER_DAY, 300),
        ("330483-d1/d3", 3, 1),
    ]
    assert found[0][4] == b"%d" % MAX_DEAD_LETTERS_PER_DAY
    assert (found[1][3], found[1][4][:11], len(found[1][4])) == (len(LARGE), b"first bytes", 1024)
    assert store.dead_letters_over_quota() == 0, "of today"
    store.delete_old_quotas()
    store.close()


def test_the_store_in_memory_has_the_same_quota() -> None:
    exceed_quotas(MemoryStore())
