"""Defines the panels' value mappings, colours, thresholds and units, and the display names of columns.

Class colours: those of China's real-time water quality platforms (I light blue to worse than V red).
Congestion levels: the five-level scale. No information is conveyed by colour alone: every coloured cell also
has a text or a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode

from dashboards.translations import Language, translate
from ingest_service.storage.health import process_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GREEN, BLUE, ORANGE, RED, GREY = "green", "blue", "orange", "red", "#8e8e8e"
CLASS_COLOURS = ("#CCFFFF", "#00CCFF", "#00FF00", "#FFFF00", "#FF9B00", "#FF0000")
LEVEL_COLOURS = ("#00A651", "#8CC63F", "#FFF200", "#F7941D", "#C1272D")
STATUS_COLOURS = CLASS_COLOURS[1:]
HEALTH_COLOURS = {
    "alive": GREEN,
    "restarting": ORANGE,
    "behind": ORANGE,
    "stuck": RED,
    "absent": RED,
    "unknown": GREY,
}
SEVERITY_COLOURS = {"alarm": RED, "warning": ORANGE, "notice": BLUE}

Properties = list[models.DynamicConfigValue]


def value_mapping(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    """Build a mapping from values to texts and colours."""
    return models.ValueMap(
        {
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
    )


def severity_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of severities 0 to 3 to a symbol, a text and a colour."""
    return value_mapping(
        {
            "0": (translate("fine", language), GREEN),
            "1": (f"○ {translate('notice', language)}", BLUE),
            "2": (f"△ {translate('warning', language)}", ORANGE),
            "3": (f"◆ {translate('alarm', language)}", RED),
        }
    )


def flag_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of QARTOD flags."""
    names = {"1": ("pass", GREEN), "2": ("not_evaluated", GREY), "3": ("suspect", ORANGE), "4": ("fail", RED)}
    return value_mapping(
        {value: (f"{value} {translate(key, language)}", colour) for value, (key, colour) in names.items()}
    )


def message_mapping(
    words: Mapping[str, process_messages.BilingualText], colours: Mapping[str, str], language: Language
) -> models.ValueMap:
    """Return the mapping of keys (states, kinds, reasons of processes) to the platform's texts."""
    return value_mapping(
        {
            key: (one.zh if language == "zh" else one.en, colours.get(key, GREY))
            for key, one in words.items()
            if key
        }
    )


def class_mapping(key_prefix: str, colours: tuple[str, ...], language: Language) -> models.ValueMap:
    """Return the mapping of classes 1, 2, ... (best first) to the texts of ``{key_prefix}_1``, ..."""
    return value_mapping(
        {
            str(n): (translate(f"{key_prefix}_{n}", language), colour)
            for n, colour in enumerate(colours, start=1)
        }
    )


