"""A gateway on a real database, filled with the demo towns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.known import Known
from gateway.settings import Settings
from gateway.sta import describe
from gateway.sta.world import World
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sensorthings import SensorThings
from tests.support.access import HEADERS, opened
from tests.support.filled import fill
from tests.support.services import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Response

    from tests.support.services import NamedServer, PostgresServer

ROOT = "http://gateway/sta/v1.1"


class Client:
    """Asks the façade without a socket, by address or by path and options."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self._app = opened(store, settings=Settings(requests_burst=1_000_000))

    def __call__(self, path: str, *, method: str = "GET", **options: Any) -> Response:
        address = path if path.startswith("http") else f"{ROOT}/{path}"
        params = {f"${name}": str(value) for name, value in options.items()} or None

        async def ask() -> Response:
            transport = ASGITransport(self._app, raise_app_exceptions=False)
            async with AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as one:
                return await one.request(method, address, params=params, headers=HEADERS)

        return asyncio.run(ask())

    def json(self, path: str, **options: Any) -> Any:
        """The answer, which has to be one."""
        answer = self(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def value(self, path: str, **options: Any) -> list[dict[str, Any]]:
        """Every entity of a set, over all of its pages."""
        page = self.json(path, **options)
        found: list[dict[str, Any]] = page["value"]
        while "@iot.nextLink" in page:
            page = self.json(page["@iot.nextLink"])
            found += page["value"]
        return found

    def ids(self, path: str, **options: Any) -> list[Any]:
        """The ids of a set, over all of its pages."""
        return [one["@iot.id"] for one in self.value(path, **options)]


@pytest.fixture(scope="session")
def filled(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    """Some demo hours in a database."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn, wait_s=30)
        fill(store, days=0.2)
        yield store
        store.close()


@pytest.fixture(scope="session")
def ask(filled: PostgresStore) -> Client:
    """Asks the façade."""
    return Client(filled)


@pytest.fixture(scope="session")
def world(filled: PostgresStore) -> World:
    """Everything that there is."""
    observations = SensorThings(filled, meanings=describe.MEANINGS, rules=describe.RULES)
    return World(Known(filled.directory()), observations)
