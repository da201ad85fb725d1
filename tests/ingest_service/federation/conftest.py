"""Fixture of the tests of federation: a county with two towns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.federated_towns import COUNTY_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def county(timescale_dsn: str) -> Iterator[PostgresStore]:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(COUNTY_DIRECTORY)
    yield store
    store.close()
