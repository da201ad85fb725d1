"""Generates the JSON of every dashboard in both languages; the same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.boards import (
    areas,
    assessment,
    devices,
    outfall,
    platform,
    river_section,
    road,
    town_overview,
)
from dashboards.dashboard_builder import build_dashboard
from dashboards.translations import LANGUAGES

FOLDER = Path(__file__).parent / "generated"
DASHBOARDS = tuple(
    module.BOARD
    for module in (town_overview, areas, river_section, outfall, road, assessment, devices, platform)
)


def dashboard_files() -> dict[str, str]:
    """Return the text of every generated file by its name."""
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    return {
        f"{board.name}.{language}.json": encoder.encode(build_dashboard(board, language)) + "\n"
        for board in DASHBOARDS
        for language in LANGUAGES
    }
