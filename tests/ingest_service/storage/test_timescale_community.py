"""Tests the migrations and the edition-specific SQL on TimescaleDB Community."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ingest_service.storage.postgres import migrate, named_queries

if TYPE_CHECKING:
    from tests.support.timescale_community import TimescaleCommunity


@pytest.fixture(scope="module")
def schema() -> list[str]:
    """All that `towntwin db migrate` executes on an empty database, in order."""
    first, *later = [named_queries.read_sql_file(f"migrations/{name}") for name in migrate.migration_names()]
    return ["CREATE EXTENSION timescaledb", first, named_queries.read_sql_file("timescale.sql"), *later]


def test_every_migration_runs(community: TimescaleCommunity, schema: list[str]) -> None:
    edition, hypertables = community.run(
        *schema,
        queries=[
            named_queries.QUERIES["timescale_licence"],
            "SELECT hypertable_name FROM timescaledb_information.hypertables",
        ],
    )
    assert [*edition[0].values()] == ["timescale"]
    assert {"hypertable_name": "reading"} in hypertables


def test_readings_can_be_compressed(community: TimescaleCommunity, schema: list[str]) -> None:
    (jobs,) = community.run(
        *schema,
        "ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id')",
        "SELECT add_compression_policy('reading', interval '14 days')",
        queries=["SELECT proc_name FROM timescaledb_information.jobs WHERE hypertable_name = 'reading'"],
    )
    assert jobs == [{"proc_name": "policy_compression"}]
