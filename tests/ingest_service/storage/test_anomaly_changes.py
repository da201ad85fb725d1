"""Tests the feed of anomaly revisions: out-of-order commits are delivered in order, none is missed."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ingest_service.storage.postgres import write_batch
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, anomaly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.models import Anomaly

WRITERS, ROUNDS = 8, 25


@pytest.fixture(params=["timescale_dsn", "plain_dsn"])
def dsn(request: pytest.FixtureRequest) -> str:
    dsn: str = request.getfixturevalue(request.param)
    migrate(dsn)
    return dsn


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresStore]:
    store = PostgresStore.open(dsn)
    store.enrol(DIRECTORY)
    yield store
    store.close()


@contextmanager
def open_transaction(dsn: str, *subjects: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that has written anomalies, and is not committed."""
    with psycopg.connect(dsn) as connection:
        with connection.cursor() as cursor:
            for subject in subjects:
                write_batch.upsert_anomalies(cursor, [anomaly(subject=subject)])
        yield connection


def subjects(found: list[Anomaly]) -> list[str]:
    return [one.subject for one in found]


def test_an_anomaly_that_is_committed_after_a_later_one_is_not_skipped(
    store: PostgresStore, dsn: str
) -> None:
    with open_transaction(dsn, "first") as first:
        with open_transaction(dsn, "second") as second:
            second.commit()
        assert store.anomalies_changed(0, limit=10) == [], "an older one may still come"
        assert store.newest_revision() == 0
        first.commit()
    found = store.anomalies_changed(0, limit=10)
    assert subjects(found) == ["first", "second"]
    assert store.newest_revision() == found[-1].revision == store.last_assigned_revision()


def test_what_was_drawn_before_an_open_transaction_is_delivered_meanwhile(
    store: PostgresStore, dsn: str
) -> None:
    store.record_anomalies([anomaly(subject="before")])
    with open_transaction(dsn, "open", "open too"):
        store.record_anomalies([anomaly(subject="behind")])
        assert subjects(store.anomalies_changed(0, limit=10)) == ["before"]
    assert subjects(store.anomalies_changed(0, limit=10)) == ["before", "open", "open too", "behind"]


@pytest.mark.parametrize("end", ["rollback", "rollback to savepoint", "connection"])
def test_a_rolled_back_transaction_delays_no_reader(store: PostgresStore, dsn: str, end: str) -> None:
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SAVEPOINT here")
        write_batch.upsert_anomalies(cursor, [anomaly(subject="given up")])
        store.record_anomalies([anomaly(subject="kept")])
        assert store.anomalies_changed(0, limit=10) == []
        if end == "rollback":
            connection.rollback()
        elif end == "connection":
            connection.close()
        else:
            cursor.execute("ROLLBACK TO SAVEPOINT here")
            assert subjects(store.anomalies_changed(0, limit=10)) == ["kept"]
            write_batch.upsert_anomalies(cursor, [anomaly(subject="again")])
            store.record_anomalies([anomaly(subject="behind")])
            assert subjects(store.anomalies_changed(0, limit=10)) == ["kept"]
            connection.commit()
            assert subjects(store.anomalies_changed(0, limit=10)) == ["kept", "again", "behind"]
            return
    deadline = threading.Event()
    for _ in range(200):
        if subjects(store.anomalies_changed(0, limit=10)) == ["kept"]:
            return
        deadline.wait(0.05)
    pytest.fail("the lock of a transaction that is over stays")


def test_transactions_that_write_no_anomalies_delay_no_reader(store: PostgresStore, dsn: str) -> None:
    with psycopg.connect(dsn) as long:
        long.execute("UPDATE site SET en = en")
        long.execute("SELECT pg_advisory_xact_lock_shared(1, 2)")
        store.record_anomalies([anomaly(subject="kept")])
        assert subjects(store.anomalies_changed(0, limit=10)) == ["kept"]
        assert long.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def test_the_order_holds_behind_row_level_security_and_for_each_town(store: PostgresStore, dsn: str) -> None:
    for area in ("*", "330483", "nowhere"):
        behind = store.for_area(area)
        with open_transaction(dsn, f"first {area}") as first:
            before = behind.newest_revision()
            store.record_anomalies([anomaly(subject=f"second {area}")])
            assert behind.anomalies_changed(store.last_assigned_revision() - 2, limit=10) == []
            assert behind.newest_revision() == before
            first.commit()
        found = subjects(behind.anomalies_changed(before, limit=10))
        assert found[-2:] == ([] if area == "nowhere" else [f"first {area}", f"second {area}"])


def test_revisions_go_on_beyond_32_bits(store: PostgresStore, dsn: str) -> None:
    for start in (2**31 - 3, 2**32 - 3, 2**40):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("SELECT setval('anomaly_revision', %s)", (start,))
        with open_transaction(dsn, f"first {start}") as first:
            for number in range(5):
                store.record_anomalies([anomaly(subject=f"{number} {start}")])
            assert store.anomalies_changed(start, limit=10) == []
            first.commit()
        assert len(store.anomalies_changed(start, limit=10)) == 6


def test_changes_that_are_too_many_are_counted_with_their_times(store: PostgresStore) -> None:
    start_s = anomaly().start_s
    for number in range(10):
        at_s = start_s + 3600 * number
        store.record_anomalies([anomaly(subject=f"{number}", start_s=at_s, peak_s=at_s)])
    site = anomaly().site_id
    assert store.omitted_changes_after(0, [site], newest=10, counted=100) is None
    left = store.omitted_changes_after(0, [site], newest=4, counted=100)
    assert left is not None
    assert subjects(store.anomalies_changed(left.revision, limit=100)) == ["6", "7", "8", "9"]
    assert (left.times_are_known, left.first_s, left.last_s) == (True, start_s, start_s + 5 * 3600)
    few, elsewhere = (store.omitted_changes_after(0, [one], newest=4, counted=5) for one in (site, "nowhere"))
    assert few is not None
    assert not few.times_are_known
    assert elsewhere is not None
    assert elsewhere.first_s is None


def test_many_writers_at_once_and_a_follower_misses_nothing(store: PostgresStore, dsn: str) -> None:
    failed: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
                for number in range(ROUNDS):
                    write_batch.upsert_anomalies(
                        cursor, [anomaly(subject=f"{writer}/{number}/{one}") for one in "ab"]
                    )
                    if number % 5 == writer % 5:
                        connection.rollback()
                    elif number % 2:  # the odd rounds of a writer are in one transaction with the next one
                        connection.commit()
                connection.commit()
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=write, args=(one,)) for one in range(WRITERS)]
    for one in writers:
        one.start()
    followed: list[Anomaly] = []
    alive = True
    while alive:
        alive = any(one.is_alive() for one in writers)
        followed += store.anomalies_changed(followed[-1].revision if followed else 0, limit=7)
    while page := store.anomalies_changed(followed[-1].revision, limit=7):
        followed += page
    assert not failed
    revisions = [one.revision for one in followed]
    assert revisions == sorted(set(revisions))
    with store.transaction() as connection:
        rows = connection.execute("SELECT subject FROM anomaly ORDER BY revision").fetchall()
    assert subjects(followed) == [subject for (subject,) in rows]
    assert len(rows) > WRITERS * ROUNDS
