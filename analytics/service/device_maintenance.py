"""Finds the devices in maintenance, whose silence raises nothing: a technician has switched them off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.models import Directory


class DeviceMaintenance(msgspec.Struct, frozen=True, kw_only=True):
    """Devices all of whose series are in maintenance; of others some probes have to send.

    Attributes
    ----------
    devices : those in maintenance now
    ended_s : by device, when the newest maintenance of all its series ended, Unix seconds [s]; a device gets
        its allowed delay anew from then

    """

    devices: frozenset[str] = frozenset()
    ended_s: dict[str, float] = {}


def device_maintenance(directory: Directory, now_s: float) -> DeviceMaintenance:
    """Return which devices are in maintenance, from the windows of a directory.

    Examples
    --------
    >>> from ingest_service.storage.contract.models import Channel, Directory
    >>> channels = [Channel(device_id="d", name=n, site_id="s", quantity=n, series_id=i)
    ...             for i, n in enumerate(("ph", "turbidity"))]
    >>> both = Directory(channels=channels, maintenance={0: [(10.0, 30.0)], 1: [(15.0, 40.0)]})
    >>> [sorted(device_maintenance(both, now_s).devices) for now_s in (12.0, 20.0, 35.0)]
    [[], ['d'], []]
    >>> device_maintenance(both, 50.0).ended_s
    {'d': 30.0}

    """
    if not directory.maintenance:
        return DeviceMaintenance()
    series: dict[str, set[int]] = {}
    for one in directory.channels:
        series.setdefault(one.device_id, set()).add(one.series_id)
    devices: set[str] = set()
    ended_s: dict[str, float] = {}
    for device_id, series_ids in series.items():
        common = _common_windows([directory.maintenance.get(one, []) for one in series_ids])
        if any(begins <= now_s < ends for begins, ends in common):
            devices.add(device_id)
        newest = max((ends for _, ends in common if ends <= now_s), default=-math.inf)
        if newest > -math.inf:
            ended_s[device_id] = newest
    return DeviceMaintenance(devices=frozenset(devices), ended_s=ended_s)


def _common_windows(windows: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the times that are in a window of each list, ``[begin, end)`` [s]."""
    common = list(windows[0])
    for others in windows[1:]:
        common = [
            (max(begins, other_begins), min(ends, other_ends))
            for begins, ends in common
            for other_begins, other_ends in others
            if max(begins, other_begins) < min(ends, other_ends)
        ]
    return common
