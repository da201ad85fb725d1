"""Fixtures of the storage tests: every store, filled with the sample directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.store import Store

from tests.support.store_samples import DIRECTORY


@pytest.fixture(params=["memory", "plain_dsn", "timescale_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    opened: Store
    if request.param == "memory":
        opened = MemoryStore()
    else:
        dsn = request.getfixturevalue(request.param)
        migrate(dsn)
        opened = PostgresStore.open(dsn)
    opened.enrol(DIRECTORY)
    yield opened
    opened.close()
