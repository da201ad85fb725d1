"""Devices and data quality, for the technician: which device needs a visit, which data can't be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import barchart
from grafana_foundation_sdk.models import common as common_models

from dashboards import looks
from dashboards.board import Board
from dashboards.boards.areas import capture
from dashboards.kinds import figure, listed, stacked
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, table, timeseries


def counts(language: Language) -> stat.Panel:
    """How many devices have which trouble."""
    panel = figure("counts", "device_counts", language)
    for name in ("offline", "low_battery", "weak_signal", "behind", "wrong_clock"):
        shown = looks.prop("displayName", word(name, language))
        panel.override_by_name(name, [shown, looks.steps((None, looks.GREEN), (1, looks.ORANGE))])
    return panel


def devices(language: Language) -> table.Panel:
    """The devices, those heard of least lately first."""
    columns = "device town online battery signal spool evicted clock measured received"
    return listed("device_list", "devices", columns, language)


def rules(language: Language) -> barchart.Panel:
    """Anomalies by the rule that found them."""
    panel = (
        barchart.Panel()
        .title(word("rules_share", language))
        .description(word("rules_share_about", language))
        .datasource(datasource())
        .with_target(Query("rules_share", language))
        .x_field("rule")
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .stacking(common_models.StackingMode.NORMAL)
        .decimals(0)
    )
    panel.override_by_name("rule", [looks.prop("displayName", word("rule", language))])
    for name, colour in looks.SEVERITIES.items():
        panel.override_by_name(name, [looks.prop("displayName", word(name, language)), looks.fixed(colour)])
    return panel


def rules_begun(language: Language) -> timeseries.Panel:
    """Anomalies by rule over time."""
    return stacked("rules_begun", "rules_begun", language)


def good_share(language: Language) -> table.Panel:
    """The series that were good least."""
    return listed("good_share", "good_share", "site_id site quantity readings good capture", language)


BOARD = Board(
    name="devices",
    kinds=(),
    time="now-7d",
    refresh="1m",
    rows=(
        ("row_devices", ((counts, 24, 4), (devices, 24, 11))),
        (
            "row_quality",
            ((rules, 12, 9), (rules_begun, 12, 9), (good_share, 12, 10), (capture, 12, 10)),
        ),
    ),
)
