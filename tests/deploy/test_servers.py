"""Tests the servers that the tests run on: their versions and settings, and recovery after stop and kill."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from paho.mqtt import publish, subscribe

from tests.support.throwaway_servers import MosquittoServer, NamedServer, PostgresServer, fresh_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMosquitto


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        return (connection.execute(query).fetchone() or [None])[0]


def test_timescale_is_the_apache_edition(
    timescale_server: PostgresServer | NamedServer, timescale_dsn: str
) -> None:
    if not timescale_server.has_timescale:
        pytest.skip("plain PostgreSQL stands in for it")
    assert one(timescale_dsn, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    assert one(timescale_dsn, "SHOW timescaledb.license") == "apache"


def test_plain_has_no_timescale(plain_dsn: str) -> None:
    assert one(plain_dsn, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'") == 0


def test_each_test_gets_an_empty_database(plain_server: PostgresServer) -> None:
    with fresh_database(plain_server) as first, fresh_database(plain_server) as second:
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE mine ()")
        assert one(second, "SELECT to_regclass('mine')") is None


@pytest.mark.parametrize("fixture", ["timescale_server", "plain_server"])
def test_a_killed_database_comes_back_with_what_was_committed(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    server = request.getfixturevalue(fixture)
    with fresh_database(server) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        before = server.pid
        server.kill()
        assert not psutil.pid_exists(before)
        server.start()
        assert one(dsn, "SELECT count(*) FROM kept") == 1000
        server.stop()
        server.start()
        assert one(dsn, "SELECT count(*) FROM kept") == 1000


def test_no_server_runs_as_root(
    timescale_server: PostgresServer, plain_server: PostgresServer, mosquitto: MosquittoServer
) -> None:
    for server in (timescale_server, plain_server, mosquitto):
        if not isinstance(server, PostgresServer | MosquittoServer):
            continue
        assert psutil.Process(server.pid).uids().effective != 0
        assert psutil.Process(server.pid).uids().real != 0


@pytest.mark.parametrize("persistence", [False, True])
def test_mosquitto_forgets_unless_configured_to_persist(
    start_mosquitto: StartMosquitto, *, persistence: bool
) -> None:
    broker = start_mosquitto(persistence=persistence)
    publish.single("a/b", "kept", retain=True, qos=1, hostname=broker.host, port=broker.port)
    broker.stop()
    broker.start()
    publish.single("a/c", "new", retain=True, qos=1, hostname=broker.host, port=broker.port)
    first = subscribe.simple("a/#", hostname=broker.host, port=broker.port, msg_count=1)
    assert first.topic == ("a/b" if persistence else "a/c")


def test_recorded_data_are_there(recorded: Path) -> None:
    assert (recorded / "README.md").exists()
    assert os.access(recorded / "metrla", os.R_OK)
