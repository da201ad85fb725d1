"""Generates the JSON of every dashboard in both languages; the same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.boards import (
    alarm_performance,
    areas,
    assessment,
    devices,
    network_state,
    outfall,
    platform,
    river_section,
    road,
    town_overview,
)
from dashboards.dashboard_builder import build_dashboard
from dashboards.maps import set_base_layer
from dashboards.postgres_query import DATASOURCE_UID, REPLICA_UID
from dashboards.settings import DEFAULT_CONSOLE_URL
from dashboards.translations import LANGUAGES

if TYPE_CHECKING:
    from dashboards.settings import Settings

FOLDER = Path(__file__).parent / "generated"
DASHBOARDS = tuple(
    module.BOARD
    for module in (
        town_overview,
        areas,
        river_section,
        outfall,
        road,
        network_state,
        assessment,
        alarm_performance,
        devices,
        platform,
    )
)


def with_console(text: str, settings: Settings | None) -> str:
    """Return a text with the settings' address of the console instead of the default one."""
    if settings is None:
        return text
    return text.replace(DEFAULT_CONSOLE_URL, settings.console_url.rstrip("/"))


def dashboard_files(settings: Settings | None = None) -> dict[str, str]:
    """Return the text of every generated file by its name, with the settings' base layer and replica.

    The platform's dashboard reads the database itself: locks, from which the state of a process is derived,
    are not on a replica.
    """
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    files: dict[str, str] = {}
    for board in DASHBOARDS:
        for language in LANGUAGES:
            dashboard = build_dashboard(board, language)
            if settings and settings.map_tiles:
                set_base_layer(dashboard, settings.map_tiles, settings.map_attribution)
            text = encoder.encode(dashboard) + "\n"
            if settings and settings.replica_host and board is not platform.BOARD:
                text = text.replace(f'"{DATASOURCE_UID}"', f'"{REPLICA_UID}"')
            files[f"{board.name}.{language}.json"] = with_console(text, settings)
    return files
