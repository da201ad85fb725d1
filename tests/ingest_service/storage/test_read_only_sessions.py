"""Tests that a session which began while the database was read-only is replaced once it is not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from ingest_service.storage.postgres.connection_pool import open_pool
from ingest_service.storage.settings import Settings

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from ingest_service.storage.postgres.connection_pool import TimeLimitedConnection


def set_read_only(dsn: str, value: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {value}"
        )


def create_table(pool: ConnectionPool[TimeLimitedConnection]) -> bool:
    """Create a table, unless the session is read-only."""
    with suppress(psycopg.errors.ReadOnlySqlTransaction), pool.connection() as connection:
        with connection.transaction():
            connection.execute("CREATE TABLE written (number int)")
        return True
    return False


def test_a_session_that_began_while_the_database_was_read_only_does_not_stay_so(timescale_dsn: str) -> None:
    set_read_only(timescale_dsn, "on")
    with open_pool(timescale_dsn, Settings()) as pool:
        assert not create_table(pool)
        set_read_only(timescale_dsn, "off")
        # The pool may have replaced the first session before the mode ended.
        assert any(create_table(pool) for _ in range(3))
