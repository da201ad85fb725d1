"""The wall in the database: whoever is bound to an area finds nothing of another, whatever is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from ingest_service.storage.accounts import Accounts, ApiKey, AuditLine, AuditQuery
from ingest_service.storage.answers import Question, parameters
from ingest_service.storage.batch import Batch
from ingest_service.storage.errors import StoreRefused
from ingest_service.storage.migrate import migrate
from ingest_service.storage.model import (
    AnomalyQuery,
    DeadLetter,
    DeviceStatus,
    LetterQuery,
)
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sql import QUERIES
from tests.support.kept import DIRECTORY, START_US, anomaly, readings
from tests.support.neighbours import ABROAD, FOREIGN, HOME, OTHER
from tests.support.walled import step_behind

if TYPE_CHECKING:
    from collections.abc import Iterator

CITY = "330400"
OPEN = {
    "area",
    "directory_version",
    "heartbeat",
    "process_state",
    "retention",
    "schema_migration",
    "shard",
}
"""What the gateway sees of every area: names, and what is the platform's own."""
READABLE = """
SELECT n.nspname, c.relname, c.relrowsecurity, EXISTS (
    SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'series_id'
)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', 'walled') AND c.relkind IN ('r', 'p', 'v', 'm')
    AND has_table_privilege('towntwin_gateway', c.oid, 'SELECT')
"""

STANDING = "SELECT current_user, coalesce(current_setting('towntwin.area', true), ''), pg_backend_pid()"


def letter(area: str) -> DeadLetter:
    topic = f"towntwin/v1/{area}/x/data"
    return DeadLetter(received_s=1.0, topic=topic, payload=b"?", reason="channel", detail="not enrolled")


