"""Stores the directory in memory, and derives the activity of devices from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ingest_service.storage.contract import area_tree
from ingest_service.storage.contract.models import Channel, DeviceActivity, Directory, Link, Node, Series
from ingest_service.storage.contract.network_changes import plan_change
from ingest_service.storage.postgres import feedback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest_service.storage.contract.models import NewestReading
    from ingest_service.storage.contract.network_changes import NetworkChange

T = TypeVar("T", bound=msgspec.Struct)
ID_FIELDS = {
    "areas": "area_id",
    "sites": "site_id",
    "devices": "device_id",
    "nodes": "node_id",
    "links": "link_id",
}


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
        copied = msgspec.convert(msgspec.to_builtins(self._directory), Directory)
        copied.series = feedback.with_score_shifts(copied.series, self._shifts)
        return copied

    def set_score_shifts(self, shifts: Mapping[int, float]) -> None:
        """Set the shifts of the score limits by series, from feedback."""
        self._shifts = shifts
        self._directory.version += 1

    def enrol(self, directory: Directory) -> None:
        """Insert or update everything in a directory. Raises `StoreRefusedError` for circles of parents."""
        old = self._directory
        kept: dict[str, Any] = {
            kind: _merged_by_key(getattr(old, kind), getattr(directory, kind), name)
            for kind, name in ID_FIELDS.items()
        }
        area_tree.refuse_circles(kept["areas"], directory.areas)
        series = self._merge_series(directory.series)
        channels = self._merge_channels(directory.channels, series)
        now_s = time.time()
        enrolled_s = {one.device_id: old.enrolled_s.get(one.device_id, now_s) for one in kept["devices"]}
        new = msgspec.structs.replace(old, **kept, series=series, channels=channels, enrolled_s=enrolled_s)
        if new != old:
            new.version += 1
            self._directory = new

    def change_network(self, change: NetworkChange) -> None:
        """Change the networks from a time on, or correct them, as `PostgresStore` does."""
        planned = plan_change(self._directory, change, time.time())
        before = self._directory.version
        self.enrol(Directory(areas=change.areas, sites=change.sites))
        old = self._directory
        nodes = {one.node_id: one for one in [*old.nodes, *planned.nodes]}
        links = {one.link_id: one for one in [*old.links, *planned.links]}
        self._directory = msgspec.structs.replace(
            old,
            nodes=[nodes[name] for name in sorted(nodes.keys() - set(planned.ended_nodes))],
            links=[links[name] for name in sorted(links.keys() - set(planned.ended_links))],
            past_nodes=sorted(
                [*old.past_nodes, *planned.past_nodes], key=lambda past: (past.node.node_id, past.valid_to_s)
            ),
            past_links=sorted(
                [*old.past_links, *planned.past_links], key=lambda past: (past.link.link_id, past.valid_to_s)
            ),
            version=before if planned.is_empty and old.version == before else before + 1,
        )

    def _merge_series(self, new_ones: Iterable[Series]) -> list[Series]:
        merged_by_key = {(one.site_id, one.quantity): one for one in self._directory.series}
        for one in new_ones:
            key_pair = (one.site_id, one.quantity)
            series_id = (
                merged_by_key[key_pair].series_id if key_pair in merged_by_key else len(merged_by_key) + 1
            )
            merged_by_key[key_pair] = msgspec.structs.replace(
                one, series_id=series_id, adopted={}, score_shift=0.0
            )
        return sorted(merged_by_key.values(), key=lambda one: one.series_id)

    def _merge_channels(self, new_ones: Iterable[Channel], series: Iterable[Series]) -> list[Channel]:
        ids = {(one.site_id, one.quantity): one.series_id for one in series}
        merged_by_key = {(one.device_id, one.name): one for one in self._directory.channels}
        for one in new_ones:
            key_pair = (one.site_id, one.quantity)
            if key_pair in ids:
                merged_by_key[one.device_id, one.name] = msgspec.structs.replace(one, series_id=ids[key_pair])
        return [merged_by_key[key] for key in sorted(merged_by_key)]


def _merged_by_key(old: Sequence[T], new: Sequence[T], key: str) -> list[T]:
    merged = {getattr(one, key): one for one in old}
    for one in new:
        before: Any = merged.get(getattr(one, key))
        merged[getattr(one, key)] = (
            msgspec.structs.replace(one, valid_from_s=None if before is None else before.valid_from_s)
            if isinstance(one, Node | Link)  # since when it is valid is kept
            else one
        )
    return [merged[name] for name in sorted(merged)]


def device_activity(directory: Directory, latest: Sequence[NewestReading]) -> list[DeviceActivity]:
    """Return when each device of a directory last sent a reading; devices without channels are left out."""
    series = {one.series_id: one for one in directory.series}
    newest = {one.series_id: one for one in latest}
    found = []
    for device in sorted(directory.devices, key=lambda one: one.device_id):
        device_series = [
            series[one.series_id] for one in directory.channels if one.device_id == device.device_id
        ]
        latest_readings = [newest[one.series_id] for one in device_series if one.series_id in newest]
        if not device_series:
            continue
        found.append(
            DeviceActivity(
                device_id=device.device_id,
                area_id=device.area_id,
                kind=device.kind,
                site_id=min(one.site_id for one in device_series),
                interval_s=min(one.interval_s for one in device_series),
                measured_s=max((one.time_s for one in latest_readings), default=None),
                received_s=max((one.received_s for one in latest_readings), default=None),
            )
        )
    return found
