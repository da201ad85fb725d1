"""Connects to the database as a provisioned Grafana does, and runs the queries of the dashboards."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from dashboards.generate import dashboard_files
from tests.support.grafana_macros import PanelRequest, expand

if TYPE_CHECKING:
    from collections.abc import Iterator


def board_queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the SQL of every query of a dashboard: panels, annotations and variables."""
    for row in board["panels"]:
        for panel in [row, *row.get("panels", [])]:
            for target in panel.get("targets") or []:
                yield f"panel {panel['title']}", target["rawSql"]
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["target"]["rawSql"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]


def connect(source: dict[str, Any]) -> psycopg.Connection[Any]:
    """Connect with exactly what a data source says."""
    host, _, port = source["url"].rpartition(":")
    return psycopg.connect(
        host=host,
        port=int(port),
        dbname=source["jsonData"]["database"],
        user=source["user"],
        password=source["secureJsonData"]["password"],
        sslmode=source["jsonData"]["sslmode"],
    )


def run_all_queries(connection: psycopg.Connection[Any]) -> int:
    """Run every query of every dashboard, with nothing chosen; return how many."""
    now = datetime.now(UTC)
    found = 0
    for text in dashboard_files().values():
        board = json.loads(text)
        nothing: dict[str, list[str]] = {one["name"]: [] for one in board["templating"]["list"]}
        request = PanelRequest(now - timedelta(days=1), now, variables=nothing)
        for _, sql in board_queries(board):
            connection.execute(expand(sql, request).encode())
            found += 1
    return found
