"""What is measured: newest readings, chosen series, the worst with its band, speeds, devices."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.models import units

from dashboards import common
from dashboards.postgres_query import Query, datasource
from dashboards.words import Language, word


def latest(language: Language) -> table.Panel:
    """The newest reading of each series, with its flag."""
    panel = listed("latest", "latest_water", language)
    columns = dict(common.named(language, "site", "quantity", "value", "flag", "expected", "measured"))
    columns["flag"] += [
        common.prop("mappings", [common.flags(language)]),
        common.prop("custom.cellOptions", {"type": "color-text"}),
    ]
    columns["measured"] += [common.prop("unit", "dateTimeAsLocal")]
    for name in ("value", "expected"):
        columns[name] += [common.prop("decimals", 2)]
    for name, properties in columns.items():
        panel.override_by_name(name, properties)
    return panel


def speed(language: Language) -> bargauge.Panel:
    """Speeds of the road sections over what this hour expects."""
    return (
        bargauge.Panel()
        .title(word("speed", language))
        .description(word("speed_about", language))
        .datasource(datasource())
        .with_target(Query("speed_share", language))
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(True).fields("/share/"))
        .unit(units.PercentUnit)
        .min(0)
        .max(1.5)
        .thresholds(common.thresholds((None, common.RED), (0.5, common.ORANGE), (0.75, common.GREEN)))
    )


def chosen(language: Language) -> timeseries.Panel:
    """The chosen series."""
    return drawn("series", "series_values", language)


def band(language: Language) -> timeseries.Panel:
    """The worst of the chosen series, with its band and flags."""
    panel = drawn("band", "series_band", language)
    hidden = common.prop("custom.lineWidth", 0)
    looks = {
        "measured": [common.prop("custom.lineWidth", 2)],
        "expected": [common.prop("custom.lineStyle", {"fill": "dash", "dash": [6, 6]})],
        "lower": [hidden],
        "upper": [hidden, common.prop("custom.fillBelowTo", word("lower", language))],
        "flagged": [
            common.prop("custom.drawStyle", "points"),
            common.prop("custom.pointSize", 8),
            common.prop("color", {"mode": "fixed", "fixedColor": common.RED}),
        ],
    }
    for name, properties in looks.items():
        panel.override_by_name(name, [common.prop("displayName", word(name, language)), *properties])
    return panel


def stored(language: Language) -> timeseries.Panel:
    """Readings an hour, and how many of them are good."""
    panel = drawn("stored", "readings_stored", language)
    panel.override_by_name("readings", [common.prop("displayName", word("readings", language))])
    return panel.override_by_name(
        "good",
        [
            common.prop("displayName", word("good", language)),
            common.prop("unit", units.PercentUnit),
            common.prop("custom.axisPlacement", "right"),
            common.prop("min", 0),
            common.prop("max", 1),
        ],
    )


def devices(language: Language) -> table.Panel:
    """The devices, silent ones first."""
    panel = listed("devices", "devices", language)
    for name, properties in common.named(
        language, "device", "town", "online", "spool", "measured", "received"
    ):
        at = [common.prop("unit", "dateTimeAsLocal")] if name in ("measured", "received") else []
        panel.override_by_name(name, properties + at)
    return panel


def listed(key: str, query: str, language: Language) -> table.Panel:
    """A table of a query."""
    return (
        table.Panel()
        .title(word(key, language))
        .description(word(f"{key}_about", language))
        .datasource(datasource())
        .with_target(Query(query, language))
    )


def drawn(key: str, query: str, language: Language) -> timeseries.Panel:
    """A query over time."""
    return (
        timeseries.Panel()
        .title(word(key, language))
        .description(word(f"{key}_about", language))
        .datasource(datasource())
        .with_target(Query(query, language, shape="time_series"))
        .span_nulls(3_600_000)
    )
