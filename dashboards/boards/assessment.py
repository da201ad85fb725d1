"""Assessment, for those who answer for a town: class against target, capture, ranking, trend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import looks
from dashboards.board import Board
from dashboards.kinds import drawn, listed, states

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import statetimeline, table, timeseries

    from dashboards.words import Language


def month(language: Language) -> table.Panel:
    """Class against target in the newest month."""
    columns = "month town site_id site class target met items main"
    return listed("classes_month", "classes_month", columns, language, link=("site", "river-section"))


def year(language: Language) -> table.Panel:
    """Months that kept the target."""
    columns = "town site_id site months met_months best class"
    return listed("classes_year", "classes_year", columns, language, link=("site", "river-section"))


def over_time(language: Language) -> statetimeline.Panel:
    """The class of each section, month by month."""
    return states("classes_time", "classes_time", looks.scale("class", looks.CLASSES, language), language)


def ranking(language: Language) -> table.Panel:
    """The towns by their index."""
    return listed("ranking", "ranking", "place town index items month", language)


def index(language: Language) -> timeseries.Panel:
    """The index, month by month."""
    return drawn("index_time", "assessed_time", language, kind="index").min(0).max(100)


def capture(language: Language) -> timeseries.Panel:
    """The capture, month by month."""
    return (
        drawn("capture_time", "assessed_time", language, kind="capture").unit(units.PercentUnit).min(0).max(1)
    )


def congestion(language: Language) -> table.Panel:
    """The road links of the newest month."""
    return listed("congestion_month", "congestion_month", "town link level tti kmh free delay", language)


BOARD = Board(
    name="assessment",
    kinds=(),
    time="now-1y",
    refresh="15m",
    rows=(
        ("row_month", ((month, 16, 11), (ranking, 8, 11), (congestion, 24, 9))),
        ("row_year", ((over_time, 24, 12), (year, 12, 10), (index, 12, 10), (capture, 24, 8))),
    ),
)
