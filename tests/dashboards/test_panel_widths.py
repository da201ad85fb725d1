"""Tests by EXPLAIN that panels read the rollup that fits their time range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dashboards.postgres_query import raw_sql
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.grafana_macros import PanelRequest, expand
from tests.support.rollup_samples import BEGIN_US, TOWN, commit_all
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

END = datetime.fromtimestamp(BEGIN_US / 1e6, UTC) + timedelta(days=3)
QUANTITIES = [one.quantity for one in TOWN.series]
CHUNKS = "SELECT chunk_name, hypertable_name FROM timescaledb_information.chunks"
DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000


@pytest.fixture(scope="module", params=["plain_server", "timescale_server"])
def rolled_up_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Three days, rolled up, which no test here changes."""
    with fresh_database(request.getfixturevalue(request.param)) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(TOWN)
        commit_all(store)
        while store.refresh_rollups(limit=10**6):
            pass
        store.close()
        yield dsn


@pytest.fixture
def connection(rolled_up_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of its own: some tests take on Grafana's role."""
    with psycopg.connect(rolled_up_dsn, autocommit=True) as made:
        yield made


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in plan:
        yield plan["Relation Name"]
    for below in plan.get("Plans", []):
        yield from scanned(below)


def tables(connection: psycopg.Connection[Any], query: str, panel: PanelRequest) -> set[str]:
    """The tables whose rows a query reads, a chunk being its hypertable."""
    explain = f"EXPLAIN (FORMAT JSON) {expand(raw_sql(query, 'en'), panel)}"
    ((plans,),) = connection.execute(explain.encode()).fetchall()
    names = set(scanned(plans[0]["Plan"]))
    if any(name.startswith("_hyper") for name in names):
        chunks = dict(connection.execute(CHUNKS).fetchall())
        names = {chunks.get(name, name) for name in names}
    return {name for name in names if name == "reading" or name.startswith("rollup")}


@pytest.mark.parametrize("query", ["series_values", "series_band"])
@pytest.mark.parametrize(
    ("days", "interval_s", "wanted"),
    [
        (1 / 24, 5, {"reading"}),
        (1, 60, {"reading", "rollup_1min"}),
        (7, 600, {"rollup_15min"}),
        (30, 1800, {"rollup_1h"}),
        (365, 43_200, {"rollup_1day"}),
    ],
)
def test_each_range_has_its_rollup(
    connection: psycopg.Connection[Any], query: str, days: float, interval_s: float, wanted: set[str]
) -> None:
    chosen = {"site": ["s1"], "quantity": QUANTITIES}
    panel = PanelRequest(END - timedelta(days=days), END, interval_s=interval_s, variables=chosen)
    assert tables(connection, query, panel) == wanted
    connection.execute("SET ROLE towntwin_grafana")
    rows = connection.execute(expand(raw_sql(query, "en"), panel).encode()).fetchall()
    assert rows
    assert len(rows) <= days * 86_400 / interval_s * len(TOWN.series) + 2 * len(TOWN.series)


def test_stored_readings_are_read_from_rollups_alone(connection: psycopg.Connection[Any]) -> None:
    for days, interval_s, wanted in ((1, 60, "rollup_1h"), (30, 1800, "rollup_1day")):
        panel = PanelRequest(
            END - timedelta(days=days), END, interval_s=interval_s, variables={"site": ["s1"]}
        )
        assert tables(connection, "readings_stored", panel) == {wanted}


def test_points_are_grouped_in_utc_and_days_stay_local(connection: psycopg.Connection[Any]) -> None:
    day = datetime(2026, 9, 21, 16, tzinfo=UTC)
    calls = [
        (day, DAY_MS),
        (day + timedelta(minutes=44), 30 * MINUTE_MS),
        (day + timedelta(hours=5), 3 * HOUR_MS),
    ]
    found = [connection.execute("SELECT rollup_time(%s, %s)", one).fetchone() for one in calls]
    assert found == [(day,), (day,), (day + timedelta(hours=5),)], "half an hour is drawn from hours"


def test_widths_are_at_most_four_points_wide(connection: psycopg.Connection[Any]) -> None:
    for interval_ms in (1, 1000, 15_000, 224_999, 225_000, 900_000, 6 * HOUR_MS, 30 * DAY_MS):
        (width_s,) = connection.execute("SELECT rollup_width(%s)", [interval_ms]).fetchone() or (None,)
        assert width_s is not None
        assert width_s * 1000 <= 4 * interval_ms
        assert [
            one for one in (60, 900, 3600, 86_400) if width_s < one and one * 1000 <= 4 * interval_ms
        ] == []
