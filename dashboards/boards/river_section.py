"""River section, for the water engineer: what it measures, how far to believe it, its class and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards import looks
from dashboards.board import Board
from dashboards.boards.town_overview import band
from dashboards.kinds import drawn, figures, listed, states
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries


def class_now(language: Language) -> stat.Panel:
    """Class, target, and of how many items."""
    return figures("river_class", "river_class", "class target met items", language)


def items(language: Language) -> table.Panel:
    """What each item was."""
    return listed("river_items", "river_items", "quantity mean class exceeds readings", language)


def latest(language: Language) -> table.Panel:
    """The newest reading of each quantity."""
    columns = "quantity value flag expected lower upper measured"
    return listed("river_latest", "river_latest", columns, language)


def values(language: Language) -> timeseries.Panel:
    """The chosen quantities."""
    return drawn("river_values", "river_values", language)


def flagged(language: Language) -> statetimeline.Panel:
    """When each quantity was flagged."""
    words = looks.mapped(
        {"1": (word("good", language), looks.GREEN), "3": (f"△ {word('flagged', language)}", looks.ORANGE)}
    )
    return states("river_flags", "river_flags", words, language)


def rain(language: Language) -> timeseries.Panel:
    """Rain at the gauges of the town."""
    return drawn("rain", "rain_near", language).unit("suffix: mm/h").min(0).fill_opacity(40)


def neighbours(language: Language) -> timeseries.Panel:
    """The same quantity upstream and downstream."""
    return drawn("neighbours", "river_neighbours", language)


def anomalies(language: Language) -> table.Panel:
    """Anomalies at the chosen sites."""
    columns = "since until severity state site_id site quantity rule reason score"
    return listed("listed", "anomalies_listed", columns, language).no_value(word("fine", language))


BOARD = Board(
    name="river_section",
    kinds=("river_section", "lake_section"),
    one_site=True,
    quantities=True,
    rows=(
        ("row_class", ((class_now, 8, 9), (items, 8, 9), (latest, 8, 9))),
        (
            "row_course",
            (
                (band, 24, 9),
                (values, 24, 9),
                (flagged, 24, 8),
                (rain, 12, 7),
                (neighbours, 12, 7),
                (anomalies, 24, 9),
            ),
        ),
    ),
)
