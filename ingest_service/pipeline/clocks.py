"""How wrong devices' clocks are, from what their status messages say the time is.

A status that was under way for d seconds makes a clock look d seconds behind, so one status proves a clock
ahead and never one behind: a queue that drains after an outage looks the same. Behind is believed when two
statuses that arrived well apart agree, which those of a queue do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.model import DeviceStatus

APART_S = 10.0
AGREE_S = 5.0


class _Heard(NamedTuple):
    """A status: when it came, and device clock less ours by it."""

    received_s: float
    offset_s: float


class Clocks:
    """Offsets of devices' clocks.

    Parameters
    ----------
    tolerance_s : a clock that is off by more is wrong [s]

    Examples
    --------
    >>> clocks = Clocks(tolerance_s=300)
    >>> [clocks.hear("wz-01", 1000.0 + t - 7200, 1000.0 + t) for t in (0, 60)]
    [None, -7200.0]
    >>> clocks.is_wrong("wz-01")
    True

    """

    def __init__(self, *, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._heard: dict[str, _Heard] = {}
        self._offsets: dict[str, float] = {}

    def restore(self, statuses: Iterable[DeviceStatus]) -> None:
        """Take up what was known before a restart."""
        known = {one.device_id: one.clock_offset_s for one in statuses}
        self._offsets = {device: offset for device, offset in known.items() if offset is not None}

    def hear(self, device: str, device_time_s: float, received_s: float) -> float | None:
        """Take up one status, sent live; the offset if this one tells it, ahead positive [s].

        The newest may be taken up again, as when a batch is decoded anew: the answer is the same.
        """
        now = _Heard(received_s, device_time_s - received_s)
        before = self._heard.get(device)
        if before == now:
            return now.offset_s if self._offsets.get(device) == now.offset_s else None
        if before is None or now.received_s - before.received_s >= APART_S:
            self._heard[device] = now
        behind = now.offset_s < -self._tolerance_s
        if behind and not (before and self._agree(before, now)):
            return None
        self._offsets[device] = now.offset_s
        return now.offset_s

    def offset_s(self, device: str) -> float | None:
        """The last known offset, ahead positive [s]."""
        return self._offsets.get(device)

    @property
    def wrong(self) -> int:
        """How many devices' clocks are wrong."""
        return sum(map(self.is_wrong, self._offsets))

    def is_wrong(self, device: str) -> bool:
        """Whether the clock is off by more than the tolerance."""
        return bool(self._offsets) and abs(self._offsets.get(device, 0.0)) > self._tolerance_s

    @staticmethod
    def _agree(before: _Heard, now: _Heard) -> bool:
        apart = now.received_s - before.received_s >= APART_S
        return apart and abs(now.offset_s - before.offset_s) <= AGREE_S
