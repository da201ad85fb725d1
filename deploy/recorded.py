"""Recorded files as a town: their sites enrolled, their drivers, their clock."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.settings import SettingsError
from edge.drivers import mapping as mappings
from edge.drivers.mapping import MappingError
from edge.drivers.replay import Recording, Replay
from ingest_service.storage.model import Area, Channel, Device, Directory, Series, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played: a driver a device, the clock that they keep to, and how many readings at most."""

    drivers: list[tuple[str, Replay]]
    clock: Callable[[], float]
    total: int
    recordings: Sequence[Recording]

    def skipped(self) -> Counter[str]:
        """Why cells and rows were left out, with counts."""
        return sum((one.skipped for one in self.recordings), Counter())


def open_all(files: Sequence[Path], mapping: Path) -> list[Recording]:
    """The recordings. Raises `SettingsError` with what is wrong with a file or the mapping."""
    try:
        found = mappings.load(mapping)
        return [Recording(path, found) for path in files]
    except MappingError as error:
        raise SettingsError(str(error)) from error


def directory(recordings: Sequence[Recording], area: str) -> Directory:
    """Areas, sites, devices and series of recordings; places are unknown, so all stand at 0, 0."""
    named = [(recording.device, one) for recording in recordings for one in recording.series()]
    traffic = {one.site for _, one in named if one.quantity.startswith("traffic")}
    return Directory(
        areas=[Area(area_id=area, level="town", en="Recorded data", zh="历史数据回放")],
        sites=[
            Site(
                site_id=site,
                area_id=area,
                kind="road_section" if site in traffic else "river_section",
                en=site,
                zh=site,
                lon=0.0,
                lat=0.0,
            )
            for site in sorted({one.site for _, one in named})
        ],
        devices=[Device(device_id=one.device, area_id=area, kind="replay") for one in recordings],
        series=[Series(site_id=one.site, quantity=one.quantity) for _, one in named],
        channels=[
            Channel(device_id=device, name=one.channel, site_id=one.site, quantity=one.quantity)
            for device, one in named
        ],
    )


def plan(recordings: Sequence[Recording], *, speed: float, shift: str) -> Plan:
    """How recordings are played; with speed 0 every pack is due at once. Raises `SettingsError`."""
    try:
        shift_s = time.time() - max(one.last_s() for one in recordings) if shift == "now" else 0.0
        first_s = min(one.first_s() for one in recordings) + shift_s
    except MappingError as error:
        raise SettingsError(str(error)) from error
    begun_s = time.time()

    def clock() -> float:
        return first_s + (time.time() - begun_s) * speed if speed else float("inf")

    drivers = [(one.device, Replay(one, shift_s=shift_s)) for one in recordings]
    return Plan(drivers, clock, sum(one.total() for one in recordings), recordings)
