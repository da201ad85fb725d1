"""Which series a channel's value belongs to, and how to read its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.wire import quantities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest_service.storage.model import Directory


class Target(msgspec.Struct, frozen=True):
    """Where a channel's values go; ``conversions`` maps a sent unit to (scale, offset)."""

    series_id: int
    quantity: str
    conversions: Mapping[str | None, tuple[float, float]]


class Resolver:
    """The directory, arranged for look-ups by device and channel."""

    def __init__(self, directory: Directory) -> None:
        self.version = directory.version
        self._area_of = {device.device_id: device.area_id for device in directory.devices}
        self._site_of = {one.series_id: one.site_id for one in directory.series}
        self._targets: dict[str, dict[str, Target]] = {device: {} for device in self._area_of}
        for channel in directory.channels:
            target = Target(channel.series_id, channel.quantity, _conversions(channel.quantity))
            self._targets[channel.device_id][channel.name] = target

    def area_of(self, device: str) -> str | None:
        """The area that a device is enrolled in, or None where it is not enrolled."""
        return self._area_of.get(device)

    def targets_of(self, device: str) -> Mapping[str, Target]:
        """The targets of a device by channel name."""
        return self._targets[device]

    def site_of(self, series_id: int) -> str:
        """The site that a series is measured at."""
        return self._site_of[series_id]


def _conversions(name: str) -> dict[str | None, tuple[float, float]]:
    quantity = quantities.QUANTITIES[name]
    table: dict[str | None, tuple[float, float]] = {
        unit: (conversion.scale, conversion.offset) for unit, conversion in quantity.accepts.items()
    }
    wire = quantities.to_canonical(quantity, None)
    table[None] = (wire.scale, wire.offset)
    return table
