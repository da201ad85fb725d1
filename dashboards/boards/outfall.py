"""Outfalls, for whoever keeps an area free of direct discharge: what flows though it has not rained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from dashboards import looks
from dashboards.board import Board
from dashboards.boards.river_section import anomalies, rain
from dashboards.kinds import drawn, figure, listed

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, table, timeseries

    from dashboards.words import Language


def wrong(language: Language) -> stat.Panel:
    """How many outfalls have an open anomaly."""
    return figure("outfalls_wrong", "outfalls_wrong", language).thresholds(
        looks.thresholds((None, looks.GREEN), (1, looks.ORANGE), (3, looks.RED))
    )


def outfalls(language: Language) -> table.Panel:
    """Each outfall now, worst first."""
    return listed(
        "outfalls", "outfalls_now", "site_id town site discharge flag measured severity reason", language
    )


def dry(language: Language) -> table.Panel:
    """What flowed in dry weather."""
    return listed("dry", "dry_weather", "site_id town site dry_hours flowing_hours volume most", language)


def discharge(language: Language) -> timeseries.Panel:
    """The discharge of the chosen outfalls."""
    panel = drawn("discharge_rain", "values_of", language, quantity="discharge")
    return panel.unit(units.CubicMetersPerSecond).min(0)


def ammonia(language: Language) -> timeseries.Panel:
    """Ammonia nitrogen, with the limits of GB 3838 class III and V."""
    panel = drawn("outfall_ammonia", "values_of", language, quantity="ammonia_nitrogen")
    limits = looks.thresholds((None, looks.GREEN), (1, looks.CLASSES[3]), (2, looks.CLASSES[5]))
    return panel.unit("suffix: mg/L").min(0).thresholds(limits).thresholds_style(looks.lines())


def conductivity(language: Language) -> timeseries.Panel:
    """Conductivity of the chosen outfalls."""
    panel = drawn("outfall_conductivity", "values_of", language, quantity="conductivity")
    return panel.unit("suffix: µS/cm").min(0)


BOARD = Board(
    name="outfall",
    kinds=("outfall",),
    time="now-7d",
    rows=(
        ("row_now", ((wrong, 4, 9), (outfalls, 20, 9))),
        (
            "row_course",
            (
                (dry, 24, 8),
                (discharge, 24, 8),
                (rain, 24, 6),
                (ammonia, 12, 8),
                (conductivity, 12, 8),
                (anomalies, 24, 9),
            ),
        ),
    ),
)
