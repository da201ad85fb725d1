"""A gateway on a filled store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from httpx import ASGITransport, AsyncClient

from ingest_service.storage.memory import MemoryStore
from tests.support.access import HEADERS, opened
from tests.support.filled import fill

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def filled_store() -> MemoryStore:
    """Two demo days in memory."""
    store = MemoryStore()
    fill(store, days=2.0)
    return store


@pytest.fixture
def client(filled_store: MemoryStore) -> Callable[[], AsyncClient]:
    """Makes clients that call the application without a socket."""
    app = opened(filled_store)
    return lambda: AsyncClient(
        transport=ASGITransport(app, raise_app_exceptions=False),
        base_url="http://gateway",
        timeout=30,
        headers=HEADERS,
    )
