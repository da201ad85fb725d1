"""Resolves topic, channel and unit of a record to a series and a conversion to the canonical unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.wire import quantities, topics
from edge.wire.errors import TopicError, UnitError
from edge.wire.senml import RELATIVE_TIME_LIMIT_S
from edge.wire.topics import TopicKind
from ingest_service.pipeline.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge.wire.topics import Topic
    from ingest_service.storage.contract.models import Device, Directory


class ChannelTarget(msgspec.Struct, frozen=True):
    """Series and quantity of a channel; ``conversions`` maps a sent unit to (scale, offset)."""

    series_id: int
    quantity: str
    conversions: Mapping[str | None, tuple[float, float]]


EARLIEST_MEASURED_S = 978_307_200.0  # 2001-01-01, see docs/decisions/0022
YEAR_S = 365.25 * 86_400
BEFORE_ENROLMENT_S = (
    5 * YEAR_S
)  # no spool holds readings for so long: an earlier time comes from a clock that was never set
REPLAY_DEVICE_KIND = "replay"  # devices of this kind send recordings, whose times may be of any age
MAX_UNIT_ALIASES = 1000  # cached variant spellings of units; any more are looked up each time


class UnresolvedTopicError(IngestError):
    """A topic that does not belong to an enrolled device; ``reason`` is the reason of the dead letter."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class SeriesResolver:
    """Index of the directory by topic, channel and unit.

    Attributes
    ----------
    series_id, scale, offset : (n_codes,) by *code*, which stands for a channel of a device sent in one unit
    earliest_s : (n_codes,) an earlier measured time comes from a clock that was never set, Unix seconds [s]
    earliest_valid_s : likewise by device
    maintenance : windows by series id, in which readings are flagged, Unix seconds [s]

    """

    def __init__(self, directory: Directory, *, earliest_s: float = EARLIEST_MEASURED_S) -> None:
        self.version = directory.version
        self.maintenance = directory.maintenance
        self.earliest_valid_s = {
            one.device_id: _earliest_valid_s(one, directory.enrolled_s, earliest_s)
            for one in directory.devices
        }
        self._area_of = {device.device_id: device.area_id for device in directory.devices}
        self._targets: dict[str, dict[str, ChannelTarget]] = {device: {} for device in self._area_of}
        self._codes: dict[str, dict[tuple[str, str | None], int]] = {device: {} for device in self._area_of}
        self._topics: dict[str, Topic] = {}
        self._data_codes: dict[str, Mapping[tuple[str, str | None], int]] = {}
        self._aliases = 0
        code_rows: list[tuple[int, float, float, float]] = []
        for channel in directory.channels:
            if channel.quantity not in quantities.QUANTITIES:
                continue  # its series is reported by `analytics.quality.default_limits.usable`
            target = ChannelTarget(channel.series_id, channel.quantity, _unit_conversions(channel.quantity))
            self._targets[channel.device_id][channel.name] = target
            for unit, (scale, offset) in target.conversions.items():
                self._codes[channel.device_id][channel.name, unit] = len(code_rows)
                code_rows.append((channel.series_id, scale, offset, self.earliest_valid_s[channel.device_id]))
        ids, scales, offsets, earliest = zip(*code_rows, strict=True) if code_rows else ((), (), (), ())
        self.series_id: NDArray[np.int32] = np.array(ids, np.int32)
        self.scale: NDArray[np.float64] = np.array(scales, np.float64)
        self.offset: NDArray[np.float64] = np.array(offsets, np.float64)
        self.earliest_s: NDArray[np.float64] = np.array(earliest, np.float64)

    def devices(self) -> list[tuple[str, str]]:
        """Return the enrolled devices, as (area, device)."""
        return [(area, device) for device, area in self._area_of.items()]

    def topic(self, name: str) -> Topic:
        """Parse the topic of an enrolled device. Raises `UnresolvedTopicError`."""
        cached = self._topics.get(name)
        if cached is None:
            cached = self._topics[name] = self._validated_topic(name)
            if cached.kind is TopicKind.DATA:
                self._data_codes[name] = self._codes[cached.device]
        return cached

    @property
    def codes_by_topic(self) -> Mapping[str, Mapping[tuple[str, str | None], int]]:
        """Codes by (channel, sent unit), of the data topics that `topic` has parsed."""
        return self._data_codes

    def targets_of(self, device: str) -> Mapping[str, ChannelTarget]:
        """Return the targets of a device by channel name."""
        return self._targets[device]

    def codes_of(self, device: str) -> Mapping[tuple[str, str | None], int]:
        """Return the codes of a device by (channel, sent unit)."""
        return self._codes[device]

    def code_of(self, device: str, name: str, unit: str | None) -> int | None:
        """Return the code of a channel and unit, or of a variant spelling of the unit; None if unknown.

        A variant spelling is cached, so that the next message with it can be decoded column by column.
        """
        codes = self._codes[device]
        code = codes.get((name, unit))
        target = self._targets[device].get(name)
        if code is not None or unit is None or target is None:
            return code
        try:
            conversion_sent = quantities.to_canonical(quantities.QUANTITIES[target.quantity], unit)
        except UnitError:
            return None
        matching_units = (
            one
            for one, pair in target.conversions.items()
            if pair == (conversion_sent.scale, conversion_sent.offset)
        )
        code = codes[name, next(matching_units)]
        if self._aliases < MAX_UNIT_ALIASES:
            self._aliases += 1
            codes[name, unit] = code
        return code

    def _validated_topic(self, name: str) -> Topic:
        try:
            topic = topics.parse_topic(name)
        except TopicError as error:
            raise UnresolvedTopicError("topic", str(error)) from error
        area = self._area_of.get(topic.device)
        if area is None:
            raise UnresolvedTopicError(
                "device", f"device {topic.device!r} is not enrolled: enrol it, then replay this letter"
            )
        if area != topic.area:
            raise UnresolvedTopicError(
                "device",
                f"device {topic.device!r} is enrolled in area {area!r} and published as one of "
                f"{topic.area!r}: "
                "set its area in the agent, or enrol it there",
            )
        if topic.kind not in {TopicKind.DATA, TopicKind.STATUS}:
            raise UnresolvedTopicError(
                "topic", f"nothing is read from …/{topic.kind}: publish to …/data or …/status"
            )
        return topic


def _earliest_valid_s(device: Device, enrolled_s: Mapping[str, float], earliest_s: float) -> float:
    """Return the time before which a device's readings come from a clock that was never set [Unix s]."""
    if device.kind == REPLAY_DEVICE_KIND:
        return RELATIVE_TIME_LIMIT_S
    return max(earliest_s, enrolled_s.get(device.device_id, 0.0) - BEFORE_ENROLMENT_S)


def _unit_conversions(name: str) -> dict[str | None, tuple[float, float]]:
    quantity = quantities.QUANTITIES[name]
    table: dict[str | None, tuple[float, float]] = {
        unit: (conversion.scale, conversion.offset) for unit, conversion in quantity.accepts.items()
    }
    wire = quantities.to_canonical(quantity, None)
    table[None] = (wire.scale, wire.offset)
    return table