def boolean_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of booleans, also as 1 and 0, to yes and no."""
    yes, no = (f"✓ {translate('yes', language)}", GREEN), (f"✗ {translate('no', language)}", RED)
    return value_mapping({"true": yes, "false": no, "1": yes, "0": no})


def threshold_config(*steps: tuple[float | None, str]) -> ThresholdsConfig:
    """Build thresholds from (lower bound, colour) steps; the bound of the first step is None."""
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def threshold_property(*pairs: tuple[float | None, str]) -> models.DynamicConfigValue:
    """Build the threshold override of one column."""
    found = [{"value": value, "color": colour} for value, colour in pairs]
    return override_property("thresholds", {"mode": "absolute", "steps": found})


def fixed_colour(colour: str) -> models.DynamicConfigValue:
    """Build the override that gives a column one fixed colour."""
    return override_property("color", {"mode": "fixed", "fixedColor": colour})


def override_property(name: str, value: Any) -> models.DynamicConfigValue:
    """Build one property of a field override."""
    return models.DynamicConfigValue(id_val=name, value=value)


def column_properties(name: str, language: Language) -> Properties:
    """Return the style of a column in every table: display name, unit, colours, width; ids are hidden."""
    if name.endswith("_id"):
        return [override_property("custom.hidden", True)]
    return [override_property("displayName", translate(name, language)), *_column_style(name, language)]


def _column_style(name: str, language: Language) -> Properties:
    if name in _TIME_COLUMNS:
        return [override_property("unit", "dateTimeAsLocal"), override_property("custom.width", 170)]
    if name in _COLUMN_UNITS:
        unit, decimals = _COLUMN_UNITS[name]
        return [override_property("unit", unit), override_property("decimals", decimals)]
    mapping_by_column: dict[str, Callable[[Language], models.ValueMap]] = {
        "severity": severity_mapping,
        "flag": flag_mapping,
        "met": boolean_mapping,
        "online": boolean_mapping,
        "class": lambda chosen_language: class_mapping("class", CLASS_COLOURS, chosen_language),
        "best": lambda chosen_language: class_mapping("class", CLASS_COLOURS, chosen_language),
        "target": lambda chosen_language: class_mapping("class", CLASS_COLOURS, chosen_language),
        "status": lambda chosen_language: class_mapping("status", STATUS_COLOURS, chosen_language),
        "level": lambda chosen_language: class_mapping("level", LEVEL_COLOURS, chosen_language),
        "health": lambda chosen_language: message_mapping(
            process_messages.STATE_LABELS, HEALTH_COLOURS, chosen_language
        ),
        "process": lambda chosen_language: message_mapping(process_messages.KIND_LABELS, {}, chosen_language),
        "why": lambda chosen_language: message_mapping(process_messages.REASON_TEXTS, {}, chosen_language),
        "state": lambda chosen_language: value_mapping(
            {one: (translate(one, chosen_language), GREY) for one in ("open", "closed")}
        ),
    }
    if name not in mapping_by_column:
        return [override_property("custom.minWidth", 300)] if name in ("reason", "detail") else []
    if name in ("process", "why"):
        wide = (
            [override_property("custom.minWidth", 300)]
            if name == "why"
            else [override_property("custom.width", 130)]
        )
        return [override_property("mappings", [mapping_by_column[name](language)]), *wide]
    cell = "color-text" if name in ("flag", "met", "online", "state") else "color-background"
    return [
        override_property("mappings", [mapping_by_column[name](language)]),
        override_property("custom.cellOptions", {"type": cell}),
        override_property("custom.width", 130),
    ]


_TIME_COLUMNS = {"since", "until", "measured", "received", "taken", "saved"}
_COLUMN_UNITS: dict[str, tuple[str, int]] = {
    "month": ("time:YYYY-MM", 0),
    "score": (units.Short, 1),
    "value": (units.Short, 2),
    "mean": (units.Short, 3),
    "expected": (units.Short, 2),
    "lower": (units.Short, 2),
    "upper": (units.Short, 2),
    "exceeds": (units.Short, 2),
    "ratio": (units.PercentUnit, 0),
    "capture": (units.PercentUnit, 1),
    "good": (units.PercentUnit, 1),
    "kmh": (units.KilometersPerHour, 0),
    "free": (units.KilometersPerHour, 0),
    "age": (units.Seconds, 0),
    "beat_age": (units.Seconds, 0),
    "moved_age": (units.Seconds, 0),
    "success_age": (units.Seconds, 0),
    "backlog_age": (units.Seconds, 0),
    "delay_50": (units.Seconds, 1),
    "delay_95": (units.Seconds, 1),
    "clock": (units.Seconds, 1),
    "delay": ("suffix: veh·h", 0),
    "tti": (units.Short, 2),
    "index": (units.Short, 1),
    "discharge": (units.CubicMetersPerSecond, 3),
    "most": (units.CubicMetersPerSecond, 3),
    "volume": (units.CubicMeter, 0),
    "dry_hours": (units.Hours, 0),
    "flowing_hours": (units.Hours, 0),
    "battery": (units.Volt, 1),
    "signal": ("suffix: dBm", 0),
    "size": (units.BytesIEC, 1),
    "database": (units.BytesIEC, 1),
}


def dashed_threshold_lines() -> GraphThresholdsStyleConfig:
    """Return the style that draws thresholds as dashed lines across a graph."""
    return GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
