"""Prepares and reads the database of the ingest benchmarks."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg

from benchmarks._mqtt_load import AREAS, directory, end_session
from ingest_service.pipeline.share import Share
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.throwaway_servers import PostgresServer

SESSION = "towntwin-ingest-"
COUNT_SHARE = 0.2  # of the time, at most, in which the database counts: half a million rows take it 0.1 s


class DatabaseReader:
    """Queries the database on a connection that is reopened after a kill."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._counting_s = 0.0

    def one(self, query: str, parameters: Sequence[object] = ()) -> tuple[object, ...] | None:
        """Return the first row of a query; None while the database is unreachable."""
        with suppress(psycopg.OperationalError):
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=2)
            return self._connection.execute(query, parameters).fetchone()
        if self._connection is not None:
            self._connection.close()
        return None

    def stored(self) -> int:
        """Return the number of stored readings."""
        began_s = time.monotonic()
        found = self.one("SELECT count(*) FROM reading")
        self._counting_s = time.monotonic() - began_s
        return int(str(found[0])) if found else 0

    def pause(self, at_least_s: float) -> None:
        """Wait before the next call of `stored`, whose processor time ingest and the database lack."""
        time.sleep(max(at_least_s, self._counting_s * (1 / COUNT_SHARE - 1)))


@contextmanager
def prepared_database(database: PostgresServer, port: int) -> Iterator[str]:
    """Provide a database with schema and enrolment; the broker's sessions are deleted first."""
    for shard in ("main", *AREAS, *Share("1/2").names("main")):
        end_session(port, SESSION + shard)
    with fresh_database(database) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(directory())
        store.close()
        checkpoint(database)
        yield dsn


def checkpoint(database: PostgresServer) -> None:
    """Write all pages, so that the next measurement does not write those of the one before."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