@pytest.fixture(params=["timescale_dsn", "plain_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    dsn = request.getfixturevalue(request.param)
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(DIRECTORY)
    store.enrol(OTHER)
    store.commit(
        Batch(
            fresh=readings(1, range(5)),
            anomalies=[anomaly(), anomaly(**FOREIGN)],
            letters=[letter(HOME), letter(ABROAD), letter("nowhere")],
            statuses=[
                DeviceStatus(device_id=one, received_s=5.0, status={"online": True}) for one in ("d1", "d9")
            ],
        )
    )
    store.commit(Batch(fresh=readings(3, range(7))))
    store.give_feedback(2, "confirmed", who="they", note="")
    store.refresh_rollups(limit=1)
    yield store
    store.close()


def seen(store: PostgresStore) -> dict[str, Any]:
    """What a store shows, by what it was asked for."""
    directory = store.directory()
    return {
        "sites": {one.site_id for one in directory.sites},
        "devices": {one.device_id for one in directory.devices},
        "series": {one.series_id for one in directory.series},
        "channels": {one.device_id for one in directory.channels},
        "nodes": {one.area_id for one in directory.nodes},
        "latest": {one.series_id for one in store.latest()},
        "readings": [len(store.readings(one, 0, 4e9, limit=100)) for one in (1, 3)],
        "buckets": [
            len(store.buckets(one, START_US / 1e6, START_US / 1e6 + 7200, 3600)) > 0 for one in (1, 3)
        ],
        "anomalies": {one.site_id for one in store.anomalies(AnomalyQuery())},
        "changed": {one.site_id for one in store.anomalies_changed(0, limit=10)},
        "letters": {one.topic.split("/")[2] for one in store.dead_letters(LetterQuery())},
        "statuses": {one.device_id for one in store.statuses()},
        "activity": {one.device_id for one in store.activity()},
        "feedback": len(store.feedback(anomaly_id=2)),
        "counted": store.health().readings,
    }


def test_an_area_sees_its_own_and_nothing_else(store: PostgresStore) -> None:
    assert seen(store.seen_from(HOME)) == {
        "sites": {"s1"},
        "devices": {"d1", "d2"},
        "series": {1, 2},
        "channels": {"d1"},
        "nodes": {HOME},
        "latest": {1},
        "readings": [5, 0],
        "buckets": [True, False],
        "anomalies": {"s1"},
        "changed": {"s1"},
        "letters": {HOME},
        "statuses": {"d1"},
        "activity": {"d1"},
        "feedback": 0,
        "counted": 5,
    }


def test_the_whole_is_seen_from_everywhere_and_all_but_what_belongs_to_no_area_from_the_city(
    store: PostgresStore,
) -> None:
    assert seen(store.seen_from("*")) == seen(store)
    city = seen(store.seen_from(CITY))
    assert city["letters"] == {HOME, ABROAD}
    assert seen(store) | {"letters": None} == city | {"letters": None}
    assert seen(store.seen_from(f"{HOME},{ABROAD}")) == city


@pytest.mark.parametrize("scope", ["", "nowhere", "' OR true --", "330483-d1' "])
def test_no_scope_and_no_area_see_nothing(store: PostgresStore, scope: str) -> None:
    assert not any(map(bool, {**seen(store.seen_from(scope)), "readings": 0, "buckets": 0}.values()))
    assert seen(store.seen_from(scope))["readings"] == [0, 0]


def test_a_connection_that_is_lent_in_turns_sees_each_time_for_whoever_asks(store: PostgresStore) -> None:
    """Plans and prepared statements outlast a transaction; what they see must not."""
    expected = {HOME: [1, 2], ABROAD: [3], f"{HOME},{ABROAD}": [1, 2, 3], "nowhere": []}
    lent = set()
    for _ in range(12):  # psycopg prepares what it has met five times
        for scope, series in expected.items():
            with store.seen_from(scope).asked("SELECT series_seen()") as cursor:
                assert sorted(one for (one,) in cursor.fetchall()) == series
            with store.asked(STANDING) as cursor:
                lent |= set(cursor.fetchall())
    ((user, area, _),) = lent
    assert (user, area) == ("postgres", "")


@pytest.mark.parametrize(
    "query", ["SELECT 1 / 0", "SELECT FROM nowhere", "SELECT %(missing)s", "COMMIT", "RESET ROLE"]
)
def test_what_fails_behind_the_wall_leaves_its_connection_as_it_was(store: PostgresStore, query: str) -> None:
    with store.asked(STANDING) as cursor:
        before = cursor.fetchall()
    with pytest.raises(StoreRefused), store.seen_from(HOME).asked(query) as cursor:
        cursor.fetchall()
    with store.asked(STANDING) as cursor:
        assert cursor.fetchall() == before


def test_nothing_foreign_can_be_changed(store: PostgresStore) -> None:
    home = store.seen_from(HOME)
    assert not home.give_feedback(2, "false-alarm", who="me", note="")
    assert not home.withdraw_feedback(2, who="me", note="")
    assert home.ask_replay(LetterQuery()) == 1
    assert home.purge_letters(LetterQuery()) == 1
    assert len(store.dead_letters(LetterQuery())) == 2
    with home.transaction() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "INSERT INTO feedback (anomaly_id, verdict, who, note) VALUES (2, 'confirmed', 'me', '')"
        )


def test_everything_that_the_gateway_may_read_is_behind_the_wall(store: PostgresStore) -> None:
    home = store.seen_from(HOME)
    with home.transaction() as connection:
        found = connection.execute(READABLE).fetchall()
        assert {name for space, name, walled, _ in found if space == "public" and not walled} == OPEN
        for space, name, _, of_series in found:
            if of_series:
                query = sql.SQL("SELECT count(*) FROM {} WHERE series_id = 3").format(
                    sql.Identifier(space, name)
                )
                assert connection.execute(query).fetchone() == (0,), name


def test_a_key_is_kept_and_revoked_once(store: PostgresStore) -> None:
    accounts = Accounts(store)
    accounts.create(
        ApiKey(key_id="a1", name="n", hash="h", role="viewer", area_id=HOME, created_by="me", expires_s=5.0)
    )
    accounts.create(ApiKey(key_id="b2", name="n", hash="h", role="administrator", created_by="me"))
    found = accounts.key("a1")
    assert found is not None
    assert (found.expires_s, found.last_used_s, found.created_s > 0) == (5.0, None, True)
    accounts.used("a1")
    assert [one.last_used_s is None for one in accounts.within([HOME])] == [False]
    assert {one.key_id for one in accounts.within()} == {"a1", "b2"}
    assert [accounts.revoke("a1", by="me") for _ in range(2)] == [True, False]
    with pytest.raises(StoreRefused):
        accounts.create(
            ApiKey(key_id="c3", name="n", hash="h", role="viewer", area_id="nowhere", created_by="me")
        )
    with store.seen_from(HOME).transaction() as connection:
        assert connection.execute("SELECT * FROM api_key").fetchall() == []


def test_the_secret_is_the_gateways_alone(store: PostgresStore) -> None:
    secret = Accounts(store).secret
    assert len(secret) == 32
    with store.seen_from(HOME).transaction() as connection:
        assert connection.execute("SELECT secret FROM gateway_secret").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE gateway_secret SET secret = sha256('')")
    with store.transaction() as connection:
        readers = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'towntwin%' "
            "AND has_table_privilege(rolname, 'gateway_secret', 'SELECT')"
        ).fetchall()
        assert readers == [("towntwin_gateway",)]
        connection.execute("DELETE FROM gateway_secret")
    with pytest.raises(StoreRefused, match="gateway_secret is empty"):
        _ = Accounts(store).secret


def test_the_audit_is_append_only(store: PostgresStore) -> None:
    accounts = Accounts(store)
    for areas in ([HOME], [ABROAD], None):
        accounts.note(
            AuditLine(
                who="key:a", name="n", areas=areas, action="POST /x", target="/x", address="::1", status=200
            )
        )
    assert [one.areas for one in accounts.audit(AuditQuery())] == [None, [ABROAD], [HOME]]
    assert [one.areas for one in accounts.audit(AuditQuery(areas=[HOME, "x"]))] == [[HOME]]
    assert [one.audit_id for one in accounts.audit(AuditQuery(before_id=2))] == [1]
    for statement in ("UPDATE audit SET who = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        for of in (store, store.seen_from("*")):
            with of.transaction() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_wall_does_not_keep_a_time_from_its_index(timescale_dsn: str) -> None:
    """PostgreSQL looks up behind a wall only what can't give away what is before it."""
    migrate(timescale_dsn)
    asked = parameters(Question(site_ids=["s1"], from_s=1e9, to_s=1.1e9, text="high"))
    with psycopg.connect(timescale_dsn, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("DROP INDEX anomaly_by_start, anomaly_by_site")  # so that no other is as good
        connection.execute("SET enable_seqscan = off")
        step_behind(connection, HOME)
        plan = connection.execute(sql.SQL("EXPLAIN {}").format(sql.SQL(QUERIES["anomalies_now"])), asked)
        (conditions,) = [line for (line,) in plan if "Index Cond" in line]
    assert "site_id" in conditions
    assert '"end"' in conditions
