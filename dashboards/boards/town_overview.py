"""Overview dashboard of a town, for the duty officer: open anomalies, map, river classes, congestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.columns import DURATION
from dashboards.dashboard_builder import DashboardSpec
from dashboards.maps import map_panel
from dashboards.panels import (
    stacked_bars_panel,
    stat_panel,
    table_panel,
    time_series_panel,
    unit_suffix,
    with_unit_axes,
)
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import geomap, stat, table, timeseries


def open_by_severity(language: Language) -> stat.Panel:
    """Stat panel of the number of open anomalies by severity."""
    panel = stat_panel("open_now", "open_by_severity", language)
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
        .unit(DURATION)
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
    """Table of the open anomalies, worst first, with what to do; if there are none, a row that says so."""
    columns = "severity since lasting location reason action site_id board_id"
    link = ("location", "site", "${__data.fields.board_id}")
    return table_panel("wrong", "wrong_now", columns, language, link=link)


def open_incident_table(language: Language) -> table.Panel:
    """Table of the open incidents, most urgent first, with the state of the work and of the alarm."""
    columns = "priority since lasting incident location work alarm_state incident_id site_id board_id"
    link = ("location", "site", "${__data.fields.board_id}")
    return table_panel("incidents", "open_incidents", columns, language, link=link, to_console="incident")


def site_map(language: Language) -> geomap.Panel:
    """Map of the sites, coloured by their worst open anomaly."""
    return map_panel("map", "map", "site", language, more="reason")


def section_classes(language: Language) -> table.Panel:
    """Table of the class of each river section."""
    columns = "class_colour class target_colour target met location worst items month site_id"
    link = ("location", "site", "river-section")
    return table_panel("classes", "section_classes", columns, language, link=link)


def congestion_table(language: Language) -> table.Panel:
    """Table of the congestion of each road link and direction."""
    columns = "level_colour level link section ratio kmh free measured site_id"
    return table_panel("congestion", "link_congestion", columns, language, link=("link", "site", "road"))


def latest_readings(language: Language) -> table.Panel:
    """Table of the newest reading of each series, flagged ones first."""
    return table_panel("latest", "latest_water", "flag location quantity value expected measured", language)


def chosen_sites(language: Language) -> timeseries.Panel:
    """Time series of one quantity at the selected sites, repeated for each selected quantity."""
    panel = with_unit_axes(time_series_panel("series", "series_values", language), language)
    return panel.repeat("quantity").repeat_direction("h").max_per_row(2)


def expected_band(language: Language) -> timeseries.Panel:
    """Time series of the worst of the selected series, with its name, expected band and flags."""
    return band_panel("band", language)


def band_panel(key: str, language: Language) -> timeseries.Panel:
    """Build a time series of the worst of the selected series, with its expected band and flags."""
    panel = with_unit_axes(time_series_panel(key, "series_band", language), language)
    dashed = styling.override_property("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})
    return panel.override_by_regexp(f"/^{translate('expected', language)} /", [dashed])


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
        "readings",
        [
            styling.override_property("displayName", translate("per_hour", language)),
            styling.override_property("unit", unit_suffix("/h")),
        ],
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
                (open_incident_table, 24, 8),
                (open_anomaly_table, 24, 10),
                (site_map, 12, 11),
                (expected_band, 12, 11),
            ),
        ),
        ("row_water", ((section_classes, 24, 8), (latest_readings, 24, 8))),
        ("row_traffic", ((congestion_table, 24, 8),)),
        ("row_data", ((anomalies_over_time, 12, 8), (readings_stored, 12, 8))),
        ("row_series", ((chosen_sites, 12, 8),)),
    ),
)
