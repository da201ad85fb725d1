"""Dashboard of the platform itself, for its operator: ingest lag, processes, dead letters, table sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.boards.town_overview import good_share_override
from dashboards.columns import DURATION
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import (
    bar_gauge_panel,
    stacked_bars_panel,
    stat_panel,
    table_panel,
    time_series_panel,
    unit_suffix,
)
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries

STATUS_UNITS = {"age": DURATION, "database": units.BytesIEC}
STATUS_THRESHOLDS = {
    "age": ((None, styling.GREEN), (900, styling.ORANGE), (3600, styling.RED)),
    "rollups_due": ((None, styling.GREEN), (10_000, styling.ORANGE)),
    "rejudge_due": ((None, styling.GREEN), (1000, styling.ORANGE)),
    "letters_waiting": ((None, styling.GREEN), (1, styling.ORANGE)),
    "database": ((None, styling.GREY),),
}


def platform_status(language: Language) -> stat.Panel:
    """Stat panel of the ingest lag, the backlogs and the database size."""
    panel = stat_panel("platform_now", "platform_now", language)
    for name, limits in STATUS_THRESHOLDS.items():
        properties = [
            styling.override_property("displayName", translate(name, language)),
            styling.override_property("unit", STATUS_UNITS.get(name, units.NoUnit)),
            styling.threshold_property(*limits),
        ]
        panel.override_by_name(name, properties)
    return panel


def lag_by_town(language: Language) -> table.Panel:
    """Table of the ingest lag by town."""
    return table_panel("delays", "delays", "age town delay_50 delay_95", language)


def readings_per_second(language: Language) -> timeseries.Panel:
    """Time series of the readings per second and the share of good ones."""
    panel = time_series_panel("rate", "rate", language).min(0)
    panel.override_by_name(
        "rate",
        [
            styling.override_property("displayName", translate("rate_short", language)),
            styling.override_property("unit", unit_suffix("/s")),
        ],
    )
    return panel.override_by_name("good", good_share_override(language))


def dead_letters_by_reason(language: Language) -> timeseries.Panel:
    """Stacked bars of the dead letters by reason."""
    return stacked_bars_panel("letters_begun", "letters_begun", language)


def newest_dead_letters(language: Language) -> table.Panel:
    """Table of the newest dead letters."""
    return table_panel(
        "letters_newest", "letters_newest", "received state letter_reason detail topic replays", language
    )


def table_sizes(language: Language) -> bargauge.Panel:
    """Bar gauge of the largest database tables."""
    return bar_gauge_panel("table_sizes", "table_sizes", "size", language).unit(units.BytesIEC).min(0)


def process_table(language: Language) -> table.Panel:
    """Table of the platform's processes, failing ones first."""
    columns = "health process why beat_age success_age backlog_age restarts instance"
    return table_panel("processes", "processes", columns, language)


def shard_owners(language: Language) -> table.Panel:
    """Table of the shards and their epochs of ownership."""
    return table_panel("shards", "shards", "shard epoch taken saved", language)


BOARD = DashboardSpec(
    name="platform",
    kinds=(),
    rows=(
        (
            "row_flow",
            (
                (platform_status, 24, 4),
                (process_table, 24, 7),
                (newest_dead_letters, 24, 8),
                (lag_by_town, 12, 9),
                (readings_per_second, 12, 9),
            ),
        ),
        ("row_kept", ((dead_letters_by_reason, 12, 9), (shard_owners, 12, 9), (table_sizes, 24, 12))),
    ),
)
