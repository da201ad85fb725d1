"""Looks up the English and Chinese texts of dashboards and alerts, from `words.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

TRANSLATIONS: dict[str, tuple[str, str]] = {
    key: (en, zh)
    for key, (en, zh) in tomllib.loads(files("dashboards").joinpath("words.toml").read_text("utf-8")).items()
}


def translate(key: str, language: Language) -> str:
    """Return the text of a key in a language.

    >>> translate("town", "zh")
    '乡镇'
    """
    return TRANSLATIONS[key][LANGUAGES.index(language)]
