"""Reads the site file of the demo's field devices."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import demo, site_files

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Directory

FOLDER = Path(__file__).parent
STATIONS_FILE = FOLDER / "stations.toml"


@cache
def directory() -> Directory:
    """Return the sites and devices that are enrolled beside those of the demo towns."""
    return site_files.load_site_files([FOLDER / "sites.toml"], demo.directory())
