"""Which series a channel's value belongs to, and how to read its unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.wire import quantities, topics
from edge.wire.errors import TopicError
from edge.wire.topics import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge.wire.topics import Topic
    from ingest_service.storage.model import Directory


class Target(msgspec.Struct, frozen=True):
    """Where a channel's values go; ``conversions`` maps a sent unit to (scale, offset)."""

    series_id: int
    quantity: str
    conversions: Mapping[str | None, tuple[float, float]]


class Refused(Exception):
    """Why a topic is nobody's; ``reason`` is the dead letter's."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Resolver:
    """The directory, arranged for look-ups by topic, channel and unit.

    Attributes
    ----------
    series_id, scale, offset : (n_codes,) what a *code* means: a channel of a device, sent in some unit

    """

    def __init__(self, directory: Directory) -> None:
        self.version = directory.version
        self._area_of = {device.device_id: device.area_id for device in directory.devices}
        self._targets: dict[str, dict[str, Target]] = {device: {} for device in self._area_of}
        self._codes: dict[str, dict[tuple[str, str | None], int]] = {device: {} for device in self._area_of}
        self._topics: dict[str, Topic] = {}
        meanings: list[tuple[int, float, float]] = []
        for channel in directory.channels:
            target = Target(channel.series_id, channel.quantity, _conversions(channel.quantity))
            self._targets[channel.device_id][channel.name] = target
            for unit, (scale, offset) in target.conversions.items():
                self._codes[channel.device_id][channel.name, unit] = len(meanings)
                meanings.append((channel.series_id, scale, offset))
        ids, scales, offsets = zip(*meanings, strict=True) if meanings else ((), (), ())
        self.series_id: NDArray[np.int32] = np.array(ids, np.int32)
        self.scale: NDArray[np.float64] = np.array(scales, np.float64)
        self.offset: NDArray[np.float64] = np.array(offsets, np.float64)

    def topic(self, name: str) -> Topic:
        """The topic of an enrolled device, taken apart. Raises `Refused`."""
        known = self._topics.get(name)
        if known is None:
            known = self._topics[name] = self._checked(name)
        return known

    def targets_of(self, device: str) -> Mapping[str, Target]:
        """The targets of a device by channel name."""
        return self._targets[device]

    def codes_of(self, device: str) -> Mapping[tuple[str, str | None], int]:
        """The codes of a device by (channel, sent unit)."""
        return self._codes[device]

    def _checked(self, name: str) -> Topic:
        try:
            topic = topics.parse(name)
        except TopicError as error:
            raise Refused("topic", str(error)) from error
        area = self._area_of.get(topic.device)
        if area is None:
            raise Refused(
                "device", f"device {topic.device!r} is not enrolled: enrol it, then replay this letter"
            )
        if area != topic.area:
            raise Refused(
                "device",
                f"device {topic.device!r} is enrolled in area {area!r} and published as one of "
                f"{topic.area!r}: "
                "set its area in the agent, or enrol it there",
            )
        if topic.kind not in {Kind.DATA, Kind.STATUS}:
            raise Refused("topic", f"nothing is read from …/{topic.kind}: publish to …/data or …/status")
        return topic


def _conversions(name: str) -> dict[str | None, tuple[float, float]]:
    quantity = quantities.QUANTITIES[name]
    table: dict[str | None, tuple[float, float]] = {
        unit: (conversion.scale, conversion.offset) for unit, conversion in quantity.accepts.items()
    }
    wire = quantities.to_canonical(quantity, None)
    table[None] = (wire.scale, wire.offset)
    return table
