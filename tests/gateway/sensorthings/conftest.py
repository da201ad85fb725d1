"""Fixtures of the SensorThings tests: a gateway on a real database with the demo towns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from httpx import ASGITransport, AsyncClient

from gateway.api.directory_cache import DirectoryIndex
from gateway.sensorthings import entity_properties
from gateway.sensorthings.entity_model import EntityModel
from gateway.settings import Settings
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.observations import ObservationReader
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.gateway_access import HEADERS, gateway_app
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Response

    from tests.support.throwaway_servers import NamedServer, PostgresServer

ROOT = "http://gateway/sta/v1.1"


class SensorThingsClient:
    """Sends requests to the façade in-process, by URL or by path and query options."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self._app = gateway_app(store, settings=Settings(requests_burst=1_000_000))

    def __call__(self, path: str, *, method: str = "GET", **options: Any) -> Response:
        address = path if path.startswith("http") else f"{ROOT}/{path}"
        params = {f"${name}": str(value) for name, value in options.items()} or None

        async def ask() -> Response:
            transport = ASGITransport(self._app, raise_app_exceptions=False)
            async with AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as one:
                return await one.request(method, address, params=params, headers=HEADERS)

        return asyncio.run(ask())

    def json(self, path: str, **options: Any) -> Any:
        """Return the body of a response, which must be 200."""
        answer = self(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def value(self, path: str, **options: Any) -> list[dict[str, Any]]:
        """Return every entity of a set, over all of its pages."""
        page = self.json(path, **options)
        collected: list[dict[str, Any]] = page["value"]
        while "@iot.nextLink" in page:
            page = self.json(page["@iot.nextLink"])
            collected += page["value"]
        return collected

    def ids(self, path: str, **options: Any) -> list[Any]:
        """Return the ids of a set, over all of its pages."""
        return [one["@iot.id"] for one in self.value(path, **options)]


@pytest.fixture(scope="session")
def filled(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    """Provide a store with some hours of the demo."""
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn, wait_s=30)
        fill_with_demo(store, days=0.2)
        yield store
        store.close()


@pytest.fixture(scope="session")
def ask(filled: PostgresStore) -> SensorThingsClient:
    """Return a client of the façade."""
    return SensorThingsClient(filled)


@pytest.fixture(scope="session")
def world(filled: PostgresStore) -> EntityModel:
    """Return the entity model of the filled store."""
    observations = ObservationReader(
        filled, meanings=entity_properties.FLAG_MEANINGS, rules=entity_properties.RULE_NAMES
    )
    return EntityModel(DirectoryIndex(filled.directory()), observations)
