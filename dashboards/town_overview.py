"""The dashboard "town overview": what is wrong now, where, and since when."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard as models

from dashboards import now, series
from dashboards.postgres_query import Query, datasource, raw_sql
from dashboards.words import Language, word

if TYPE_CHECKING:
    from collections.abc import Callable

UID = "towntwin-town-overview"
VARIABLES = (
    ("city", "cities"),
    ("county", "counties"),
    ("town", "towns"),
    ("site", "sites"),
    ("quantity", "quantities"),
)

# (panel, width, height) by row; the grid is 24 wide.
LAYOUT: tuple[tuple[str, tuple[tuple[Callable[[Language], Any], int, int], ...]], ...] = (
    (
        "now",
        (
            (now.open_by_severity, 9, 4),
            (now.silent_devices, 5, 4),
            (now.newest_age, 5, 4),
            (now.dead_letters, 5, 4),
            (now.wrong_now, 14, 11),
            (now.where, 10, 11),
        ),
    ),
    ("water", ((series.band, 24, 9), (series.chosen, 14, 10), (series.latest, 10, 10))),
    ("traffic", ((series.speed, 24, 8),)),
    ("platform", ((now.begun, 12, 8), (series.stored, 12, 8), (series.devices, 24, 9))),
)


def dashboard(language: Language) -> models.Dashboard:
    """The dashboard in one language."""
    made = (
        Dashboard(word("title", language))
        .uid(f"{UID}-{language}")
        .description(word("about", language))
        .tags(["towntwin", language])
        .timezone("Asia/Shanghai")
        .time("now-24h", "now")
        .refresh("10s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .annotation(anomalies_drawn(language))
    )
    for name, query in VARIABLES:
        made.with_variable(variable(name, query, language))
    numbers = count(1)
    for title, panels in LAYOUT:
        made.with_row(Row(word(title, language)).id(next(numbers)))
        for panel, width, height in panels:
            made.with_panel(panel(language).id(next(numbers)).span(width).height(height))
    return made.build()


def variable(name: str, query: str, language: Language) -> QueryVariable:
    """A choice that follows from the choices before it; all at first."""
    return (
        QueryVariable(name)
        .label(word(name, language))
        .datasource(datasource())
        .query(raw_sql(query, language))
        .definition(raw_sql(query, language))
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(text=["All"], value=["$__all"], selected=True))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )


def anomalies_drawn(language: Language) -> AnnotationQuery:
    """Anomalies on every time series."""
    return (
        AnnotationQuery()
        .name(word("anomalies", language))
        .datasource(datasource())
        .enable(True)
        .icon_color("red")
        .target(Query("annotations", language, ref_id="Anno"))
    )
