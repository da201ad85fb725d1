"""Compares what a county or city has with what its towns have, by rows without numbers of the platform."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest_service.storage.contract.batch import Batch
    from tests.support.throwaway_servers import PostgresServer

WITHIN_S = 60.0
COUNT = "SELECT count(*) FROM reading"
READINGS = """
SELECT s.site_id, s.quantity, r."time", r.received, r.value, r.expected::text, r.spread::text,
    coalesce(v.quality, r.quality), coalesce(v.rules, r.rules)
FROM reading AS r JOIN series AS s USING (series_id) LEFT JOIN flag_revision AS v USING (series_id, "time")
ORDER BY 1, 2, 3
"""
ANOMALIES = """
SELECT a.site_id, s.quantity, split_part(a.subject, '/', 1), a.start, a."end", a.state, a.severity, a.score,
    a.n_readings, a.reason_en, a.reason_zh, a.evidence::text
FROM anomaly AS a LEFT JOIN series AS s USING (series_id) ORDER BY 1, 2, 3, 4
"""
# Anomalies of the town's platform itself stay there, and its incidents come without them.
INCIDENTS = """
SELECT i.area_ids, i.main_site_id, i.cause, i.priority, i.state, i.alarm_state, i.opened, i.closed, i.summary,
    (SELECT array_agg((a.start, a.state)::text ORDER BY a.start, a.state)
        FROM incident_anomaly AS m JOIN anomaly AS a USING (anomaly_id)
        WHERE m.incident_id = i.incident_id AND a.subject NOT LIKE 'platform/%'),
    (SELECT array_agg((h."at", h.event, h.who, h.to_state)::text ORDER BY h."at", h.event)
        FROM incident_history AS h WHERE h.incident_id = i.incident_id)
FROM incident AS i ORDER BY i.opened, i.main_site_id
"""
FORECASTS = """
SELECT s.site_id, s.quantity, f.issued, f.times, f."values", f.low, f.high
FROM series_forecast AS f JOIN series AS s USING (series_id) ORDER BY 1, 2
"""


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def wait_until_equal(town: str, county: str) -> None:
    for query in (COUNT, READINGS, ANOMALIES, INCIDENTS):
        wait_until(
            lambda query=query: rows_of(town, query) == rows_of(county, query),  # type: ignore[misc]
            within_s=WITHIN_S,
            what="the county has what the town has",
        )


@contextmanager
def opened(dsn: str) -> Iterator[PostgresStore]:
    store = PostgresStore.open(dsn)
    yield store
    store.close()


@contextmanager
def copy_of(server: PostgresServer, dsn: str) -> Iterator[str]:
    """A database as it would be restored from a backup of another, whose processes have ended."""
    name = str(conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        for setting in server.provide_schema_template():
            connection.execute("ALTER DATABASE {} SET {} = {}".format(f"{name}_copy", *setting.split("=", 1)))
        try:
            yield server.dsn(f"{name}_copy")
        finally:
            connection.execute(f"DROP DATABASE {name}_copy WITH (FORCE)")


def add_readings(dsn: str, *batches: Batch) -> None:
    with opened(dsn) as store:
        for batch in batches:
            store.commit(batch)
