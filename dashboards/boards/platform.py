"""Platform, for whoever runs it: do readings come in, are they judged and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import looks
from dashboards.board import Board
from dashboards.boards.town_overview import good
from dashboards.kinds import drawn, figure, gauges, listed, stacked
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries

LIMITS = {
    "age": ((None, looks.GREEN), (900, looks.ORANGE), (3600, looks.RED)),
    "rollups_due": ((None, looks.GREEN), (10_000, looks.ORANGE)),
    "rejudge_due": ((None, looks.GREEN), (1000, looks.ORANGE)),
    "letters_waiting": ((None, looks.GREEN), (1, looks.ORANGE)),
    "database": ((None, looks.GREY),),
}


def now(language: Language) -> stat.Panel:
    """How far behind, what waits, how large."""
    panel = figure("platform_now", "platform_now", language)
    for name, limits in LIMITS.items():
        panel.override_by_name(name, [*looks.column(name, language), looks.steps(*limits)])
    return panel


def delays(language: Language) -> table.Panel:
    """Lag by town."""
    return listed("delays", "delays", "town age delay_50 delay_95", language)


def rate(language: Language) -> timeseries.Panel:
    """Readings a second."""
    panel = drawn("rate", "rate", language).min(0)
    panel.override_by_name("rate", [looks.prop("displayName", word("rate_short", language))])
    return panel.override_by_name("good", good(language))


def letters(language: Language) -> timeseries.Panel:
    """Dead letters by reason."""
    return stacked("letters_begun", "letters_begun", language)


def newest_letters(language: Language) -> table.Panel:
    """The newest dead letters."""
    return listed("letters_newest", "letters_newest", "received topic reason detail state replays", language)


def sizes(language: Language) -> bargauge.Panel:
    """The largest tables."""
    return gauges("table_sizes", "table_sizes", "size", language).unit(units.BytesIEC).min(0)


def processes(language: Language) -> table.Panel:
    """The platform's own processes, those that do not work first."""
    columns = "process instance host health why beat_age moved_age success_age backlog_age restarts"
    return listed("processes", "processes", columns, language)


def shards(language: Language) -> table.Panel:
    """Who judges what."""
    return listed("shards", "shards", "shard epoch taken saved", language)


BOARD = Board(
    name="platform",
    kinds=(),
    rows=(
        ("row_flow", ((now, 24, 4), (processes, 24, 7), (delays, 8, 9), (rate, 16, 9))),
        ("row_kept", ((letters, 12, 9), (newest_letters, 12, 9), (sizes, 12, 9), (shards, 12, 9))),
    ),
)
