"""Fixtures of the dashboard tests: a filled database of each edition as Grafana's role sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.incident_traces import trace_incidents
from analytics.service.monthly_assessment import assess
from analytics.service.settings import Settings
from analytics.service.state_snapshots import store_states
from dashboards.generate import FOLDER
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.grafana_macros import PanelRequest, expand
from tests.support.process_heartbeats import alive
from tests.support.scenario_examples import add_example_scenarios
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.translations import Language

BOARDS: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
PANELS: list[tuple[str, dict[str, Any]]] = [
    (name, panel)
    for name, board in BOARDS.items()
    for row in board["panels"]
    for panel in [row, *row.get("panels", [])]
    if panel["type"] != "row"
]
PANEL_IDS = [f"{board}-{panel['title']}" for board, panel in PANELS]
# Data that the demo's three days do not produce.
ADDITIONAL_DATA = """
INSERT INTO dead_letter (received, topic, payload, reason, detail)
SELECT now() - n * interval '1 minute', 'towntwin/v1/x/y/data', 'x', 'payload', 'not SenML'
FROM generate_series(1, 3) AS n;
INSERT INTO shard (shard, epoch) VALUES ('main', 1);
UPDATE device SET clock_offset_s = 0.4,
    status = '{"online": true, "battery_v": 12.4, "signal_dbm": -71, "spool_depth": 3}';
INSERT INTO series_forecast (series_id, issued, times, "values", low, high)
SELECT series_id, now(), array_agg(now() + n * step ORDER BY n), array_agg(10.0 ORDER BY n),
    array_agg(10.0 - n / 10.0 ORDER BY n), array_agg(10.0 + n / 10.0 ORDER BY n)
FROM (
    SELECT series_id, CASE quantity WHEN 'traffic_speed' THEN interval '5 min' ELSE interval '2 h' END AS step
    FROM series WHERE quantity IN ('dissolved_oxygen', 'traffic_speed')
) AS forecast, generate_series(0, 12) AS n
GROUP BY series_id;
ANALYZE;
"""
# A flood of one operator in one of two periods of 10 min, which chatters; an alarm that waits for a day.
ALARMS = """
INSERT INTO incident_history (incident_id, revision, machine, event, from_state, to_state, who, why, "at")
SELECT i.incident_id, i.revision, 'alarm', 'annunciate', 'normal', 'unacknowledged', 'test', '',
    now() - interval '2 h' + n * interval '10 s'
FROM (SELECT incident_id, revision FROM incident ORDER BY 1 LIMIT 1) AS i, generate_series(1, 22) AS n;
UPDATE incident SET opened = opened - interval '2 days', annunciations = 1, acknowledged = NULL
WHERE incident_id = (SELECT min(incident_id) FROM incident WHERE state NOT IN ('closed', 'false_alarm'));
UPDATE incident
SET acknowledged = opened + interval '5 minutes', closed = opened + interval '3 h', state = 'closed'
WHERE incident_id = (SELECT max(incident_id) FROM incident);
"""


def of_types(*types: str) -> list[Any]:
    """Return the panels of some types as parameters of a test, named by board and title."""
    return [
        pytest.param(board, panel, id=name)
        for name, (board, panel) in zip(PANEL_IDS, PANELS, strict=True)
        if panel["type"] in types
    ]


def language_of(board: str) -> Language:
    """Return the language of a dashboard by the name of its file."""
    return "zh" if ".zh." in board else "en"


def overrides(panel: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of a panel's overrides by column, or by regular expression between slashes."""
    found: dict[str, dict[str, Any]] = {}
    for one in panel["fieldConfig"].get("overrides", []):
        properties = {each["id"]: each["value"] for each in one["properties"]}
        found[one["matcher"]["options"]] = found.get(one["matcher"]["options"], {}) | properties
    return found


@dataclass(frozen=True)
class DemoDatabase:
    """A database of the demo, and the time range and variable values for panels.

    Attributes
    ----------
    connection : of Grafana's role, for all tests: a new session reads the catalogue anew for each query

    """

    dsn: str
    panel_request: PanelRequest
    connection: psycopg.Connection[Any]
    chosen: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def answer(self, sql: str) -> tuple[list[str], list[int], list[tuple[Any, ...]]]:
        """Run a query with Grafana's role; return column names, types and rows."""
        cursor = self.connection.execute(sql.encode())
        assert cursor.description is not None
        names = [one.name for one in cursor.description]
        return names, [one.type_code for one in cursor.description], cursor.fetchall()

    def on(self, board: str) -> PanelRequest:
        """Return the request of a dashboard's panel with all values of its variables selected."""
        if board not in self.chosen:
            panel = self.panel_request
            for variable in BOARDS[board]["templating"]["list"]:
                rows = self.answer(expand(variable["query"], panel))[2]
                assert rows, f"variable {variable['name']} has nothing to choose from"
                chosen = [str(row[-1]) for row in rows]
                several = chosen if variable["multi"] else chosen[:1]
                panel = replace(panel, variables={**panel.variables, variable["name"]: several})
            self.chosen[board] = panel.variables
        return replace(self.panel_request, variables=self.chosen[board])


@pytest.fixture(scope="package", params=["timescale_server", "plain_server"])
def filled(request: pytest.FixtureRequest) -> Iterator[DemoDatabase]:
    """Provide three days of the demo, assessed, with incidents, dead letters, statuses and a shard."""
    with fresh_database(request.getfixturevalue(request.param)) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        end = datetime.fromtimestamp(fill_with_demo(store), UTC)
        with psycopg.connect(dsn) as connection:
            connection.execute(ADDITIONAL_DATA)
        assess(store, Settings())
        maintain_incidents(store, Settings())
        store_states(store, Settings())
        trace_incidents(store, Settings(trace_again_s=0))
        add_example_scenarios(store, ("桥头泄漏", "桥头泄漏，关闸"))
        with psycopg.connect(dsn) as connection:
            connection.execute(ALARMS)
        panel_request = PanelRequest(end - timedelta(days=1), end + timedelta(seconds=60))
        with alive(store), psycopg.connect(dsn, autocommit=True) as connection:
            connection.prepare_threshold = None  # plans as of a first execution
            connection.execute("SET ROLE towntwin_grafana")
            yield DemoDatabase(dsn, panel_request, connection)
        store.close()
