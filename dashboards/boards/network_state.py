"""Dashboard of the twin: the state of each node and link with its uncertainty, traces, kept scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import xychart
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import xychart as xychart_models

from dashboards import styling
from dashboards.columns import DURATION
from dashboards.dashboard_builder import DashboardSpec
from dashboards.maps import state_map_panel
from dashboards.panels import legend, stat_panel, table_panel, with_title
from dashboards.postgres_query import NamedQueryBuilder
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import geomap, stat, table

STATE_LATE_S, STATE_OLD_S = 1800, 7200  # a state is stored every ten minutes by default


def state_counts(language: Language) -> stat.Panel:
    """Stat panel of the nodes that are measured and estimated, the links, and the age of the state."""
    panel = stat_panel("state_counts", "state_counts", language)
    for name in ("nodes_measured", "nodes_estimated", "links_estimated"):
        panel.override_by_name(name, [styling.override_property("displayName", translate(name, language))])
    properties = [
        styling.override_property("displayName", translate("state_age", language)),
        styling.override_property("unit", DURATION),
        styling.threshold_property(
            (None, styling.GREEN), (STATE_LATE_S, styling.ORANGE), (STATE_OLD_S, styling.RED)
        ),
    ]
    return panel.override_by_name("state_age", properties)


def state_map(language: Language) -> geomap.Panel:
    """Map of the nodes with their values and standard deviations."""
    return state_map_panel("state_map", "state_map", language)


def node_table(language: Language) -> table.Panel:
    """Table of the nodes: estimate and its standard deviation beside the newest reading and its age."""
    columns = "source location estimated deviation measured_value expected flag reading_age"
    return table_panel("state_nodes", "state_nodes", columns, language)


def link_table(language: Language) -> table.Panel:
    """Table of the links: estimate and an upper bound of its standard deviation."""
    return table_panel("state_links", "state_links", "deviation estimated link section", language)


def source_table(language: Language) -> table.Panel:
    """Table of the likeliest sources of the open incidents that were traced."""
    columns = "priority incident location source_place probability released_from released_to incident_id"
    return table_panel("trace_sources", "trace_sources", columns, language, to_console="incident")


def arrival_table(language: Language) -> table.Panel:
    """Table of the arrivals at the sections below, with their bands."""
    columns = "priority incident section_below arrival arrival_from arrival_to probability incident_id"
    return table_panel("trace_arrivals", "trace_arrivals", columns, language, to_console="incident")


def scenario_table(language: Language) -> table.Panel:
    """Table of the kept scenarios."""
    columns = "scenario who computed begins changes found scenario_id"
    return table_panel("scenario_list", "scenario_list", columns, language)


def scenario_curves(language: Language) -> xychart.Panel:
    """XY chart of the hours at one place: without the changes, with them, and of a second scenario.

    The hours are those of the scenario, which may lie in the past or reach beyond now: no range of time fits.
    """
    partition = models.DataTransformerConfig(
        id_val="partitionByValues", options={"fields": ["curve"], "keepFields": False}
    )
    panel = (
        with_title(xychart.Panel(), "scenario_curves", language)
        .with_target(NamedQueryBuilder("scenario_curves", language))
        .with_transformation(partition)
        .mapping(xychart_models.SeriesMapping.AUTO)
        .show(xychart_models.XYShowMode.LINES)
        .legend(legend())
    )
    for name in ("hours", "scenario_value"):
        panel.override_by_name(
            name, [styling.override_property("custom.axisLabel", translate(name, language))]
        )
    return panel


def scenario_places(language: Language) -> table.Panel:
    """Table of the largest values at each place, side by side."""
    columns = "scenario_place without_changes chosen_scenario compared_scenario"
    return table_panel("scenario_places", "scenario_places", columns, language)


BOARD = DashboardSpec(
    name="network_state",
    kinds=(),
    single_quantity="estimated_quantities",
    single_variables=("scenario", "second_scenario", "scenario_place"),
    rows=(
        (
            "row_now",
            (
                (state_counts, 24, 4),
                (state_map, 24, 13),
                (node_table, 24, 12),
                (link_table, 24, 10),
            ),
        ),
        ("row_trace", ((source_table, 24, 8), (arrival_table, 24, 8))),
        ("row_scenarios", ((scenario_table, 24, 9), (scenario_curves, 24, 11), (scenario_places, 24, 9))),
    ),
)
