"""Estimates the clock offset of each device from the time stamps of its status messages.

A status delayed by d seconds makes the clock look d seconds behind. So one status is enough to show that a
clock is ahead, but not that it is behind: a queue that drains after an outage looks the same. A negative
offset is accepted only when two statuses received at least `APART_S` apart agree, which queued ones do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.contract.models import DeviceStatus

MIN_SEPARATION_S = 10.0  # least time between the arrivals of two statuses that are compared
MAX_DISAGREEMENT_S = 5.0  # largest difference of two offsets that agree


class _ClockObservation(NamedTuple):
    """Arrival time of a status [Unix s], and device clock minus platform clock [s]."""

    received_s: float
    offset_s: float


class DeviceClocks:
    """Clock offsets by device.

    Parameters
    ----------
    tolerance_s : a clock whose absolute offset exceeds this is wrong [s]

    Examples
    --------
    >>> clocks = DeviceClocks(tolerance_s=300)
    >>> [clocks.observe("wz-01", 1000.0 + t - 7200, 1000.0 + t) for t in (0, 60)]
    [None, -7200.0]
    >>> clocks.is_wrong("wz-01")
    True

    """

    def __init__(self, *, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._last_observed: dict[str, _ClockObservation] = {}
        self._offsets: dict[str, float] = {}

    def restore(self, statuses: Iterable[DeviceStatus]) -> None:
        """Load the offsets stored before a restart."""
        stored_offsets = {one.device_id: one.clock_offset_s for one in statuses}
        self._offsets = {device: offset for device, offset in stored_offsets.items() if offset is not None}

    def observe(self, device: str, device_time_s: float, received_s: float) -> float | None:
        """Process one live status; returns the offset if it is determined now, ahead positive [s].

        Processing the newest status twice, as when a batch is decoded again, returns the same result.
        """
        now = _ClockObservation(received_s, device_time_s - received_s)
        before = self._last_observed.get(device)
        if before == now:
            return now.offset_s if self._offsets.get(device) == now.offset_s else None
        if before is None or now.received_s - before.received_s >= MIN_SEPARATION_S:
            self._last_observed[device] = now
        looks_behind = now.offset_s < -self._tolerance_s
        if looks_behind and not (before and self._confirms(before, now)):
            return None
        self._offsets[device] = now.offset_s
        return now.offset_s

    def offset_s(self, device: str) -> float | None:
        """Return the last accepted offset, ahead positive [s]; None where there is none."""
        return self._offsets.get(device)

    @property
    def wrong_count(self) -> int:
        """Number of devices whose clock is wrong."""
        return sum(map(self.is_wrong, self._offsets))

    def is_wrong(self, device: str) -> bool:
        """Whether the clock is off by more than the tolerance."""
        return bool(self._offsets) and abs(self._offsets.get(device, 0.0)) > self._tolerance_s

    @staticmethod
    def _confirms(before: _ClockObservation, now: _ClockObservation) -> bool:
        well_separated = now.received_s - before.received_s >= MIN_SEPARATION_S
        return well_separated and abs(now.offset_s - before.offset_s) <= MAX_DISAGREEMENT_S
