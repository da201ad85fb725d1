"""Dashboard of the alarm performance of operators as EEMUA 191 and ANSI/ISA-18.2-2016 measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import GraphDrawStyle

from analytics.incidents.performance import FLOOD_BEGINS_ABOVE
from dashboards import styling
from dashboards.dashboard_builder import DashboardSpec
from dashboards.panels import stacked_bars_panel, stat_panel, table_panel, time_series_panel
from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, table, timeseries

Limits = dict[str, tuple[tuple[float | None, str], ...]]
"""Of each number: (lower bound, colour), the first bound None."""
ACCEPTABLE_PER_DAY, MOST_PER_DAY = 150, 300  # of an operator, by both standards
LOAD_LIMITS: Limits = {
    "per_day": (
        (None, styling.GREEN),
        (ACCEPTABLE_PER_DAY, styling.ORANGE),
        (MOST_PER_DAY, styling.RED),
    ),
    "peak_load": ((None, styling.GREEN), (FLOOD_BEGINS_ABOVE + 0.01, styling.ORANGE)),
    "periods_above": ((None, styling.GREEN), (0.01, styling.ORANGE)),
    "flood_share": ((None, styling.GREEN), (0.01, styling.ORANGE)),
    "top_share": ((None, styling.GREY),),
}
"""No colour of the ten most frequent alarms' share: of few alarms ten are always the most."""
NUISANCE_LIMITS: Limits = {
    "chattering": ((None, styling.GREEN), (1, styling.ORANGE)),
    "stale": ((None, styling.GREEN), (1, styling.ORANGE), (5, styling.RED)),
    "standing": ((None, styling.GREEN), (1, styling.ORANGE), (5, styling.RED)),
}
SHARES = frozenset({"periods_above", "flood_share", "top_share"})
PRIORITY_COLOURS = {
    "priority_1": styling.RED,
    "priority_2": styling.ORANGE,
    "priority_3": styling.BLUE,
    "priority_4": styling.GREY,
}


def _limited(
    panel: stat.Panel, limits: dict[str, tuple[tuple[float | None, str], ...]], language: Language
) -> stat.Panel:
    """Give each number of a stat panel its name, its unit and its limits."""
    for name, steps in limits.items():
        shown = [
            styling.override_property("displayName", translate(name, language)),
            styling.override_property("unit", units.PercentUnit if name in SHARES else units.NoUnit),
            styling.override_property("decimals", 0 if limits is NUISANCE_LIMITS else 1),
            styling.threshold_property(*steps),
        ]
        panel.override_by_name(name, shown)
    return panel


def operator_load(language: Language) -> stat.Panel:
    """Stat panel of an operator's load: alarms per day, worst 10 min, floods, share of the top ten."""
    panel = _limited(stat_panel("load_now", "load_now", language), LOAD_LIMITS, language)
    return panel.override_by_name("top_share", [styling.override_property("noValue", "–")])


def nuisance_alarms(language: Language) -> stat.Panel:
    """Stat panel of the numbers of chattering, stale and standing alarms."""
    return _limited(stat_panel("nuisance_now", "nuisance_now", language), NUISANCE_LIMITS, language)


def standing_alarms(language: Language) -> table.Panel:
    """Table of the open incidents that are stale or standing, the most urgent first."""
    columns = "priority since lasting incident location work alarm_state incident_id site_id board_id"
    link = ("location", "site", "${__data.fields.board_id}")
    return table_panel(
        "alarms_standing", "alarms_standing", columns, language, link=link, to_console="incident"
    )


def load_over_time(language: Language) -> timeseries.Panel:
    """Time series of an operator's alarms in 10 min, with the limit above which a flood begins."""
    limit = styling.threshold_config((None, styling.GREY), (FLOOD_BEGINS_ABOVE, styling.RED))
    panel = time_series_panel("load_time", "load_over_time", language)
    return _bars(panel, language).thresholds(limit).thresholds_style(styling.dashed_threshold_lines())


def load_by_day(language: Language) -> timeseries.Panel:
    """Time series of an operator's alarms per day, with the standards' acceptable number."""
    limit = styling.threshold_config((None, styling.GREY), (ACCEPTABLE_PER_DAY, styling.RED))
    panel = time_series_panel("load_day", "load_by_day", language)
    return _bars(panel, language).thresholds(limit).thresholds_style(styling.dashed_threshold_lines())


def _bars(panel: timeseries.Panel, language: Language) -> timeseries.Panel:
    named = [styling.override_property("displayName", translate("load", language))]
    return (
        panel.draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .axis_label(translate("load", language))
        .min(0)
        .override_by_name("load", named)
    )


def floods(language: Language) -> table.Panel:
    """Table of the floods, the newest first."""
    return table_panel("floods", "floods", "peak_load since lasting sounded", language)


def top_alarms(language: Language) -> table.Panel:
    """Table of the ten alarms that sounded most often."""
    columns = "sounded of_all incident location site_id board_id"
    link = ("location", "site", "${__data.fields.board_id}")
    return table_panel("top_alarms", "top_alarms", columns, language, link=link)


def chattering_alarms(language: Language) -> table.Panel:
    """Table of the alarms that sounded three times or more within a minute."""
    columns = "priority sounded since incident location incident_id"
    return table_panel("chattering_alarms", "chattering_alarms", columns, language, to_console="incident")


def sounded_over_time(language: Language) -> timeseries.Panel:
    """Stacked bars of the alarms that sounded, by priority."""
    panel = stacked_bars_panel("sounded_time", "sounded_over_time", language)
    for name, colour in PRIORITY_COLOURS.items():
        named = styling.override_property("displayName", translate(name, language))
        panel.override_by_name(name, [named, styling.fixed_colour(colour)])
    return panel


def by_priority(language: Language) -> table.Panel:
    """Table of alarms and incidents by priority, and the times to acknowledge and to close them."""
    columns = "priority sounded of_all opened acknowledge_50 acknowledge_95 close_50 close_95"
    return table_panel("priorities", "priorities", columns, language)


BOARD = DashboardSpec(
    name="alarm_performance",
    kinds=(),
    has_operator_variable=True,
    time="now-7d",
    refresh="1m",
    rows=(
        (
            "row_load",
            (
                (operator_load, 15, 4),
                (nuisance_alarms, 9, 4),
                (standing_alarms, 24, 8),
                (load_over_time, 12, 9),
                (load_by_day, 12, 9),
            ),
        ),
        (
            "row_alarms",
            (
                (floods, 12, 8),
                (top_alarms, 12, 8),
                (by_priority, 24, 7),
                (chattering_alarms, 24, 7),
                (sounded_over_time, 24, 9),
            ),
        ),
    ),
)
