"""Looks up the Chinese and English texts of the reports, from `words.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from analytics.quality.detector_names import DETECTORS
from edge.wire.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
SEPARATOR = {"en": ", ", "zh": "、"}

TRANSLATIONS: dict[str, tuple[str, str]] = msgspec.convert(
    tomllib.loads(files("analytics.service.reports").joinpath("words.toml").read_text("utf-8")),
    dict[str, tuple[str, str]],
)


def translate(key: str, language: Language, **values: object) -> str:
    """Return the text of a key with its values filled in; a quantity's name comes from the registry.

    >>> translate("class_6", "zh"), translate("items_of", "zh", n=5, all=21)
    ('劣Ⅴ类', '21项中5项')
    """
    at = LANGUAGES.index(language)
    if key in TRANSLATIONS:
        return TRANSLATIONS[key][at].format(**values)
    if key in QUANTITIES:
        return (QUANTITIES[key].en, QUANTITIES[key].zh)[at]
    return key


def detector_name(name: str, language: Language) -> str:
    """Return the name of a detector; its stored name if this version has no such detector.

    >>> names = detector_name("flat_line", "zh"), detector_name("cause/sewage", "en")
    >>> *names, detector_name("cause/tide", "zh")
    ('恒值', 'sewage', 'cause/tide')
    """
    return DETECTORS.get(name, (name, name))[LANGUAGES.index(language)]


def join_texts(keys: Iterable[str], language: Language) -> str:
    """Return the texts of several keys as a list in one line; a dash if there are none."""
    return SEPARATOR[language].join(translate(key, language) for key in keys) or translate("none", language)
