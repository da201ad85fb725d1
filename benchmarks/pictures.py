"""Draws dashboards for the documentation with matplotlib, from the panels' own queries on the demo's data.

Grafana is not needed: the queries of the committed dashboards run with the database role of Grafana.
Writes town_overview.png, river_section.png, network_state.png, and report_map.png, a map of the monthly
report, to docs/pictures.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.incident_traces import trace_incidents
from analytics.service.monthly_assessment import assess
from analytics.service.reports import blocks, map_content, report_data
from analytics.service.settings import Settings
from analytics.service.state_snapshots import store_states
from benchmarks import _dashboard_drawing as drawing
from dashboards.generate import FOLDER
from deploy.debian_servers.installation import Installation
from deploy.embedded.postgres_binaries import postgres_programs
from deploy.embedded.server_environment import UNPRIVILEGED
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.row_level_security import ALL_AREAS
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.demo_store import fill_with_demo
from tests.support.grafana_macros import PanelRequest, expand
from tests.support.scenario_examples import add_example_scenarios
from tests.support.throwaway_servers import PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
ZONE = drawing.ZONE
COUNTY = "330483"
WORST = """
SELECT site_id FROM anomaly_view WHERE state = 'open' AND site_kind = 'river_section'
ORDER BY severity DESC, start LIMIT 1
"""


@dataclass
class DrawnDashboard:
    """A dashboard, its database connection and the selected values."""

    connection: psycopg.Connection[Any]
    panels: dict[str, Any]
    panel_request: PanelRequest

    def rows(self, title: str, target: int = 0) -> list[dict[str, Any]]:
        """Return the rows of a panel's query; of a map, the second one has the lines."""
        cursor = self.connection.execute(
            expand(self.panels[title]["targets"][target]["rawSql"], self.panel_request).encode()
        )
        names = [one.name for one in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def main() -> None:
    """Fill a database, query it and draw the dashboards and the map."""
    with filled_demo() as (connection, end, map_png):
        town = open_dashboard(connection, "town_overview.en.json", end, {})
        save(drawing.town_overview(empty_figure("Town overview"), town.rows), "town_overview")
        (site,) = connection.execute(WORST).fetchone() or ("330402-d1-r02",)
        river = open_dashboard(connection, "river_section.en.json", end, {"site": [site]})
        save(drawing.river_section(empty_figure("River section"), river.rows), "river_section")
        chosen = {"quantity": ["dissolved_oxygen"]}
        state = open_dashboard(connection, "network_state.en.json", end, chosen)
        save(drawing.network_state(empty_figure("State of the networks"), state.rows), "network_state")
    (PICTURES / "report_map.png").write_bytes(map_png)
    print("docs/pictures/report_map.png")


@contextmanager
def filled_demo() -> Iterator[tuple[psycopg.Connection[Any], datetime, bytes]]:
    """Provide a database of the demo towns after three days, connected with Grafana's role, and a map.

    The map is the first of the monthly report of the county of the first town.
    """
    servers = PostgresServer(Installation(Path("/")), UNPRIVILEGED, str(postgres_programs()))
    servers.create()
    try:
        with fresh_database(servers) as dsn:
            migrate(dsn)
            store = PostgresStore.open(dsn)
            end = datetime.fromtimestamp(fill_with_demo(store), UTC)
            assess(store, Settings())
            maintain_incidents(store, Settings())
            store_states(store, Settings())
            trace_incidents(store, Settings(trace_again_s=0))
            add_example_scenarios(store)
            database = store.for_area(ALL_AREAS).database
            assert database is not None
            month = f"{end.astimezone(ZONE):%Y-%m}"
            data = report_data.read_report_data(database, store.directory(), COUNTY, month, "en")
            map_png = next(one.png for one in map_content.maps(data) if isinstance(one, blocks.Figure))
            store.close()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("SET ROLE towntwin_grafana")
                yield connection, end, map_png
    finally:
        servers.remove()


def open_dashboard(
    connection: psycopg.Connection[Any], name: str, end: datetime, chosen: dict[str, list[str]]
) -> DrawnDashboard:
    """Open a dashboard with all values of its variables selected, except for those in ``chosen``."""
    made = json.loads((FOLDER / name).read_text("utf-8"))
    panel_request = PanelRequest(end - timedelta(days=1), end)
    for variable in made["templating"]["list"]:
        rows = connection.execute(expand(variable["query"], panel_request).encode()).fetchall()
        found = [str(row[-1]) for row in rows]
        values = chosen.get(variable["name"], found if variable["multi"] else found[:1])
        panel_request = replace(
            panel_request, variables={**panel_request.variables, variable["name"]: values}
        )
    return DrawnDashboard(
        connection, {panel["title"].partition(":")[0]: panel for panel in made["panels"]}, panel_request
    )


def empty_figure(title: str) -> Figure:
    """Return an empty figure."""
    made = Figure(figsize=(12.0, 9.0), dpi=100, layout="constrained")
    made.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")
    return made


def save(made: Figure, name: str) -> None:
    """Save a figure as PNG, with time axes in the towns' time zone."""
    for axes in made.axes:
        if axes.get_xlabel() == drawing.TIME:
            locator = AutoDateLocator(tz=ZONE)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=ZONE))  # type: ignore[no-untyped-call]
            axes.set_xlabel("")
    made.savefig(PICTURES / f"{name}.png", pil_kwargs={"optimize": True})
    print(f"docs/pictures/{name}.png")


if __name__ == "__main__":
    main()
