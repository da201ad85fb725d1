"""Town overview, for the duty officer: what is wrong now, where, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import units

from dashboards import looks
from dashboards.board import Board
from dashboards.kinds import drawn, figure, listed, places, stacked
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import geomap, stat, table, timeseries


def open_by_severity(language: Language) -> stat.Panel:
    """How many anomalies are open, by severity."""
    panel = figure("open_now", "open_by_severity", language).color_mode(
        common_models.BigValueColorMode.BACKGROUND
    )
    for name, colour in looks.SEVERITIES.items():
        shown = looks.prop("displayName", word(name, language))
        panel.override_by_name(name, [shown, looks.steps((None, looks.GREY), (1, colour))])
    return panel


def silent_devices(language: Language) -> stat.Panel:
    """How many devices are silent."""
    return figure("silent", "silent_devices", language).thresholds(
        looks.thresholds((None, looks.GREEN), (1, looks.ORANGE), (5, looks.RED))
    )


def newest_age(language: Language) -> stat.Panel:
    """How long ago a reading last came."""
    return (
        figure("age", "newest_age", language)
        .unit(units.Seconds)
        .thresholds(looks.thresholds((None, looks.GREEN), (900, looks.ORANGE), (3600, looks.RED)))
    )


def dead_letters(language: Language) -> stat.Panel:
    """How many messages could not be read."""
    return figure("letters", "dead_letters", language).thresholds(
        looks.thresholds((None, looks.GREEN), (1, looks.ORANGE))
    )


def wrong_now(language: Language) -> table.Panel:
    """The list of what is wrong, worst first."""
    columns = "since severity town site quantity reason score site_id board_id"
    panel = listed("wrong", "wrong_now", columns, language, link=("site", "${__data.fields.board_id}"))
    return panel.no_value(word("fine", language))


def where(language: Language) -> geomap.Panel:
    """The sites on a map, coloured by their worst open anomaly."""
    return places("map", "map", "site", language, more="reason")


def classes(language: Language) -> table.Panel:
    """The class of each river section."""
    columns = "site_id site class target met items month worst"
    return listed("classes", "section_classes", columns, language, link=("site", "river-section"))


def congestion(language: Language) -> table.Panel:
    """The congestion of each road link."""
    columns = "link site site_id level ratio kmh free measured"
    return listed("congestion", "link_congestion", columns, language, link=("site", "road"))


def latest(language: Language) -> table.Panel:
    """The newest reading of each series, with its flag."""
    return listed("latest", "latest_water", "site quantity value flag expected measured", language)


def chosen(language: Language) -> timeseries.Panel:
    """The chosen series."""
    return drawn("series", "series_values", language)


def band(language: Language) -> timeseries.Panel:
    """The worst of the chosen series, with its band and flags."""
    panel = drawn("band", "series_band", language)
    hidden = looks.prop("custom.lineWidth", 0)
    dressed = {
        "measured": [looks.prop("custom.lineWidth", 2)],
        "expected": [looks.prop("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})],
        "lower": [hidden],
        "upper": [hidden, looks.prop("custom.fillBelowTo", word("lower", language))],
        "flagged": [
            looks.prop("custom.drawStyle", "points"),
            looks.prop("custom.pointSize", 8),
            looks.fixed(looks.RED),
        ],
    }
    for name, properties in dressed.items():
        panel.override_by_name(name, [looks.prop("displayName", word(name, language)), *properties])
    return panel


def begun(language: Language) -> timeseries.Panel:
    """How many anomalies began when."""
    panel = stacked("begun", "anomalies_begun", language)
    for name, colour in looks.SEVERITIES.items():
        shown = looks.prop("displayName", word(name, language))
        panel.override_by_name(name, [shown, looks.fixed(colour)])
    return panel


def stored(language: Language) -> timeseries.Panel:
    """Readings an hour, and how many of them are good."""
    panel = drawn("stored", "readings_stored", language)
    panel.override_by_name("readings", [looks.prop("displayName", word("readings", language))])
    return panel.override_by_name("good", good(language))


def good(language: Language) -> looks.Properties:
    """A share of good readings, on an axis of its own."""
    return [
        looks.prop("displayName", word("good", language)),
        looks.prop("unit", units.PercentUnit),
        looks.prop("custom.axisPlacement", "right"),
        looks.prop("min", 0),
        looks.prop("max", 1),
    ]


BOARD = Board(
    name="town_overview",
    quantities=True,
    refresh="10s",
    rows=(
        (
            "row_now",
            (
                (open_by_severity, 9, 4),
                (silent_devices, 5, 4),
                (newest_age, 5, 4),
                (dead_letters, 5, 4),
                (wrong_now, 14, 11),
                (where, 10, 11),
            ),
        ),
        ("row_water", ((classes, 14, 9), (latest, 10, 9), (band, 24, 9), (chosen, 24, 9))),
        ("row_traffic", ((congestion, 24, 8),)),
        ("row_data", ((begun, 12, 8), (stored, 12, 8))),
    ),
)
