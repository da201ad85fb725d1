"""A dashboard: rows of panels, the choices above them, links to the other dashboards, anomalies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard as models

from dashboards.postgres_query import Query, datasource, raw_sql
from dashboards.words import Language, word

if TYPE_CHECKING:
    from collections.abc import Callable

    Panel = tuple[Callable[[Language], Any], int, int]

SCHEMA_VERSION = 37
"""What Grafana 9.4 writes; newer ones migrate it when they load it."""
AREAS = {"city": "cities", "county": "counties", "town": "towns"}
EVERYTHING = models.VariableOption(text=["All"], value=["$__all"], selected=True)


@dataclass(frozen=True)
class Board:
    """A dashboard before it has a language; panels with width and height, the grid is 24 wide."""

    name: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    kinds: tuple[str, ...] | None = None
    """Kinds of sites to choose from; all where None, none at all where empty."""
    one_site: bool = False
    quantities: bool = False
    time: str = "now-24h"
    refresh: str = "30s"

    @property
    def has_sites(self) -> bool:
        """Whether a site can be chosen."""
        return self.kinds != ()


def build(board: Board, language: Language) -> models.Dashboard:
    """The dashboard in one language."""
    made = (
        Dashboard(word(board.name, language))
        .uid(f"towntwin-{board.name.replace('_', '-')}-{language}")
        .description(word(f"{board.name}_about", language))
        .tags(["towntwin", language])
        .timezone("Asia/Shanghai")
        .time(board.time, "now")
        .refresh(board.refresh)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_others(language))
        .annotation(_anomalies(board, language))
    )
    for name, query in AREAS.items():
        made.with_variable(_variable(name, raw_sql(query, language), language))
    if board.has_sites:
        made.with_variable(_sites(board, language))
    if board.quantities:
        made.with_variable(_variable("quantity", raw_sql("quantities", language), language))
    numbers = count(1)
    for title, panels in board.rows:
        made.with_row(Row(word(title, language)).id(next(numbers)))
        for panel, width, height in panels:
            made.with_panel(panel(language).id(next(numbers)).span(width).height(height))
    built = made.build()
    built.schema_version = SCHEMA_VERSION
    return built


def _variable(name: str, query: str, language: Language) -> QueryVariable:
    """A choice that follows from the choices before it; all at first."""
    return (
        QueryVariable(name)
        .label(word(name, language))
        .datasource(datasource())
        .query(query)
        .definition(query)
        .multi(True)
        .include_all(True)
        .current(EVERYTHING)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )


def _sites(board: Board, language: Language) -> QueryVariable:
    kinds = ", ".join(f"'{one}'" for one in board.kinds or ())
    query = raw_sql("sites_of_kind", language, kinds=kinds) if kinds else raw_sql("sites", language)
    made = _variable("site", query, language)
    if board.one_site:
        made.multi(False).include_all(False).current(models.VariableOption(text="", value=""))
    return made


def _others(language: Language) -> DashboardLink:
    """The other dashboards of this language, with the selection and the time."""
    return (
        DashboardLink(word("others", language))
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["towntwin", language])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _anomalies(board: Board, language: Language) -> AnnotationQuery:
    """Anomalies on every time series: of the chosen sites, or of the chosen towns where no site is chosen."""
    query = "annotations" if board.has_sites else "annotations_towns"
    return (
        AnnotationQuery()
        .name(word("anomalies", language))
        .datasource(datasource())
        .enable(True)
        .icon_color("red")
        .target(Query(query, language, ref_id="Anno"))
    )
