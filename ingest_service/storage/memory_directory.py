"""Stores the directory in memory, and derives the activity of devices from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ingest_service.storage import opinions
from ingest_service.storage.model import Channel, DeviceActivity, Directory, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest_service.storage.model import Latest

T = TypeVar("T", bound=msgspec.Struct)
IDS = {"areas": "area_id", "sites": "site_id", "devices": "device_id", "nodes": "node_id", "links": "link_id"}


class MemoryDirectory:
    """Everything enrolled; series ids are assigned in the order of first enrolment."""

    def __init__(self) -> None:
        self._directory = Directory()
        self._shifts: Mapping[int, float] = {}

    @property
    def version(self) -> int:
        """Version number; grows with every enrolment that changed something."""
        return self._directory.version

    def copy(self) -> Directory:
        """Return a deep copy of the directory, with ids."""
        made = msgspec.convert(msgspec.to_builtins(self._directory), Directory)
        made.series = opinions.applied(made.series, self._shifts)
        return made

    def move(self, shifts: Mapping[int, float]) -> None:
        """Set the shifts of the score limits by series, from feedback."""
        self._shifts = shifts
        self._directory.version += 1

    def enrol(self, directory: Directory) -> None:
        """Insert or update everything in a directory."""
        old = self._directory
        kept = {
            kind: _merged(getattr(old, kind), getattr(directory, kind), name) for kind, name in IDS.items()
        }
        series = self._merge_series(directory.series)
        channels = self._merge_channels(directory.channels, series)
        now_s = time.time()
        enrolled_s = {one.device_id: old.enrolled_s.get(one.device_id, now_s) for one in kept["devices"]}
        new = Directory(**kept, series=series, channels=channels, version=old.version, enrolled_s=enrolled_s)
        if new != old:
            new.version += 1
            self._directory = new

    def _merge_series(self, named: Iterable[Series]) -> list[Series]:
        known = {(one.site_id, one.quantity): one for one in self._directory.series}
        for one in named:
            place = (one.site_id, one.quantity)
            series_id = known[place].series_id if place in known else len(known) + 1
            known[place] = msgspec.structs.replace(one, series_id=series_id, adopted={}, score_shift=0.0)
        return sorted(known.values(), key=lambda one: one.series_id)

    def _merge_channels(self, named: Iterable[Channel], series: Iterable[Series]) -> list[Channel]:
        ids = {(one.site_id, one.quantity): one.series_id for one in series}
        known = {(one.device_id, one.name): one for one in self._directory.channels}
        for one in named:
            place = (one.site_id, one.quantity)
            if place in ids:
                known[one.device_id, one.name] = msgspec.structs.replace(one, series_id=ids[place])
        return [known[key] for key in sorted(known)]


def _merged(old: Sequence[T], new: Sequence[T], key: str) -> list[T]:
    merged = {getattr(one, key): one for one in (*old, *new)}
    return [merged[name] for name in sorted(merged)]


def activity(directory: Directory, latest: Sequence[Latest]) -> list[DeviceActivity]:
    """Return when each device of a directory last sent a reading; devices without channels are left out."""
    series = {one.series_id: one for one in directory.series}
    newest = {one.series_id: one for one in latest}
    found = []
    for device in sorted(directory.devices, key=lambda one: one.device_id):
        mine = [series[one.series_id] for one in directory.channels if one.device_id == device.device_id]
        heard = [newest[one.series_id] for one in mine if one.series_id in newest]
        if not mine:
            continue
        found.append(
            DeviceActivity(
                device_id=device.device_id,
                area_id=device.area_id,
                kind=device.kind,
                site_id=min(one.site_id for one in mine),
                interval_s=min(one.interval_s for one in mine),
                measured_s=max((one.time_s for one in heard), default=None),
                received_s=max((one.received_s for one in heard), default=None),
            )
        )
    return found
