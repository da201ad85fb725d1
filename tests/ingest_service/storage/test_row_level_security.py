"""Tests row-level security: a role bound to an area gets no row of another area by any query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetter, DeadLetterQuery, DeviceStatus
from ingest_service.storage.postgres.api_keys import ApiKey, ApiKeyStore, AuditEntry, AuditQuery
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.read_rows import anomaly_parameters
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.area_scope import set_area_role
from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN, OTHER_TOWN_ANOMALY
from tests.support.store_samples import DIRECTORY, START_US, anomaly, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

CITY = "330400"
OPEN = {
    "area",
    "directory_version",
    "heartbeat",
    "heartbeat_gap",
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


def sample_dead_letter(area: str) -> DeadLetter:
    topic = f"towntwin/v1/{area}/x/data"
    return DeadLetter(received_s=1.0, topic=topic, payload=b"?", reason="channel", detail="not enrolled")


@pytest.fixture(params=["timescale_dsn", "plain_dsn"])
def store(request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    dsn = request.getfixturevalue(request.param)
    migrate(dsn)
    store = PostgresStore.open(dsn)
    store.enrol(DIRECTORY)
    store.enrol(OTHER_TOWN)
    store.commit(
        Batch(
            fresh=readings(1, range(5)),
            anomalies=[anomaly(), anomaly(**OTHER_TOWN_ANOMALY)],
            dead_letters=[
                sample_dead_letter(HOME_AREA),
                sample_dead_letter(OTHER_AREA),
                sample_dead_letter("nowhere"),
            ],
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


def everything_visible(store: PostgresStore) -> dict[str, Any]:
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
        "letters": {one.topic.split("/")[2] for one in store.dead_letters(DeadLetterQuery())},
        "statuses": {one.device_id for one in store.statuses()},
        "activity": {one.device_id for one in store.activity()},
        "feedback": len(store.feedback(anomaly_id=2)),
        "counted": store.health().readings,
        "open": store.health().open_anomalies,
    }


def test_an_area_sees_its_own_and_nothing_else(store: PostgresStore) -> None:
    assert everything_visible(store.for_area(HOME_AREA)) == {
        "sites": {"s1"},
        "devices": {"d1", "d2"},
        "series": {1, 2},
        "channels": {"d1"},
        "nodes": {HOME_AREA},
        "latest": {1},
        "readings": [5, 0],
        "buckets": [True, False],
        "anomalies": {"s1"},
        "changed": {"s1"},
        "letters": {HOME_AREA},
        "statuses": {"d1"},
        "activity": {"d1"},
        "feedback": 0,
        "counted": 5,
        "open": 1,
    }


def test_rows_of_no_area_are_visible_to_all_areas_only_and_the_city_sees_all_others(
    store: PostgresStore,
) -> None:
    assert everything_visible(store.for_area("*")) == everything_visible(store)
    city = everything_visible(store.for_area(CITY))
    assert city["letters"] == {HOME_AREA, OTHER_AREA}
    assert everything_visible(store) | {"letters": None} == city | {"letters": None}
    assert everything_visible(store.for_area(f"{HOME_AREA},{OTHER_AREA}")) == city


@pytest.mark.parametrize("scope", ["", "nowhere", "' OR true --", "330483-d1' "])
def test_no_scope_and_no_area_see_nothing(store: PostgresStore, scope: str) -> None:
    assert not any(
        map(bool, {**everything_visible(store.for_area(scope)), "readings": 0, "buckets": 0}.values())
    )
    assert everything_visible(store.for_area(scope))["readings"] == [0, 0]


def test_a_pooled_connection_is_scoped_anew_for_each_principal(store: PostgresStore) -> None:
    """Plans and prepared statements outlast a transaction; what they see must not."""
    expected = {HOME_AREA: [1, 2], OTHER_AREA: [3], f"{HOME_AREA},{OTHER_AREA}": [1, 2, 3], "nowhere": []}
    lent = set()
    for _ in range(12):  # psycopg prepares what it has met five times
        for scope, series in expected.items():
            with store.for_area(scope).run_query("SELECT series_seen()") as cursor:
                assert sorted(one for (one,) in cursor.fetchall()) == series
            with store.run_query(STANDING) as cursor:
                lent |= set(cursor.fetchall())
    ((user, area, _),) = lent
    assert (user, area) == ("postgres", "")


@pytest.mark.parametrize(
    "query", ["SELECT 1 / 0", "SELECT FROM nowhere", "SELECT %(missing)s", "COMMIT", "RESET ROLE"]
)
def test_what_fails_behind_row_level_security_leaves_its_connection_as_it_was(
    store: PostgresStore, query: str
) -> None:
    with store.run_query(STANDING) as cursor:
        before = cursor.fetchall()
    with pytest.raises(StoreRefusedError), store.for_area(HOME_AREA).run_query(query) as cursor:
        cursor.fetchall()
    with store.run_query(STANDING) as cursor:
        assert cursor.fetchall() == before


def test_nothing_foreign_can_be_changed(store: PostgresStore) -> None:
    home = store.for_area(HOME_AREA)
    assert not home.give_feedback(2, "false-alarm", who="me", note="")
    assert not home.withdraw_feedback(2, who="me", note="")
    assert home.request_replay(DeadLetterQuery()) == 1
    assert home.purge_dead_letters(DeadLetterQuery()) == 1
    assert len(store.dead_letters(DeadLetterQuery())) == 2
    with home.transaction() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "INSERT INTO feedback (anomaly_id, verdict, who, note) VALUES (2, 'confirmed', 'me', '')"
        )


def test_everything_that_the_gateway_may_read_is_behind_row_level_security(store: PostgresStore) -> None:
    home = store.for_area(HOME_AREA)
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
    accounts = ApiKeyStore(store)
    accounts.create(
        ApiKey(
            key_id="a1", name="n", hash="h", role="viewer", area_id=HOME_AREA, created_by="me", expires_s=5.0
        )
    )
    accounts.create(ApiKey(key_id="b2", name="n", hash="h", role="administrator", created_by="me"))
    found = accounts.key("a1")
    assert found is not None
    assert (found.expires_s, found.last_used_s, found.created_s > 0) == (5.0, None, True)
    accounts.mark_used("a1")
    assert [one.last_used_s is None for one in accounts.keys_in_areas([HOME_AREA])] == [False]
    assert {one.key_id for one in accounts.keys_in_areas()} == {"a1", "b2"}
    assert [accounts.revoke("a1", by="me") for _ in range(2)] == [True, False]
    with pytest.raises(StoreRefusedError):
        accounts.create(
            ApiKey(key_id="c3", name="n", hash="h", role="viewer", area_id="nowhere", created_by="me")
        )
    with store.for_area(HOME_AREA).transaction() as connection:
        assert connection.execute("SELECT * FROM api_key").fetchall() == []


def test_the_secret_is_the_gateways_alone(store: PostgresStore) -> None:
    secret = ApiKeyStore(store).secret
    assert len(secret) == 32
    with store.for_area(HOME_AREA).transaction() as connection:
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
    with pytest.raises(StoreRefusedError, match="gateway_secret is empty"):
        _ = ApiKeyStore(store).secret


def test_the_audit_is_append_only(store: PostgresStore) -> None:
    accounts = ApiKeyStore(store)
    for areas in ([HOME_AREA], [OTHER_AREA], None):
        accounts.note(
            AuditEntry(
                who="key:a", name="n", areas=areas, action="POST /x", target="/x", address="::1", status=200
            )
        )
    assert [one.areas for one in accounts.audit(AuditQuery())] == [None, [OTHER_AREA], [HOME_AREA]]
    assert [one.areas for one in accounts.audit(AuditQuery(areas=[HOME_AREA, "x"]))] == [[HOME_AREA]]
    assert [one.audit_id for one in accounts.audit(AuditQuery(before_id=2))] == [1]
    for statement in ("UPDATE audit SET who = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        for of in (store, store.for_area("*")):
            with of.transaction() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_row_level_security_does_not_keep_a_time_from_its_index(timescale_dsn: str) -> None:
    """PostgreSQL looks up behind a wall only what can't give away what is before it."""
    migrate(timescale_dsn)
    filter_params = anomaly_parameters(AnomalyQuery(site_ids=["s1"], from_s=1e9, to_s=1.1e9, text="high"))
    with psycopg.connect(timescale_dsn, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("DROP INDEX anomaly_by_start, anomaly_by_site")  # so that no other is as good
        connection.execute("SET enable_seqscan = off")
        set_area_role(connection, HOME_AREA)
        plan = connection.execute(
            sql.SQL("EXPLAIN {}").format(sql.SQL(QUERIES["anomalies_now"])), filter_params
        )
        (conditions,) = [line for (line,) in plan if "Index Cond" in line and "site_id" in line]
    assert '"end"' in conditions
