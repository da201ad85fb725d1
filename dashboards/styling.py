"""Defines the panels' value mappings, colours and thresholds, and the texts of null.

Class colours: those of China's real-time water quality platforms (I light blue to worse than V red).
Congestion levels: the five-level scale. No information is conveyed by colour alone: every coloured cell also
has a text or a number, or it is the narrow swatch beside the text.

Grafana chooses the text colour of a coloured cell by the brightness of the background (white up to 180 of
255, else dark), so white is written on the standards' light green and blue. Texts are therefore written
beside those colours, and on the colours of this module only, which give a contrast of 4.5 (WCAG 2.2, AA).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode

from dashboards.translations import Language, translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest_service.storage.health import process_messages

GREEN, BLUE, ORANGE, RED, GREY = "#17521B", "#1A4F9F", "#FFB357", "#A31225", "#50545A"
QUIET = "transparent"
"""Of cells where nothing is wrong: no colour, so that a colour catches the eye."""
CLASS_COLOURS = ("#CCFFFF", "#00CCFF", "#00FF00", "#FFFF00", "#FF9B00", "#FF0000")
LEVEL_COLOURS = ("#00A651", "#8CC63F", "#FFF200", "#F7941D", "#C1272D")
STATUS_COLOURS = CLASS_COLOURS[1:]
HEALTH_COLOURS = {
    "alive": QUIET,
    "restarting": ORANGE,
    "behind": ORANGE,
    "stuck": RED,
    "absent": RED,
    "unknown": GREY,
}
NO_TEXT = "\N{NO-BREAK SPACE}"
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


def null_mapping(text: str, colour: str) -> models.SpecialValueMap:
    """Build the mapping of null, also of the null that a panel shows for a failed or empty query."""
    return models.SpecialValueMap(
        models.DashboardSpecialValueMapOptions(
            match=models.SpecialValueMatch.NULL_AND_NAN,
            result=models.ValueMappingResult(text=text, color=colour, index=0),
        )
    )


def no_data_mapping(language: Language) -> models.SpecialValueMap:
    """Return the mapping of null to "no data" in red: in a number that always exists, null is a failure."""
    return null_mapping(translate("no_data", language), RED)


def severity_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of severities to a symbol, a text and a colour; -1 is a site without readings."""
    return value_mapping(
        {
            "-1": (f"? {translate('no_data', language)}", GREY),
            "0": (f"✓ {translate('fine', language)}", GREEN),
            "1": (f"○ {translate('notice', language)}", BLUE),
            "2": (f"△ {translate('warning', language)}", ORANGE),
            "3": (f"◆ {translate('alarm', language)}", RED),
        }
    )


def flag_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of QARTOD flags."""
    names = {
        "1": ("pass", QUIET),
        "2": ("not_evaluated", QUIET),
        "3": ("suspect", ORANGE),
        "4": ("fail", RED),
    }
    return value_mapping(
        {value: (f"{value} {translate(key, language)}", colour) for value, (key, colour) in names.items()}
    )


def source_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of where the value of a node comes from."""
    return value_mapping({one: (translate(one, language), QUIET) for one in ("measured", "estimated")})


def message_mapping(
    words: Mapping[str, process_messages.BilingualText], colours: Mapping[str, str], language: Language
) -> models.ValueMap:
    """Return the mapping of keys (states, kinds, reasons of processes) to the platform's texts."""
    return value_mapping(
        {
            key: (one.zh if language == "zh" else one.en, colours.get(key, QUIET))
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


def swatch_mapping(colours: tuple[str, ...]) -> models.ValueMap:
    """Return the mapping of classes 1, 2, ... to a colour without a text: the text is in the next column."""
    return value_mapping({str(n): (NO_TEXT, colour) for n, colour in enumerate(colours, start=1)})


def boolean_mapping(language: Language) -> models.ValueMap:
    """Return the mapping of booleans, also as 1 and 0, to yes and no."""
    yes, no = (f"✓ {translate('yes', language)}", QUIET), (f"✗ {translate('no', language)}", RED)
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


def dashed_threshold_lines() -> GraphThresholdsStyleConfig:
    """Return the style that draws thresholds as dashed lines across a graph."""
    return GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
