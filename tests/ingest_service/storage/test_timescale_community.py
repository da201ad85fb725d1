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


def test_every_migration_runs_and_readings_can_be_compressed(
    community: TimescaleCommunity, schema: list[str]
) -> None:
    edition, hypertables, jobs = community.run(
        *schema,
        "ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id')",
        "SELECT add_compression_policy('reading', interval '14 days')",
        queries=[
            named_queries.QUERIES["timescale_licence"],
            "SELECT hypertable_name FROM timescaledb_information.hypertables",
            "SELECT proc_name FROM timescaledb_information.jobs WHERE hypertable_name = 'reading'",
        ],
    )
    assert [*edition[0].values()] == ["timescale"]
    assert {"hypertable_name": "reading"} in hypertables
    assert jobs == [{"proc_name": "policy_compression"}]


def test_a_repeat_of_an_unjudged_reading_decompresses_few_readings(
    community: TimescaleCommunity, schema: list[str]
) -> None:
    """TimescaleDB refuses a statement that decompresses more readings than its limit, 100,000 by default."""
    columns = '"time", received, value, series_id, expected, spread, quality, rules'
    minute = "'2026-01-01'::timestamptz + i * interval '1 minute'"
    minutes, repeats = "generate_series(1, 2500) AS i", "generate_series(10, 12) AS i"
    found, stored = community.run(
        *schema,
        f"INSERT INTO reading ({columns}) SELECT {minute}, '2026-01-03', 7, 1, 7, 1, 1, 512 FROM {minutes}",
        "SELECT compress_before('reading', '2027-01-01', 10)",
        named_queries.QUERIES["staging"].replace("DELETE ROWS", "PRESERVE ROWS"),
        f"INSERT INTO staging ({columns}) SELECT {minute}, '2026-01-04', 7, 1, 7, 1, 1, 0 FROM {repeats}",
        "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 1000",
        queries=[
            named_queries.QUERIES["judge_repeats"]
            % {"first_us": 1_767_225_600_000_000, "last_us": 1_767_229_200_000_000},
            "SELECT rules, count(*)::int AS readings FROM reading GROUP BY rules ORDER BY rules",
        ],
    )
    assert len(found) == 3
    assert stored == [{"rules": 0, "readings": 3}, {"rules": 512, "readings": 2497}]
