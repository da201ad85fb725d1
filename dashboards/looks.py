"""Value mappings, colours, thresholds and column names in the chosen language.

Class colours: those of China's real-time water quality platforms (I light blue to worse than V red).
Congestion levels: the five-level scale. Nothing is told by colour alone: what is coloured is a word or a
number, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode

from dashboards.words import Language, word
from ingest_service.storage import process_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GREEN, BLUE, ORANGE, RED, GREY = "green", "blue", "orange", "red", "#8e8e8e"
CLASSES = ("#CCFFFF", "#00CCFF", "#00FF00", "#FFFF00", "#FF9B00", "#FF0000")
LEVELS = ("#00A651", "#8CC63F", "#FFF200", "#F7941D", "#C1272D")
STATUSES = CLASSES[1:]
HEALTH = {"alive": GREEN, "restarting": ORANGE, "behind": ORANGE, "stuck": RED, "absent": RED}
SEVERITIES = {"alarm": RED, "warning": ORANGE, "notice": BLUE}

Properties = list[models.DynamicConfigValue]


def mapped(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    """Values shown as a word in a colour."""
    return models.ValueMap(
        {
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
    )


def severities(language: Language) -> models.ValueMap:
    """Severity 0 to 3, never by colour alone."""
    return mapped(
        {
            "0": (word("fine", language), GREEN),
            "1": (f"○ {word('notice', language)}", BLUE),
            "2": (f"△ {word('warning', language)}", ORANGE),
            "3": (f"◆ {word('alarm', language)}", RED),
        }
    )


def flags(language: Language) -> models.ValueMap:
    """QARTOD flags."""
    names = {"1": ("pass", GREEN), "2": ("not_evaluated", GREY), "3": ("suspect", ORANGE), "4": ("fail", RED)}
    return mapped(
        {value: (f"{value} {word(key, language)}", colour) for value, (key, colour) in names.items()}
    )


def told(
    words: Mapping[str, process_words.Sentence], colours: Mapping[str, str], language: Language
) -> models.ValueMap:
    """Keys shown as the words that all of the platform has for them."""
    return mapped(
        {
            key: (one.zh if language == "zh" else one.en, colours.get(key, GREY))
            for key, one in words.items()
            if key
        }
    )


def scale(stem: str, colours: tuple[str, ...], language: Language) -> models.ValueMap:
    """1 and up, best first: ``stem_1`` and so on are the words."""
    return mapped(
        {str(n): (word(f"{stem}_{n}", language), colour) for n, colour in enumerate(colours, start=1)}
    )


def truths(language: Language) -> models.ValueMap:
    """Yes and no, of booleans and of 1 and 0."""
    yes, no = (f"✓ {word('yes', language)}", GREEN), (f"✗ {word('no', language)}", RED)
    return mapped({"true": yes, "false": no, "1": yes, "0": no})


def thresholds(*steps: tuple[float | None, str]) -> ThresholdsConfig:
    """Colours from a value on; the first step has none."""
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def steps(*pairs: tuple[float | None, str]) -> models.DynamicConfigValue:
    """Thresholds of one column."""
    found = [{"value": value, "color": colour} for value, colour in pairs]
    return prop("thresholds", {"mode": "absolute", "steps": found})


def fixed(colour: str) -> models.DynamicConfigValue:
    """One colour of one column."""
    return prop("color", {"mode": "fixed", "fixedColor": colour})


def prop(name: str, value: Any) -> models.DynamicConfigValue:
    """One property of an override."""
    return models.DynamicConfigValue(id_val=name, value=value)


def column(name: str, language: Language) -> Properties:
    """How a column of that name looks in every table: its word, unit, colours, width."""
    if name.endswith("_id"):
        return [prop("custom.hidden", True)]
    return [prop("displayName", word(name, language)), *_dressed(name, language)]


def _dressed(name: str, language: Language) -> Properties:
    if name in _TIMES:
        return [prop("unit", "dateTimeAsLocal"), prop("custom.width", 170)]
    if name in _UNITS:
        unit, decimals = _UNITS[name]
        return [prop("unit", unit), prop("decimals", decimals)]
    maps: dict[str, Callable[[Language], models.ValueMap]] = {
        "severity": severities,
        "flag": flags,
        "met": truths,
        "online": truths,
        "class": lambda said: scale("class", CLASSES, said),
        "best": lambda said: scale("class", CLASSES, said),
        "target": lambda said: scale("class", CLASSES, said),
        "status": lambda said: scale("status", STATUSES, said),
        "level": lambda said: scale("level", LEVELS, said),
        "health": lambda said: told(process_words.STATES, HEALTH, said),
        "process": lambda said: told(process_words.KINDS, {}, said),
        "why": lambda said: told(process_words.WHY, {}, said),
        "state": lambda said: mapped({one: (word(one, said), GREY) for one in ("open", "closed")}),
    }
    if name not in maps:
        return [prop("custom.minWidth", 300)] if name in ("reason", "detail") else []
    if name in ("process", "why"):
        wide = [prop("custom.minWidth", 300)] if name == "why" else [prop("custom.width", 130)]
        return [prop("mappings", [maps[name](language)]), *wide]
    cell = "color-text" if name in ("flag", "met", "online", "state") else "color-background"
    return [
        prop("mappings", [maps[name](language)]),
        prop("custom.cellOptions", {"type": cell}),
        prop("custom.width", 130),
    ]


_TIMES = {"since", "until", "measured", "received", "taken", "saved"}
_UNITS: dict[str, tuple[str, int]] = {
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


def lines() -> GraphThresholdsStyleConfig:
    """Thresholds as lines across a graph."""
    return GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
