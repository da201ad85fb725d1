"""What panels share: severity and flag in words and colours, thresholds, columns in the chosen language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models

from dashboards.words import Language, word

if TYPE_CHECKING:
    from collections.abc import Mapping

GREEN, BLUE, ORANGE, RED, GREY = "green", "blue", "orange", "red", "#8e8e8e"


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


def thresholds(*steps: tuple[float | None, str]) -> ThresholdsConfig:
    """Colours from a value on; the first step has none."""
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def prop(name: str, value: Any) -> models.DynamicConfigValue:
    """One property of an override."""
    return models.DynamicConfigValue(id_val=name, value=value)


def named(language: Language, *columns: str) -> list[tuple[str, list[models.DynamicConfigValue]]]:
    """Overrides that show columns under their words."""
    return [(column, [prop("displayName", word(column, language))]) for column in columns]
