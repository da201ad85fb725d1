"""Tests migrations: they give the schema, on two editions, and errors are classified by SQLSTATE."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.types.json import Jsonb

from analytics.core.parameters import DEFAULTS
from ingest_service.pipeline.batch_processor import BatchProcessor
from ingest_service.pipeline.settings import Settings as PipelineSettings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreRefusedError, StoreUnavailableError
from ingest_service.storage.postgres import named_queries
from ingest_service.storage.postgres.migrate import migrate, migration_names, newest_migration
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.rollups import ROLLUP_WIDTHS_S
from ingest_service.storage.postgres.sqlstate import store_error_for
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.store_samples import DIRECTORY, readings, stored
from tests.support.throwaway_servers import fresh_database

CATALOG = """
SELECT 'column', table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name <> 'schema_migration'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'schema_migration'
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'schema_migration'
UNION ALL
SELECT 'view', viewname, definition, '', '', '' FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT 'grant', table_name, grantee, privilege_type, '', '' FROM information_schema.role_table_grants
WHERE table_schema = 'public' AND grantee LIKE 'towntwin%' AND table_name <> 'schema_migration'
ORDER BY 1, 2, 3, 4
"""


def catalog(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(CATALOG).fetchall()


def test_the_schema_is_the_sum_of_its_migrations(empty_plain_dsn: str, plain_server: object) -> None:
    assert migrate(empty_plain_dsn) == migration_names()
    with fresh_database(plain_server, is_empty=True) as other:  # type: ignore[arg-type]
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute(named_queries.read_sql_file("schema.sql"))
        assert catalog(empty_plain_dsn) == catalog(other)
    assert len(catalog(empty_plain_dsn)) > 100


def test_migrating_again_does_nothing(empty_plain_dsn: str) -> None:
    migrate(empty_plain_dsn)
    assert migrate(empty_plain_dsn) == []


def test_a_newer_database_is_refused_with_a_sentence(plain_dsn: str) -> None:
    migrate(plain_dsn)
    with psycopg.connect(plain_dsn) as connection:
        connection.execute("INSERT INTO schema_migration (number, name) VALUES (9999, 'later')")
    for use in (migrate, PostgresStore.open):
        with pytest.raises(StoreRefusedError, match="install a newer towntwin"):
            use(plain_dsn)


def test_an_older_database_is_reported_with_the_command_to_run(empty_plain_dsn: str) -> None:
    with pytest.raises(StoreRefusedError, match=f"wants {newest_migration()}: run `towntwin db migrate`"):
        PostgresStore.open(empty_plain_dsn)


def test_readings_and_rollups_are_hypertables_where_timescale_is(empty_timescale_dsn: str) -> None:
    migrate(empty_timescale_dsn)
    with psycopg.connect(empty_timescale_dsn) as connection:
        found = connection.execute(
            "SELECT hypertable_name FROM timescaledb_information.hypertables"
        ).fetchall()
    assert {name for (name,) in found} == {"reading", *ROLLUP_WIDTHS_S}
    store = PostgresStore.open(empty_timescale_dsn)
    assert store.health().edition.startswith("TimescaleDB Apache 2.")
    store.close()


def migrate_up_to(connection: psycopg.Connection[Any], number: int) -> None:
    """Apply the migrations up to a number to an empty database."""
    connection.execute(named_queries.read_sql_file("compat.sql"))
    connection.execute(named_queries.QUERIES["migration_table"])
    for name in migration_names():
        if int(name[:4]) <= number:
            connection.execute(named_queries.read_sql_file(f"migrations/{name}"))
            connection.execute(named_queries.QUERIES["migration_done"], (int(name[:4]), name))


# Limits as stored before 0034, and after it; without score limits, or with one switched off, they stay.
SCORE_LIMITS: list[tuple[dict[str, float | None], dict[str, float | None]]] = [
    (
        {"score_close": 2.3, "score_weak": 5, "score_strong": 8},
        {"score_close": 7, "score_weak": 7, "score_strong": 8},
    ),
    ({"score_weak": 4}, {"score_close": 6, "score_weak": 6, "score_strong": 8}),
    ({"score_strong": 6}, {"score_close": 5, "score_weak": 5, "score_strong": 6}),
    (
        {"score_close": 1, "score_weak": 9, "score_strong": 10},
        {"score_close": 5.7, "score_weak": 10, "score_strong": 10},
    ),
    (
        {"score_close": 2, "spike_fail": 3.5},
        {"score_close": 6.7, "score_weak": 7, "score_strong": 8, "spike_fail": 3.5},
    ),
    ({"spike_fail": 3.5}, {"spike_fail": 3.5}),
    ({}, {}),
]
ADOPTED_SCORE_LIMITS: list[tuple[dict[str, float | None], dict[str, float | None]]] = [
    (
        {"score_weak": 4, "flat_fail_s": None},
        {"score_close": 6, "score_weak": 6, "score_strong": 8, "flat_fail_s": None},
    ),
    ({"score_weak": None}, {"score_weak": None}),
]


def test_stored_score_limits_keep_their_distance_from_the_default_on_the_new_scale(
    empty_plain_dsn: str,
) -> None:
    cases = [("limits", *one) for one in SCORE_LIMITS]
    cases += [("adopted", *one) for one in (*SCORE_LIMITS, *ADOPTED_SCORE_LIMITS)]
    with psycopg.connect(empty_plain_dsn, autocommit=True) as connection:
        migrate_up_to(connection, 33)
        connection.execute("INSERT INTO area (area_id, level, en, zh) VALUES ('a', 'town', 'A', 'A')")
        for number, (column, before, _) in enumerate(cases):
            connection.execute(
                "INSERT INTO site (site_id, area_id, kind, en, zh, lon, lat)"
                " VALUES (%s, 'a', 'river_section', 'S', 'S', 0, 0)",
                [f"s{number:02}"],
            )
            connection.execute(
                f"INSERT INTO series (site_id, quantity, interval_s, {column}) VALUES (%s, 'ph', 300, %s)",
                [f"s{number:02}", Jsonb(before)],
            )
    migrate(empty_plain_dsn)
    with psycopg.connect(empty_plain_dsn) as connection:
        rows = connection.execute("SELECT limits, adopted FROM series ORDER BY site_id").fetchall()
        adopted = connection.execute("SELECT limits FROM adoption WHERE who = 'migration 0034'").fetchall()
    found = [
        dict(zip(("limits", "adopted"), row, strict=True))[case[0]]
        for row, case in zip(rows, cases, strict=True)
    ]
    assert found == [pytest.approx(after) if after else {} for _, _, after in cases]
    changed = [after for column, before, after in cases if column == "adopted" and before != after]
    assert sorted(map(len, (row[0] for row in adopted))) == sorted(map(len, changed)), (
        "each change is on record"
    )


def test_rollups_of_an_older_schema_are_made_anew(empty_plain_dsn: str) -> None:
    with psycopg.connect(empty_plain_dsn, autocommit=True) as connection:
        migrate_up_to(connection, 6)
        connection.execute("INSERT INTO rollup_1h VALUES (1, '2026-09-21 05:00Z', 12, 12, 0, 1, 0.5)")
        connection.execute("INSERT INTO rollup_due VALUES (1, '2026-09-21 06:00Z')")
    assert migrate(empty_plain_dsn) == migration_names()[6:]
    store = PostgresStore.open(empty_plain_dsn)
    store.enrol(DIRECTORY)
    assert store.health().rollups_due == 2
    while store.refresh_rollups(limit=100):
        pass
    assert store.health().rollups_due == 0
    store.close()


TEMPORARY = [
    "08006",
    "25006",
    "40001",
    "40P01",
    "53100",
    "53200",
    "53300",
    "55P03",
    "57014",
    "57P01",
    "57P03",
    "58030",
    "XX000",
]
PERMANENT = ["22003", "22P02", "23502", "23503", "23505", "28P01", "3D000", "42501", "42P01", "0A000"]


@pytest.mark.parametrize(
    ("codes", "kind"),
    [(TEMPORARY, StoreUnavailableError), (PERMANENT, StoreRefusedError)],
    ids=["wait", "never"],
)
def test_errors_are_distinguished_by_sqlstate(codes: list[str], kind: type[Exception]) -> None:
    for code in codes:
        error = psycopg.errors.lookup(code)("it went wrong")
        assert isinstance(store_error_for(error), kind), code
        assert code in str(store_error_for(error))


def test_errors_without_a_code_are_worth_waiting_for() -> None:
    for error in (
        psycopg.OperationalError("gone"),
        psycopg.InterfaceError("closed"),
        psycopg_pool.PoolTimeout("busy"),
    ):
        assert type(store_error_for(error)) is StoreUnavailableError
    assert type(store_error_for(psycopg.ProgrammingError("wrong"))) is StoreRefusedError


def test_a_database_that_is_killed_is_unavailable_and_keeps_what_it_acknowledged(
    timescale_server: object, timescale_dsn: str
) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.commit(Batch(fresh=readings(1, range(10))))
    timescale_server.kill()  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailableError):
        store.commit(Batch(fresh=readings(1, range(10, 20))))
    timescale_server.start()  # type: ignore[attr-defined]
    for _ in range(3):
        try:
            assert len(stored(store)) == 10
            break
        except StoreUnavailableError:
            continue
    store.commit(Batch(fresh=readings(1, range(10, 20))))
    assert len(stored(store)) == 20
    store.close()


BAD_SERIES = [
    ("limits", '{"suspectlow": 6.5}'),
    ("limits", '{"suspect_low": 9, "suspect_high": 6}'),
    ("limits", '{"fail_high": "high"}'),
    ("limits", "[1]"),
    ("adopted", '{"fail_high": "high"}'),
    ("interval_s", "NaN"),
    ("interval_s", "Infinity"),
    ("quantity", "pH"),
]


def test_limits_that_can_not_be_are_refused_by_the_database_and_those_there_stop_nothing(
    plain_dsn: str,
) -> None:
    migrate(plain_dsn)
    store = PostgresStore.open(plain_dsn)
    store.enrol(DIRECTORY)
    with psycopg.connect(plain_dsn, autocommit=True) as connection:
        for column, value in BAD_SERIES[:-1]:
            with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.InvalidTextRepresentation)):
                connection.execute(f"UPDATE series SET {column} = %s WHERE quantity = 'ph'", [value])
        every = json.dumps(dict.fromkeys(DEFAULTS, 1.0))
        connection.execute("UPDATE series SET limits = %s", [every])
        for name in ("interval_is_finite", "limits_are_known", "limits_are_in_order", "adopted_are_known"):
            connection.execute(f"ALTER TABLE series DROP CONSTRAINT series_{name}")
        for column, value in BAD_SERIES:  # as they were enrolled before there were constraints
            connection.execute("UPDATE series SET limits = '{}', adopted = '{}', interval_s = 300")
            connection.execute(
                f"UPDATE series SET {column} = %s WHERE series_id = (SELECT min(series_id) FROM series)",
                [value],
            )
            pipeline = BatchProcessor(store, PipelineSettings(), wait=lambda _: False)
            pipeline.open()
            assert len(pipeline._judge.problems) == 1, (column, value)
            assert len(store.directory().series) == 2
    store.close()


def test_a_replay_after_a_restart_does_not_read_all_readings(plain_dsn: str) -> None:
    """The join of readings with the checkpoint's times read and sorted the whole table, at each start."""
    migrate(plain_dsn)
    select = QUERIES["committed_after"].partition("COPY (")[2].rpartition(") TO STDOUT")[0]
    with psycopg.connect(plain_dsn, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET enable_nestloop = off")  # as where the planner expects many rows
        plan = connection.execute(f"EXPLAIN {select}", ([1, 2], [0, 0])).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Nested Loop" in text, text
    assert "Join" not in text, text
