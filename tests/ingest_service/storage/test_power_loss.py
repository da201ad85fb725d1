"""Tests that a database which loses power has what was committed, while what was not synced is dropped.

Without fsync it has lost rows, so that the first test could fail.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from deploy.debian_servers.installation import PROGRAMS
from tests.support import not_tested
from tests.support.database_power import lose_power, watch_writes
from tests.support.processes import wait_until
from tests.support.throwaway_servers import PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, LOSSES = 2000, 1


@pytest.fixture
def watched_server(real_servers: Any) -> Iterator[PostgresServer]:
    if real_servers is None:
        not_tested.skip("the loss of power of a database: run on Debian as root")
    server = PostgresServer(real_servers, "postgres", PROGRAMS, {"fsync": "on"})
    try:
        if not watch_writes(server):
            not_tested.skip("the loss of power of a database: there is no C compiler")
        server.create()
        yield server
    finally:
        server.remove()


def test_committed_rows_survive_losses_of_power_that_drop_what_was_not_synced(
    watched_server: PostgresServer,
) -> None:
    source = random.Random(26)
    undone: list[int] = []
    with fresh_database(watched_server, is_empty=True) as dsn:
        for number in range(LOSSES):
            committed, open_one = psycopg.connect(dsn), psycopg.connect(dsn)
            committed.execute("CREATE TABLE IF NOT EXISTS numbered (number int PRIMARY KEY, content text)")
            rows = "generate_series(%s::int, %s::int) AS one"
            insert = f"INSERT INTO numbered SELECT one, repeat('x', 500) FROM {rows}"
            committed.execute(insert, [number * ROWS, (number + 1) * ROWS - 1])
            committed.commit()
            open_one.execute(insert, [-ROWS, -1])
            undone.append(lose_power(watched_server, source))
            committed.close()
            open_one.close()
            watched_server.start()
            with psycopg.connect(dsn) as connection:
                row = connection.execute("SELECT array_agg(number ORDER BY number) FROM numbered").fetchone()
            assert row == (list(range((number + 1) * ROWS)),)
    assert all(undone), "there was something to drop"


def test_without_fsync_committed_rows_are_lost(watched_server: PostgresServer) -> None:
    with fresh_database(watched_server, is_empty=True) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE numbered (number int PRIMARY KEY, content text)")
            # From here on only the log is written: a torn control file would keep the server from starting.
            connection.execute("CHECKPOINT")
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            wait_until(
                lambda: connection.execute("SHOW fsync").fetchone() == ("off",),
                within_s=30,
                what="the setting is in force",
            )
            connection.execute(
                "INSERT INTO numbered SELECT one, repeat('x', 500) FROM generate_series(1, %s) AS one", [ROWS]
            )
            assert lose_power(watched_server, random.Random(26)) > 0
        watched_server.start()
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT count(*) FROM numbered").fetchone() == (0,)
