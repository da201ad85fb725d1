"""Styles of table columns by name: width by content, unit, mapped texts, and the text of null.

A column is either as wide as its content (``width``) or takes its share of what is left (``least``); a column
of sentences wraps. The widths of a table's columns add up to less than its panel on a screen of 1366 px, so
nothing is off-screen; `tests/dashboards/test_table_layout.py` adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.models import units

from dashboards import styling
from dashboards.translations import Language, translate
from ingest_service.storage.health import process_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grafana_foundation_sdk.models import dashboard as models

    MappingBuilder = Callable[[Language], models.ValueMap]

TIME = "time:YYYY-MM-DD HH:mm"
DURATION = "dtdhms"
"""Days, hours, minutes and seconds in digits: other units of time are English words in every language."""
NO_VALUE = "–"


@dataclass(frozen=True)
class Column:
    """The style of a table column.

    Attributes
    ----------
    width : in English and in Chinese [px]; None shares what the other columns leave
    least : smallest width of a column without ``width`` [px]
    unit, decimals : of numbers and times, in Grafana's notation
    mapping : builds the texts and colours of values
    coloured : whether the mapping's colours fill the cell
    wraps : whether a long text is written in several lines
    null : key of the text of null; None is a dash

    """

    width: tuple[int, int] | None = None
    least: int = 150
    unit: str | None = None
    decimals: int | None = None
    mapping: MappingBuilder | None = None
    coloured: bool = False
    wraps: bool = False
    null: str | None = None


def column_properties(name: str, language: Language) -> styling.Properties:
    """Return the overrides of a column in every table; a column of identifiers is hidden."""
    if name.endswith("_id"):
        return [styling.override_property("custom.hidden", True)]
    column = COLUMNS[name]
    display = "■" if name.endswith("_colour") else translate(name, language)
    null = translate(column.null, language) if column.null else NO_VALUE
    found: dict[str, Any] = {"displayName": display, "noValue": null}
    if column.width:
        found["custom.width"] = column.width[language == "zh"]
    else:
        found["custom.minWidth"] = column.least
    if column.unit:
        found["unit"] = column.unit
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.mapping:
        found["mappings"] = [column.mapping(language)]
        found["custom.align"] = "left"
    if column.coloured:
        found["custom.displayMode"] = "color-background-solid"  # in 9.4, of the schema that is written
        found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}  # from 9.5
        found["thresholds"] = {"mode": "absolute", "steps": [{"value": None, "color": styling.QUIET}]}
    if column.wraps:
        found["custom.cellOptions"] = {"type": "auto", "wrapText": True}  # up to 12.0
        found["custom.wrapText"] = True  # from 12.1
        found["custom.inspect"] = True  # in versions that do not wrap, a click shows the text
    return [styling.override_property(key, value) for key, value in found.items()]


def _number(width: int, unit: str = units.NoUnit, decimals: int = 0) -> Column:
    return Column(width=(width, width), unit=unit, decimals=decimals)


def _time(null: str | None = None) -> Column:
    return Column(width=(140, 140), unit=TIME, null=null)


def _duration() -> Column:
    return Column(width=(115, 115), unit=DURATION)


def _sentence(least: int) -> Column:
    return Column(least=least, wraps=True)


def _classes(key_prefix: str, colours: tuple[str, ...], width: tuple[int, int]) -> Mapping[str, Column]:
    """Return the column of the text and the narrow one of its colour, which stands left of it."""
    text: MappingBuilder = lambda language: styling.class_mapping(  # noqa: E731 - one of a pair
        key_prefix, (styling.QUIET,) * len(colours), language
    )
    return {
        "text": Column(width=width, mapping=text),
        "colour": Column(
            width=(28, 28), mapping=lambda _language: styling.swatch_mapping(colours), coloured=True
        ),
    }


_WATER_CLASS = _classes("class", styling.CLASS_COLOURS, (125, 85))
_WATER_STATUS = _classes("status", styling.STATUS_COLOURS, (155, 85))
_CONGESTION = _classes("level", styling.LEVEL_COLOURS, (155, 85))

COLUMNS: dict[str, Column] = {
    # what is wrong
    "severity": Column(width=(105, 90), mapping=styling.severity_mapping, coloured=True, null="no_data"),
    "flag": Column(width=(135, 90), mapping=styling.flag_mapping, coloured=True),
    "met": Column(width=(75, 75), mapping=styling.boolean_mapping, coloured=True),
    "online": Column(width=(75, 75), mapping=styling.boolean_mapping, coloured=True, null="no_data"),
    "health": Column(
        width=(110, 90),
        mapping=lambda language: styling.message_mapping(
            process_messages.STATE_LABELS, styling.HEALTH_COLOURS, language
        ),
        coloured=True,
    ),
    "state": Column(
        width=(85, 75),
        mapping=lambda language: styling.value_mapping(
            {one: (translate(one, language), styling.QUIET) for one in ("waiting", "replay")}
        ),
    ),
    "priority": Column(width=(80, 75), unit=units.NoUnit, decimals=0),
    "incident": _sentence(170),
    "work": Column(width=(120, 95)),
    "alarm_state": Column(width=(184, 120)),
    "sounded": _number(70),
    "of_all": Column(width=(70, 70), unit=units.PercentUnit, decimals=1),
    "peak_load": _number(110, decimals=1),
    "opened": _number(100),
    "acknowledge_50": Column(width=(145, 145), unit=DURATION),
    "acknowledge_95": Column(width=(145, 145), unit=DURATION),
    "close_50": Column(width=(145, 145), unit=DURATION),
    "close_95": Column(width=(145, 145), unit=DURATION),
    "rule": Column(width=(165, 125)),
    "reason": _sentence(240),
    "letter_reason": Column(width=(90, 125)),
    "detail": _sentence(240),
    "why": Column(
        least=230,
        mapping=lambda language: styling.message_mapping(process_messages.REASON_TEXTS, {}, language),
        wraps=True,
    ),
    # since when
    "since": _time(),
    "until": _time("ongoing"),
    "lasting": _duration(),
    "measured": _time("never"),
    "received": _time("never"),
    "taken": _time(),
    "saved": _time("never"),
    "month": Column(width=(85, 85), unit="time:YYYY-MM"),
    "age": Column(width=(125, 115), unit=DURATION, null="never"),
    "beat_age": _duration(),
    "success_age": Column(width=(125, 115), unit=DURATION),
    "backlog_age": _duration(),
    # what to do
    "action": _sentence(160),
    # where
    "location": _sentence(170),
    "town": Column(least=140, wraps=True),
    "link": Column(least=150, wraps=True),
    "section": _sentence(190),
    "topic": Column(least=180, wraps=True),
    "device": Column(width=(135, 135)),
    "process": Column(
        width=(90, 85),
        mapping=lambda language: styling.message_mapping(process_messages.KIND_LABELS, {}, language),
    ),
    "instance": Column(least=130, wraps=True),
    "shard": Column(least=110),
    # classes
    "class": _WATER_CLASS["text"],
    "class_colour": _WATER_CLASS["colour"],
    "best": _WATER_CLASS["text"],
    "best_colour": _WATER_CLASS["colour"],
    "target": _WATER_CLASS["text"],
    "target_colour": _WATER_CLASS["colour"],
    "status": _WATER_STATUS["text"],
    "status_colour": _WATER_STATUS["colour"],
    "level": _CONGESTION["text"],
    "level_colour": _CONGESTION["colour"],
    "items": Column(width=(75, 75)),
    "worst": Column(least=150, wraps=True),
    "main": Column(least=150, wraps=True),
    # values
    "quantity": Column(least=130, wraps=True),
    "value": _number(80, decimals=2),
    "expected": _number(90, decimals=2),
    "source": Column(width=(100, 75), mapping=styling.source_mapping),
    "estimated": _number(100, decimals=2),
    "deviation": _number(125, decimals=3),
    "measured_value": _number(95, decimals=2),
    "source_place": Column(least=120, wraps=True),
    "section_below": Column(least=150, wraps=True),
    "probability": Column(width=(100, 85), unit=units.PercentUnit, decimals=0),
    "released_from": _time(),
    "released_to": _time(),
    "arrival": _time(),
    "arrival_from": _time(),
    "arrival_to": _time(),
    "scenario": Column(least=150, wraps=True),
    "who": Column(width=(100, 100), wraps=True),
    "computed": _time(),
    "begins": _time(),
    "changes": Column(least=200, wraps=True),
    "found": Column(least=240, wraps=True),
    "scenario_place": Column(least=140, wraps=True),
    "without_changes": _number(160, decimals=2),
    "chosen_scenario": _number(110, decimals=2),
    "compared_scenario": _number(110, decimals=2),
    "reading_age": Column(width=(160, 115), unit=DURATION, null="never"),
    "mean": _number(80, decimals=3),
    "exceeds": _number(115, decimals=2),
    "ratio": Column(width=(110, 100), unit=units.PercentUnit, decimals=0),
    "capture": Column(width=(80, 80), unit=units.PercentUnit, decimals=1),
    "good": Column(width=(100, 90), unit=units.PercentUnit, decimals=1),
    "kmh": _number(90, "suffix:km/h"),
    "free": _number(100, "suffix:km/h"),
    "tti": Column(width=(150, 115), unit=units.NoUnit, decimals=2),
    "delay": _number(110, "suffix:veh·h"),
    "discharge": _number(110, "suffix:m³/s", 3),
    "most": _number(110, "suffix:m³/s", 3),
    "volume": _number(110, "suffix:m³"),
    "dry_hours": _number(100, "suffix:h"),
    "flowing_hours": _number(130, "suffix:h"),
    "delay_50": _number(105, "suffix:s", 1),
    "delay_95": _number(105, "suffix:s", 1),
    "clock": _number(115, "suffix:s", 2),
    "battery": _number(85, "suffix:V", 1),
    "signal": _number(90, "suffix:dBm"),
    "spool": _number(75),
    "evicted": _number(85),
    "replays": _number(85),
    "restarts": _number(85),
    "epoch": _number(75),
    "alarm": _number(70),
    "warning": _number(85),
    "silent_devices": _number(75),
    "met_sections": Column(width=(120, 85)),
    "met_months": Column(width=(115, 85)),
    "index": _number(65, decimals=1),
    "place": _number(60),
}
