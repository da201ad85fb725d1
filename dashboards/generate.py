"""The dashboards as sorted JSON: the same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import town_overview
from dashboards.words import LANGUAGES

FOLDER = Path(__file__).parent / "generated"


def files() -> dict[str, str]:
    """Every generated file, by name."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    return {
        f"town_overview.{language}.json": encoder.encode(town_overview.dashboard(language)) + "\n"
        for language in LANGUAGES
    }
