"""A primary and its streaming replica, two real PostgreSQL servers on loopback ports."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from deploy.debian_servers.installation import Installation
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import UNPRIVILEGED
from tests.support.throwaway_servers import PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS_WITHIN_S = 20.0
READER = "towntwin-replica"


@dataclass(frozen=True, slots=True)
class PostgresPair:
    """Two servers, and a database with the schema on the primary, which the replica has too."""

    primary: PostgresServer
    replica: PostgresServer
    database: str

    @property
    def dsn(self) -> str:
        """Address of whichever of the two accepts writes."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.replica.port}"
        return f"postgresql://postgres@{hosts}/{self.database}?target_session_attrs=read-write"

    @property
    def replica_dsn(self) -> str:
        """Address of the replica, with the user of docs/howto/operate/read-from-a-replica.md."""
        return self.replica.dsn(self.database).replace("postgres@", f"{READER}@", 1)

    def on_replica(self, statement: str) -> None:
        """Run a statement on the replica."""
        with psycopg.connect(self.replica.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def commit_on_both(self) -> None:
        """Let every commit wait until the replica has it on disk, as `docs/howto/operate` has it."""
        with psycopg.connect(self.primary.dsn(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (*)'")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def running_pair() -> Iterator[PostgresPair]:
    """Start a primary and a replica that streams from it."""
    installation, programs = Installation(Path("/")), str(postgres_programs())
    primary = PostgresServer(installation, UNPRIVILEGED, programs)
    replica = PostgresServer(installation, UNPRIVILEGED, programs)
    try:
        primary.create()
        with fresh_database(primary) as dsn:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(f'CREATE ROLE "{READER}" LOGIN BYPASSRLS IN ROLE pg_read_all_data')
            copied = installation.inside(replica.folder / "data")
            source = ["--host", "127.0.0.1", "--port", str(primary.port), "--username", "postgres"]
            options = ["--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--pgdata", copied]
            done = replica._run("pg_basebackup", *source, *options)
            assert done.returncode == 0, done.stderr
            replica.start()
            _wait_until_streaming(primary)
            yield PostgresPair(primary, replica, dsn.rpartition("/")[2])
            with psycopg.connect(_started(primary).dsn(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                connection.execute("SELECT pg_reload_conf()")
    finally:
        replica.remove()
        primary.remove()


def _started(server: PostgresServer) -> PostgresServer:
    if server.process is None:
        server.start()
    return server


def _wait_until_streaming(primary: PostgresServer) -> None:
    deadline = time.monotonic() + STREAMS_WITHIN_S
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        while connection.execute("SELECT state FROM pg_stat_replication").fetchall() != [("streaming",)]:
            assert time.monotonic() < deadline, "the replica does not stream"
            time.sleep(0.02)
