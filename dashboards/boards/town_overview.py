"""Overview dashboard of a town, for the duty officer: open anomalies, map, river classes, congestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import map_panel, stacked_bars_panel, stat_panel, table_panel, time_series_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import geomap, stat, table, timeseries


def open_by_severity(language: Language) -> stat.Panel:
    """Stat panel of the number of open anomalies by severity."""
    panel = stat_panel("open_now", "open_by_severity", language).color_mode(
        common_models.BigValueColorMode.BACKGROUND
    )
    for name, colour in styling.SEVERITY_COLOURS.items():
        name_override = styling.override_property("displayName", translate(name, language))
        panel.override_by_name(
            name, [name_override, styling.threshold_property((None, styling.GREY), (1, colour))]
        )
    return panel


def silent_devices(language: Language) -> stat.Panel:
    """Stat panel of the number of silent devices."""
    return stat_panel("silent", "silent_devices", language).thresholds(
        styling.threshold_config((None, styling.GREEN), (1, styling.ORANGE), (5, styling.RED))
    )


def newest_age(language: Language) -> stat.Panel:
    """Stat panel of the age of the newest reading."""
    return (
        stat_panel("age", "newest_age", language)
        .unit(units.Seconds)
        .thresholds(
            styling.threshold_config((None, styling.GREEN), (900, styling.ORANGE), (3600, styling.RED))
        )
    )


def dead_letters(language: Language) -> stat.Panel:
    """Stat panel of the number of dead letters."""
    return stat_panel("letters", "dead_letters", language).thresholds(
        styling.threshold_config((None, styling.GREEN), (1, styling.ORANGE))
    )


def open_anomaly_table(language: Language) -> table.Panel:
    """Table of the open anomalies, worst first."""
    columns = "since severity town site quantity reason score site_id board_id"
    panel = table_panel("wrong", "wrong_now", columns, language, link=("site", "${__data.fields.board_id}"))
    return panel.no_value(translate("fine", language))


def site_map(language: Language) -> geomap.Panel:
    """Map of the sites, coloured by their worst open anomaly."""
    return map_panel("map", "map", "site", language, more="reason")


def section_classes(language: Language) -> table.Panel:
    """Table of the class of each river section."""
    columns = "site_id site class target met items month worst"
    return table_panel("classes", "section_classes", columns, language, link=("site", "river-section"))


def congestion_table(language: Language) -> table.Panel:
    """Table of the congestion of each road link."""
    columns = "link site site_id level ratio kmh free measured"
    return table_panel("congestion", "link_congestion", columns, language, link=("site", "road"))


def latest_readings(language: Language) -> table.Panel:
    """Table of the newest reading of each series, with its flag."""
    return table_panel("latest", "latest_water", "site quantity value flag expected measured", language)


def chosen_series(language: Language) -> timeseries.Panel:
    """Time series of the selected series."""
    return time_series_panel("series", "series_values", language)


def expected_band(language: Language) -> timeseries.Panel:
    """Time series of the worst of the selected series, with its expected band and flags."""
    panel = time_series_panel("band", "series_band", language)
    hidden = styling.override_property("custom.lineWidth", 0)
    properties_by_field = {
        "measured": [styling.override_property("custom.lineWidth", 2)],
        "expected": [styling.override_property("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})],
        "lower": [hidden],
        "upper": [hidden, styling.override_property("custom.fillBelowTo", translate("lower", language))],
        "flagged": [
            styling.override_property("custom.drawStyle", "points"),
            styling.override_property("custom.pointSize", 8),
            styling.fixed_colour(styling.RED),
        ],
    }
    for name, properties in properties_by_field.items():
        panel.override_by_name(
            name, [styling.override_property("displayName", translate(name, language)), *properties]
        )
    return panel


def anomalies_over_time(language: Language) -> timeseries.Panel:
    """Stacked bars of the anomalies by start time and severity."""
    panel = stacked_bars_panel("begun", "anomalies_begun", language)
    for name, colour in styling.SEVERITY_COLOURS.items():
        name_override = styling.override_property("displayName", translate(name, language))
        panel.override_by_name(name, [name_override, styling.fixed_colour(colour)])
    return panel


def readings_stored(language: Language) -> timeseries.Panel:
    """Time series of the readings per hour and the share of good ones."""
    panel = time_series_panel("stored", "readings_stored", language)
    panel.override_by_name(
        "readings", [styling.override_property("displayName", translate("readings", language))]
    )
    return panel.override_by_name("good", good_share_override(language))


def good_share_override(language: Language) -> styling.Properties:
    """Return the field override that draws the share of good readings on its own axis."""
    return [
        styling.override_property("displayName", translate("good", language)),
        styling.override_property("unit", units.PercentUnit),
        styling.override_property("custom.axisPlacement", "right"),
        styling.override_property("min", 0),
        styling.override_property("max", 1),
    ]


BOARD = DashboardSpec(
    name="town_overview",
    has_quantity_variable=True,
    refresh="10s",
    rows=(
        (
            "row_now",
            (
                (open_by_severity, 9, 4),
                (silent_devices, 5, 4),
                (newest_age, 5, 4),
                (dead_letters, 5, 4),
                (open_anomaly_table, 14, 11),
                (site_map, 10, 11),
            ),
        ),
        (
            "row_water",
            (
                (section_classes, 14, 9),
                (latest_readings, 10, 9),
                (expected_band, 24, 9),
                (chosen_series, 24, 9),
            ),
        ),
        ("row_traffic", ((congestion_table, 24, 8),)),
        ("row_data", ((anomalies_over_time, 12, 8), (readings_stored, 12, 8))),
    ),
)
