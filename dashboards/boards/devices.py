"""Dashboard of devices and data quality, for the technician: offline devices, batteries, flagged series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import common as common_models

from dashboards import styling
from dashboards.boards.areas import capture_by_town
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import bar_chart_panel, stacked_bars_panel, stat_panel, table_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import barchart, stat, table, timeseries


def trouble_counts(language: Language) -> stat.Panel:
    """Stat panel of the number of devices by fault: offline, low battery, weak signal, behind, clock."""
    panel = stat_panel("counts", "device_counts", language)
    for name in ("offline", "low_battery", "weak_signal", "behind", "wrong_clock"):
        name_override = styling.override_property("displayName", translate(name, language))
        panel.override_by_name(
            name, [name_override, styling.threshold_property((None, styling.GREEN), (1, styling.ORANGE))]
        )
    return panel


def device_table(language: Language) -> table.Panel:
    """Table of the devices, longest unheard first."""
    columns = "online received device town battery signal spool evicted clock"
    return table_panel("device_list", "devices", columns, language)


def anomalies_by_rule(language: Language) -> barchart.Panel:
    """Bar chart of the number of anomalies by the rule that detected them."""
    panel = bar_chart_panel("rules_share", "rules_share", "rule", language)
    panel.orientation(common_models.VizOrientation.HORIZONTAL)
    for name, colour in styling.SEVERITY_COLOURS.items():
        panel.override_by_name(
            name,
            [
                styling.override_property("displayName", translate(name, language)),
                styling.fixed_colour(colour),
            ],
        )
    return panel


def anomalies_by_rule_over_time(language: Language) -> timeseries.Panel:
    """Stacked bars of the anomalies by rule over time."""
    return stacked_bars_panel("rules_begun", "rules_begun", language)


def least_good_series(language: Language) -> table.Panel:
    """Table of the series with the smallest share of good readings."""
    return table_panel("good_share", "good_share", "good capture location quantity site_id", language)


BOARD = DashboardSpec(
    name="devices",
    kinds=(),
    time="now-7d",
    refresh="1m",
    rows=(
        ("row_devices", ((trouble_counts, 24, 4), (device_table, 24, 11))),
        (
            "row_quality",
            (
                (anomalies_by_rule, 12, 9),
                (anomalies_by_rule_over_time, 12, 9),
                (least_good_series, 12, 10),
                (capture_by_town, 12, 10),
            ),
        ),
    ),
)
