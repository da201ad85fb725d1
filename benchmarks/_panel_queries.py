"""Times every dashboard panel's SQL as Grafana would send it, and counts the rows and pages it reads."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psycopg

from dashboards.generate import FOLDER
from tests.support.grafana_macros import PanelRequest, expand

if TYPE_CHECKING:
    from collections.abc import Iterator

RANGES = {"1 h": 3600, "24 h": 86_400, "30 d": 30 * 86_400, "1 y": 365 * 86_400}
POINTS = 1000  # pixels of a wide panel
STEPS_S = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)
SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")
ROLE = "SET ROLE towntwin_grafana"


class PanelCost(NamedTuple):
    """Cost of one panel over one range: times [s], rows scanned, pages read, rows returned."""

    panel: str
    span: str
    p50_s: float
    p95_s: float
    read: int
    pages: int
    returned: int


def panel_queries() -> Iterator[tuple[str, str]]:
    """Yield name and SQL of every panel and annotation of the English dashboards."""
    for path in sorted(FOLDER.glob("*.en.json")):
        board = json.loads(path.read_text("utf-8"))
        for row in board["panels"]:
            for panel in (row, *row.get("panels", [])):
                for target in panel.get("targets", []):
                    yield f"{board['title']}: {panel['title']}", target["rawSql"]
        for one in board["annotations"]["list"]:
            if "target" in one:
                yield f"{board['title']}: {one['name']}", one["target"]["rawSql"]


def panel_request(dsn: str, until_s: float, span_s: int) -> PanelRequest:
    """Return a request over a time range with all values of all variables selected."""
    end = datetime.fromtimestamp(until_s, UTC)
    target_interval_s = span_s / POINTS
    panel = PanelRequest(
        end - timedelta(seconds=span_s),
        end,
        interval_s=max(s for s in STEPS_S if s <= max(target_interval_s, 1)),
    )
    variables = {
        one["name"]: one["query"]
        for path in sorted(FOLDER.glob("*.en.json"))
        for one in json.loads(path.read_text("utf-8"))["templating"]["list"]
        if "query" in one
    }
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ROLE)
        for name, query in variables.items():
            rows = connection.execute(expand(query, panel).encode()).fetchall()
            panel = replace(panel, variables=panel.variables | {name: [str(row[-1]) for row in rows]})
    return panel


def measure_panels(dsn: str, until_s: float, rounds: int) -> Iterator[PanelCost]:
    """Measure each panel over each time range."""
    for span, span_s in RANGES.items():
        panel = panel_request(dsn, until_s, span_s)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(ROLE)
            for name, raw in panel_queries():
                yield _measure_panel(connection, name, span, expand(raw, panel), rounds)


def _measure_panel(
    connection: psycopg.Connection[Any], name: str, span: str, sql: str, rounds: int
) -> PanelCost:
    times, returned = [], 0
    for _ in range(rounds):
        began_s = time.perf_counter()
        returned = len(connection.execute(sql.encode(), prepare=False).fetchall())
        times.append(time.perf_counter() - began_s)
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"
    (plans,) = connection.execute(explain.encode()).fetchone() or ([],)
    plan = plans[0]["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return PanelCost(name, span, float(p50), float(p95), rows_read(plan), pages, returned)


def rows_read(plan: dict[str, Any]) -> int:
    """Return the rows that the scans of a plan visited, including those filtered out."""
    below = sum(rows_read(one) for one in plan.get("Plans", []))
    if plan["Node Type"] not in SCANS:
        return below
    rows_visited = (
        plan["Actual Rows"]
        + plan.get("Rows Removed by Filter", 0)
        + plan.get("Rows Removed by Index Recheck", 0)
    )
    return below + round(rows_visited * plan["Actual Loops"])
