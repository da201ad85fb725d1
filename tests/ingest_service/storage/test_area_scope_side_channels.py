"""Tests that errors, notices, spoofed tables and query plans reveal no rows of another area."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.area_scope import scope_key_of, set_area_role
from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN, OTHER_TOWN_ANOMALY
from tests.support.store_samples import DIRECTORY, anomaly, readings
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

VIEWS = (
    "reading",
    "reading_oldest_first",
    "reading_newest_first",
    "reading_oldest_few",
    "reading_newest_few",
    "reading_judged",
    "rollup_15min",
    "rollup_1day",
)
TABLES = ("latest", "series", "flag_revision", "channel", "anomaly", "site")
LEAK = """
CREATE FUNCTION pg_temp.leak(anything text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    RAISE NOTICE 'seen: %', anything;
    RETURN true;
END
$$
"""


@pytest.fixture(scope="module", params=["timescale_server", "plain_server"])
def store(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    """Two towns; series 1 and 2 are at home, 3 is foreign."""
    with fresh_database(request.getfixturevalue(request.param)) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(DIRECTORY)
        store.enrol(OTHER_TOWN)
        for series_id in (1, 3):
            store.commit(Batch(fresh=readings(series_id, range(2000))))
        store.record_anomalies([anomaly(), anomaly(**OTHER_TOWN_ANOMALY)])
        while store.refresh_rollups(limit=100_000):
            pass
        with store.transaction() as owner:
            owner.execute("INSERT INTO flag_revision SELECT series_id, time, 4, 1 FROM reading")
            owner.execute("ANALYZE")
        yield store
        store.close()


@contextmanager
def area_scoped_transaction(store: PostgresStore, name: str = "set_area_role") -> Iterator[Connection[Any]]:
    """A transaction of the gateway for one town; all that it leaves is undone."""
    with store.transaction() as connection:
        scope_key_of(connection)
        with connection.transaction(force_rollback=True):
            set_area_role(connection, HOME_AREA, name)
            yield connection


def notices_received(connection: Connection[Any], query: str) -> list[str]:
    """What a query says by notices of a leaking function, and by its error."""
    error_texts: list[str] = []
    connection.add_notice_handler(lambda notice: error_texts.append(notice.message_primary or ""))
    try:
        with connection.transaction():
            error_texts += [str(row) for row in connection.execute(query.encode()).fetchall()]
    except psycopg.Error as error:
        error_texts.append(str(error))
    return error_texts


@pytest.mark.parametrize("name", [*VIEWS, *TABLES])
def test_a_leaking_function_is_never_called_with_a_foreign_row(name: str, store: PostgresStore) -> None:
    """It is cheaper than the policy, so the planner would call it first, if it were allowed to."""
    foreign = "site_id = 's9'" if name in {"anomaly", "site"} else "series_id = 3"
    with area_scoped_transaction(store) as connection:
        connection.execute(LEAK)
        error_texts = notices_received(
            connection, f"SELECT count(*) FROM {name} AS r WHERE pg_temp.leak(r::text)"
        )
        own = [one for one in error_texts if one.startswith("seen")]
        assert own
        assert not [one for one in own if "s9" in one or one.startswith("seen: (3,") or ",3," in one[:60]]
        for order in ("", " ORDER BY 1 LIMIT 1"):
            query = f"SELECT 1 FROM {name} AS r WHERE pg_temp.leak(r::text) AND {foreign}{order}"
            assert notices_received(connection, query) == []


@pytest.mark.parametrize(
    "name", ["reading", "reading_oldest_first", "reading_newest_first", "reading_newest_few", "latest"]
)
@pytest.mark.parametrize(
    "condition",
    [
        "1 / (value - value)::int > 0 AND series_id = 3",
        "(value::text || 'x')::float8 > 0 AND series_id = 3",
        "series_id = 3 AND ('{}'::jsonb -> 'a')::int / (series_id - 3) > 0",
        "series_id <> 1 AND series_id <> 2 AND 1 / (series_id - 3) > 0",
    ],
)
def test_errors_reveal_no_foreign_row(name: str, condition: str, store: PostgresStore) -> None:
    with area_scoped_transaction(store, "set_area_role_in_order") as connection:
        assert notices_received(connection, f"SELECT value FROM {name} WHERE {condition}") == []


@pytest.mark.parametrize("name", ["area", "site", "series"])
def test_a_temporary_table_does_not_stand_in_for_ours(name: str, store: PostgresStore) -> None:
    with area_scoped_transaction(store) as connection:
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} AS SELECT * FROM public.{}").format(*[sql.Identifier(name)] * 2)
        )
        spoofed = {
            "area": f"UPDATE pg_temp.area SET parent = '{HOME_AREA}' WHERE area_id <> '{HOME_AREA}'",
            "site": f"UPDATE pg_temp.site SET area_id = '{HOME_AREA}'",
            "series": "INSERT INTO pg_temp.series SELECT 3, site_id, quantity, interval_s, limits "
            "FROM pg_temp.series LIMIT 1",
        }[name]
        connection.execute(spoofed.encode())
        assert connection.execute("SELECT series_seen() ORDER BY 1").fetchall() == [(1,), (2,)]
        assert connection.execute("SELECT count(*) FROM reading WHERE series_id = 3").fetchone() == (0,)


def test_the_tables_themselves_and_the_views_in_front_are_refused(store: PostgresStore) -> None:
    with area_scoped_transaction(store) as connection:
        for name in (
            "reading",
            "reading_oldest_first",
            "reading_newest_first",
            "reading_newest_few",
            "reading_judged",
            "rollup_1h",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"SELECT FROM public.{name}")
        for statement in ("RESET search_path", "SET LOCAL search_path = public"):
            with connection.transaction(force_rollback=True):
                connection.execute(statement)
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute("SELECT FROM reading")
        chunks = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'public.reading'::regclass"
        ).fetchall()
        for (chunk,) in chunks:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(f"SELECT FROM {chunk}".encode())


ORDERED = [("oldest_first", ""), ("newest_first", "DESC"), ("oldest_few", ""), ("newest_few", "DESC")]


@pytest.mark.parametrize(("name", "order"), ORDERED)
def test_a_page_ends_where_it_is_full(name: str, order: str, store: PostgresStore) -> None:
    """Behind the wall, too, an index is read in order: nothing is sorted, no row beyond the page is read."""
    query = (
        "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) "
        "SELECT r.value FROM unnest(ARRAY[1]) AS c (series_id) CROSS JOIN LATERAL ("
        f"SELECT * FROM reading_{name} AS r WHERE r.series_id = c.series_id AND r.value > -1 "
        f'ORDER BY r."time" {order} LIMIT 10) AS r'
    )
    with area_scoped_transaction(store, "set_area_role_in_order") as connection:
        plan = [str(line) for (line,) in connection.execute(query.encode())]
    assert not any("Sort" in line for line in plan), plan
    scans = [line for line in plan if "Index" in line and " on " in line and "actual rows" in line]
    assert any("rows=10" in line for line in scans), plan
    assert not any("rows=2000" in line for line in plan), plan


def test_extents_are_those_of_the_own_series(store: PostgresStore) -> None:
    """Whatever ids are given, and whatever stands in the caller's way to the tables."""
    query = "SELECT series_id FROM series_extent(ARRAY[1, 2, 3, NULL])"
    with store.transaction() as owner:
        assert owner.execute(query.encode()).fetchall() == [(1,), (3,)]
    with area_scoped_transaction(store) as connection:
        connection.execute(
            "CREATE TEMP TABLE reading AS SELECT 3 AS series_id, now() AS time, now() AS received"
        )
        connection.execute(
            "CREATE FUNCTION pg_temp.series_seen() RETURNS SETOF int LANGUAGE sql AS 'SELECT 3'"
        )
        assert connection.execute(query.encode()).fetchall() == [(1,)]
        connection.execute(EVERYTHING.encode())
        assert connection.execute(query.encode()).fetchall() == []
    with area_scoped_transaction(store) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT FROM public.series_extent(ARRAY[3])")


READING_COUNTS = (
    "SELECT series_id, sum(readings) FROM reading_counts(ARRAY[1, 2, 3, NULL], 'Asia/Shanghai') "
    "GROUP BY series_id ORDER BY series_id"
)
MARK_AS_DUE = """
INSERT INTO rollup_due
SELECT series_id, min("time"), max("time") + interval '1 s' FROM reading GROUP BY series_id;
UPDATE rollup_1day SET count = 9000
"""
SPOOFED = """
CREATE TEMP TABLE rollup_1day AS SELECT 3 AS series_id, now() AS bucket, 9 AS count;
CREATE FUNCTION pg_temp.series_seen() RETURNS SETOF integer LANGUAGE sql AS 'SELECT 3';
CREATE FUNCTION pg_temp.site_seen() RETURNS SETOF text LANGUAGE sql AS $$ SELECT 's9' $$
"""


@pytest.mark.parametrize("is_due", [False, True])
def test_readings_are_counted_in_the_own_series(store: PostgresStore, *, is_due: bool) -> None:
    """Whatever ids are given, from rollups or from readings, whatever stands in the way to the tables."""
    with store.transaction() as connection:
        scope_key_of(connection)
        with connection.transaction(force_rollback=True):
            if is_due:
                connection.execute(MARK_AS_DUE.encode())
            assert connection.execute(READING_COUNTS.encode()).fetchall() == [(1, 2000), (3, 2000)]
            set_area_role(connection, HOME_AREA)
            connection.execute(SPOOFED.encode())
            assert connection.execute(READING_COUNTS.encode()).fetchall() == [(1, 2000)]
            connection.execute(EVERYTHING.encode())
            assert connection.execute(READING_COUNTS.encode()).fetchall() == []


def test_the_newest_readings_are_those_of_the_own_series(store: PostgresStore) -> None:
    query = "SELECT series_id FROM latest_readings({}, NULL) ORDER BY series_id"
    with area_scoped_transaction(store) as connection:
        connection.execute(SPOOFED.encode())
        for given in ("NULL", "ARRAY[1, 2, 3, NULL]"):
            assert connection.execute(query.format(given).encode()).fetchall() == [(1,)]
        connection.execute(EVERYTHING.encode())
        assert connection.execute(query.format("NULL").encode()).fetchall() == []


@pytest.mark.parametrize("areas", ["NULL", "ARRAY['{0}', '{1}']"])
def test_health_counts_the_own_rows(areas: str, store: PostgresStore) -> None:
    """With no areas given, or with too many."""
    areas = areas.format(HOME_AREA, OTHER_AREA)
    query = f"SELECT readings, open_anomalies, dead_letters FROM health_counts({areas}, 'Asia/Shanghai')"
    with store.transaction() as connection:
        scope_key_of(connection)
        with connection.transaction(force_rollback=True):
            connection.execute(
                "INSERT INTO dead_letter (received, topic, payload, reason, detail) "
                "SELECT now(), topic, '', 'format', '' FROM unnest(%s::text[]) AS t (topic)",
                ([f"tt/v1/{one}/d/data" for one in (HOME_AREA, OTHER_AREA)],),
            )
            assert connection.execute(query.encode()).fetchone() == (4000, 2, 2)
            set_area_role(connection, HOME_AREA)
            connection.execute(SPOOFED.encode())
            assert connection.execute(query.encode()).fetchone() == (2000, 1, 1)
            connection.execute(EVERYTHING.encode())
            assert connection.execute(query.encode()).fetchone() == (0, 0, 0)


@pytest.mark.parametrize("path", ["walled, public", "public"])
@pytest.mark.parametrize(
    "call",
    [
        "reading_counts(ARRAY[3], 'UTC')",
        "latest_readings(ARRAY[3], NULL)",
        "reading_counts_of_days_due(ARRAY[3], '-infinity', 'UTC')",
        "health_counts(NULL, 'UTC') WHERE readings > 2000 OR open_anomalies > 1",
    ],
)
def test_the_unrestricted_counts_count_nothing_foreign(store: PostgresStore, call: str, path: str) -> None:
    """They run with the rights of the caller: what the tables refuse, or hide, is not counted."""
    with area_scoped_transaction(store) as connection:
        connection.execute("SELECT set_config('search_path', %s, true)", (path,))
        error_texts = notices_received(connection, f"SELECT * FROM public.{call}")
        assert not error_texts or "permission denied" in error_texts[0], error_texts


def test_a_page_is_never_read_by_a_generic_plan(store: PostgresStore) -> None:
    """On plain PostgreSQL, from the eleventh time on, a generic plan joined revisions row by row."""
    with area_scoped_transaction(store, "set_area_role_in_order") as connection:
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_custom_plan",)


ALL = "(SELECT count(*) FROM site), (SELECT count(*) FROM anomaly), (SELECT count(*) FROM rollup_1day)"
EVERYTHING = "SELECT set_config('towntwin.area', '*', true)"
ATTEMPTS = {
    "everything": EVERYTHING,
    "another town": f"SELECT set_config('towntwin.area', '{OTHER_TOWN.areas[0].area_id}', true)",
    "no signature": f"{EVERYTHING}, set_config('towntwin.signature', '', true)",
    "the signature of the own town": f"{EVERYTHING}, set_config("
    "'towntwin.signature', current_setting('towntwin.signature'), true)",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_statement_can_not_give_itself_another_scope(attempt: str, store: PostgresStore) -> None:
    """Neither within itself nor for the statements after it, and it sees nothing at all afterwards."""
    with area_scoped_transaction(store) as connection:
        own = connection.execute(f"SELECT {ALL}".encode()).fetchone() or ()
        assert own[:2] == (1, 1)
        at_once = f"WITH x AS MATERIALIZED ({ATTEMPTS[attempt]}) SELECT {ALL} FROM x"
        found = connection.execute(at_once.encode()).fetchone() or ()
        assert all(one in {0, most} for one, most in zip(found, own, strict=True))
        assert connection.execute(f"SELECT {ALL}".encode()).fetchone() == (0, 0, 0)
        assert connection.execute("SELECT count(*) FROM gateway_secret").fetchone() == (0,)


def test_the_key_of_a_session_is_neither_read_nor_replaced(store: PostgresStore) -> None:
    statements = (
        "SELECT key FROM public.wall_key",
        "DELETE FROM public.wall_key",
        "SELECT begin_wall(sha256('mine'))",
    )
    with area_scoped_transaction(store) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())
        connection.execute("DISCARD TEMP; SET LOCAL search_path = pg_temp, public")
        connection.execute("CREATE TEMP TABLE wall_key (pid integer, backend_start timestamptz, key bytea)")
        connection.execute("INSERT INTO wall_key VALUES (pg_backend_pid(), now(), sha256('mine'))")
        sign = "encode(sha256(sha256('mine') || '*'::bytea), 'hex')"
        connection.execute(f"{EVERYTHING}, set_config('towntwin.signature', {sign}, true)".encode())
        assert connection.execute("SELECT count(*) FROM public.site").fetchone() == (0,)


def test_a_user_of_the_gateway_alone_does_not_get_out_by_leaving_the_role(store: PostgresStore) -> None:
    """A member of towntwin_gateway that is nothing else, as docs/access.md wants it."""
    with store.transaction() as owner:
        owner.execute("CREATE ROLE gateway_of_tests LOGIN PASSWORD 'x' IN ROLE towntwin_gateway")
        dsn = psycopg.conninfo.make_conninfo(owner.info.dsn, user="gateway_of_tests", password="x")  # noqa: S106
    try:
        with psycopg.connect(dsn) as connection:
            set_area_role(connection, HOME_AREA)
            connection.execute(
                "SELECT set_config('role', 'none', true), set_config('towntwin.area', '*', true)"
            )
            assert connection.execute("SELECT count(*) FROM site").fetchone() == (0,)
            for statement in ("SELECT FROM wall_key", "SELECT FROM public.reading"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(statement.encode())
    finally:
        with store.transaction() as owner:
            owner.execute("DROP ROLE gateway_of_tests")
