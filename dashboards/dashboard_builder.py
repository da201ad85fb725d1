"""Builds a Grafana dashboard in one language from rows of panels: variables, links and annotations."""

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

from dashboards.postgres_query import NamedQueryBuilder, datasource, raw_sql
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Panel = tuple[Callable[[Language], Any], int, int]

SCHEMA_VERSION = 37
"""The dashboard schema of Grafana 9.4; newer versions migrate it when they load it."""
AREA_VARIABLES = {"city": "cities", "county": "counties", "town": "towns"}
ANNOTATION_COLOUR = "rgba(224, 47, 68, 0.35)"
"""Red, faint enough to see the data behind; the alpha channel serves the light and the dark theme."""
PLUGIN_VERSION = "11.1.0"
"""Version of Grafana whose panel options are written; newer versions migrate them from here.

Without it, the options of an XY chart are migrated as if older than 11.1, and lost.
"""
ALL_OPTION = models.VariableOption(text=["All"], value=["$__all"], selected=True)


@dataclass(frozen=True)
class DashboardSpec:
    """A dashboard independent of language: rows of (panel function, width, height) on a 24-column grid."""

    name: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    kinds: tuple[str, ...] | None = None
    """Kinds of sites offered by the site variable; None offers all, an empty tuple omits the variable."""
    single_site: bool = False
    has_quantity_variable: bool = False
    single_quantity: str = ""
    """Query of the quantities of which one is selected; empty for the quantity variable of the sites."""
    single_variables: tuple[str, ...] = ()
    """Names of further variables and of their queries; of each one value is selected."""
    has_operator_variable: bool = False
    time: str = "now-24h"
    refresh: str = "30s"

    @property
    def has_site_variable(self) -> bool:
        """Whether the dashboard has a site variable."""
        return self.kinds != ()


def build_dashboard(board: DashboardSpec, language: Language) -> models.Dashboard:
    """Build the dashboard in one language."""
    dashboard = (
        Dashboard(translate(board.name, language))
        .uid(f"towntwin-{board.name.replace('_', '-')}-{language}")
        .description(translate(f"{board.name}_about", language))
        .tags(["towntwin", language])
        .timezone("Asia/Shanghai")
        .time(board.time, "now")
        .refresh(board.refresh)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_links_to_others(language))
        .annotation(_anomaly_annotations(board, language))
    )
    for variable in _variables(board, language):
        dashboard.with_variable(variable)
    numbers = count(1)
    for title, panels in board.rows:
        dashboard.with_row(Row(translate(title, language)).id(next(numbers)))
        for panel, width, height in panels:
            dashboard.with_panel(panel(language).id(next(numbers)).span(width).height(height))
    built = dashboard.build()
    built.schema_version = SCHEMA_VERSION
    for one in built.panels or []:
        if isinstance(one, models.Panel):
            one.plugin_version = PLUGIN_VERSION
    # In the controls menu, the builder's default, Grafana shows no links of type "dashboards".
    for link in built.links or []:
        link.placement = None  # type: ignore[assignment]  # the SDK reads it as optional
    for annotation in built.annotations.list_val or []:
        annotation.placement = None  # type: ignore[assignment]
    return built


def _variables(board: DashboardSpec, language: Language) -> Iterator[QueryVariable]:
    """Yield the dashboard's variables, each after those that it depends on."""
    for name, query in AREA_VARIABLES.items():
        yield _variable(name, raw_sql(query, language), language)
    if board.has_site_variable:
        yield _site_variable(board, language)
    if board.has_quantity_variable:
        yield _variable("quantity", raw_sql("quantities", language), language)
    if board.single_quantity:
        yield _single(_variable("quantity", raw_sql(board.single_quantity, language), language))
    for name in board.single_variables:
        yield _single(_variable(name, raw_sql(name, language), language))
    if board.has_operator_variable:
        two = models.VariableOption(text="2", value="2")  # the default of the service's setting
        operators = _variable("operators", raw_sql("operators", language), language)
        yield operators.multi(False).include_all(False).current(two)


def _variable(name: str, query: str, language: Language) -> QueryVariable:
    """Build a multi-value query variable that depends on those before it; "All" is selected at first."""
    return (
        QueryVariable(name)
        .label(translate(name, language))
        .datasource(datasource())
        .query(query)
        .definition(query)
        .multi(True)
        .include_all(True)
        .current(ALL_OPTION)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )


def _site_variable(board: DashboardSpec, language: Language) -> QueryVariable:
    kinds = ", ".join(f"'{one}'" for one in board.kinds or ())
    query = raw_sql("sites_of_kind", language, kinds=kinds) if kinds else raw_sql("sites", language)
    dashboard = _variable("site", query, language)
    if board.single_site:
        _single(dashboard)
    return dashboard


def _single(variable: QueryVariable) -> QueryVariable:
    """Let one value be selected; Grafana selects the first."""
    return variable.multi(False).include_all(False).current(models.VariableOption(text="", value=""))


def _links_to_others(language: Language) -> DashboardLink:
    """Build the drop-down of the other dashboards in this language; it keeps variables and time range."""
    return (
        DashboardLink(translate("others", language))
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["towntwin", language])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _anomaly_annotations(board: DashboardSpec, language: Language) -> AnnotationQuery:
    """Build annotations of anomalies: faint, and enabled only where one site is shown.

    A dashboard of one site shows that site's anomalies as regions. Elsewhere a reader may enable the
    beginnings of warnings and alarms as points: regions of many series cover the data of each other.
    """
    query = (
        "annotations_site"
        if board.single_site
        else "annotations_sites"
        if board.has_site_variable
        else "annotations_towns"
    )
    return (
        AnnotationQuery()
        .name(translate("anomalies", language))
        .datasource(datasource())
        .enable(board.single_site)
        .icon_color(ANNOTATION_COLOUR)
        .target(NamedQueryBuilder(query, language, ref_id="Anno"))
    )
