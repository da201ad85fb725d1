"""A gateway on a filled store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from httpx import ASGITransport, AsyncClient

from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.access import HEADERS, opened
from tests.support.alive import alive
from tests.support.filled import fill
from tests.support.services import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.services import NamedServer, PostgresServer


@pytest.fixture(scope="session")
def filled_store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    """Two demo days in TimescaleDB, and processes that are alive."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        fill(store, days=2.0)
        with alive(store):
            yield store
        store.close()


@pytest.fixture
def client(filled_store: PostgresStore) -> Callable[[], AsyncClient]:
    """Makes clients that call the application without a socket."""
    app = opened(filled_store)
    return lambda: AsyncClient(
        transport=ASGITransport(app, raise_app_exceptions=False),
        base_url="http://gateway",
        timeout=30,
        headers=HEADERS,
    )
