"""Tests that a batch with a refused statement is refused, whatever statements follow it in the pipeline."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from ingest_service.storage.contract.batch import Batch, Checkpoint
from ingest_service.storage.contract.errors import StoreRefusedError, StoreUnavailableError
from ingest_service.storage.contract.models import DeadLetter
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, assert_same, readings, stored

ATTEMPTS = 20  # the answers come in one read or in several
LETTERS = [
    DeadLetter(received_s=1.0, topic="towntwin/v1/a/d/data", payload=bytes(5000), reason="json", detail="")
] * 50


def test_a_statement_refused_before_others_is_no_lost_connection(timescale_dsn: str) -> None:
    """Those after it fail with `PipelineAborted`, which is retried; the batch has to be split."""
    migrate(timescale_dsn)
    with closing(PostgresStore.open(timescale_dsn)) as store:
        store.enrol(DIRECTORY)
        with psycopg.connect(timescale_dsn, autocommit=True) as connection:
            connection.execute("ALTER TABLE latest ADD CONSTRAINT no_turbidity CHECK (series_id <> 2)")
        checkpoint = Checkpoint("main", 1, b"state")
        refused = store.encode(Batch(readings(2, range(3)), dead_letters=LETTERS, checkpoint=checkpoint))
        for _ in range(ATTEMPTS):
            with pytest.raises(StoreRefusedError, match="no_turbidity"):
                store.commit(refused)
        assert store.health().readings == store.health().dead_letters == 0
        assert store.checkpoint("main") is None
        store.commit(store.encode(Batch(readings(1, range(3)), checkpoint=checkpoint)))
        assert_same(stored(store), readings(1, range(3)))


def test_a_session_that_ends_between_the_statements_is_a_lost_connection(timescale_dsn: str) -> None:
    migrate(timescale_dsn)
    with closing(PostgresStore.open(timescale_dsn)) as store:
        store.enrol(DIRECTORY)
        with psycopg.connect(timescale_dsn, autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                "  PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
                "CREATE TRIGGER end_session BEFORE INSERT ON latest"
                " FOR EACH ROW EXECUTE FUNCTION end_session()"
            )
        batch = store.encode(Batch(readings(1, range(3)), dead_letters=LETTERS))
        with pytest.raises(StoreUnavailableError):
            store.commit(batch)
        with psycopg.connect(timescale_dsn, autocommit=True) as connection:
            connection.execute("DROP TRIGGER end_session ON latest")
        assert store.commit(batch).fresh == len(batch.fresh)
        assert_same(stored(store), readings(1, range(3)))
