"""Driver that subscribes to topics of other systems: ChirpStack, Tasmota, Influx lines, JSON counters.

A message is acknowledged when its readings are on disk. One that can't be read is reported and acknowledged,
since it would be the same at its second delivery.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from paho.mqtt.client import topic_matches_sub

from edge.drivers import Pack
from edge.drivers.broker_options import BrokerOptions
from edge.drivers.driver_options import convert_options
from edge.drivers.payload_mapping import PayloadMapping, map_payload
from edge.drivers.polling import WAIT_S, log_fault
from edge.wire.boot_clock import boot_clock_s
from edge.wire.errors import PayloadError
from edge.wire.senml import NAME, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.drivers.mqtt_subscription import ReceivedMessage


class Availability(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topic on which an instrument, or its broker by a last will, publishes whether it is online.

    Attributes
    ----------
    topic : such as Tasmota's ``tele/NAME/LWT``
    online, offline : payloads
    channel : channel of records 1 (online) and 0 (offline); None for none

    """

    topic: str
    online: str = "Online"
    offline: str = "Offline"
    channel: str | None = None

    def __post_init__(self) -> None:
        """Check what the types do not."""
        if self.channel is not None and not NAME.fullmatch(self.channel):
            raise ValueError(f"channel {self.channel!r}: use letters, digits and -:./_ only")


class MqttSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topic filter of one source, the mapping of its payloads, and its availability, if published."""

    topic: str
    mapping: PayloadMapping
    availability: Availability | None = None


class MqttOptions(BrokerOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options in a site file: those of `BrokerOptions`, and the sources."""

    sources: tuple[MqttSource, ...]

    def __post_init__(self) -> None:
        """Check what the types do not."""
        super().__post_init__()
        if not self.sources:
            raise ValueError("give at least one source")

    def topics(self) -> list[str]:
        """Return the topic filters."""
        availabilities = [one.availability.topic for one in self.sources if one.availability is not None]
        return [one.topic for one in self.sources] + availabilities


class MqttDriver:
    """Yields the records of each message that arrives.

    Parameters
    ----------
    options : broker and sources
    clock : Unix time [s]

    """

    perishable = True

    def __init__(self, options: MqttOptions, *, clock: Callable[[], float] = time.time) -> None:
        self.on_fault: Callable[[str], None] = log_fault
        self._sources = [_Source(one, self._report) for one in options.sources]
        self._clock = clock
        self._subscription = options.subscribe(options.topics(), durable=True, on_fault=self._report)

    def packs(self) -> Iterator[Pack | None]:
        """Yield packs, and None while there is none; does not end."""
        try:
            while True:
                messages = self._subscription.receive(WAIT_S)
                for message in messages:
                    yield from self._packs_of(message)
                if not messages:
                    yield None
        finally:
            self._subscription.close()

    def _packs_of(self, message: ReceivedMessage) -> Iterator[Pack]:
        """Yield the packs of a message; the last one has its acknowledgement."""
        now_s, taken_s = self._clock(), boot_clock_s()
        records = [record for one in self._sources for record in one.records(message, now_s)]
        timed = [one for one in records if one.time_s != now_s]  # by a clock of its own
        arrived = [one for one in records if one.time_s == now_s]
        packs = [Pack(now_s, timed)] if timed else []
        packs += [Pack(now_s, arrived, taken_s=taken_s)] if arrived else []
        if packs:
            packs[-1] = msgspec.structs.replace(packs[-1], on_stored=message.stored)
        else:
            message.stored()
        yield from packs

    def _report(self, sentence: str) -> None:
        self.on_fault(sentence)


class _Source:
    """Maps the messages of one source; repeats no report."""

    def __init__(self, source: MqttSource, on_fault: Callable[[str], None]) -> None:
        self._source, self._on_fault = source, on_fault
        self._rates = source.mapping.counter_rates()
        self._last_fault: str | None = None
        self._online: bool | None = None

    def records(self, message: ReceivedMessage, now_s: float) -> list[Record]:
        """Return the records of a message; empty if it is another source's, or can't be read."""
        availability = self._source.availability
        if availability is not None and message.topic == availability.topic:
            return self._availability_records(availability, message.payload, now_s)
        if not topic_matches_sub(self._source.topic, message.topic) or not message.payload:
            return []
        try:
            records = map_payload(message.payload, self._source.mapping, now_s=now_s)
            _check_retained(message, records, now_s)
        except PayloadError as error:
            if str(error) != self._last_fault:
                self._last_fault = str(error)
                self._on_fault(f"topic {message.topic}: {error}")
            return []
        self._last_fault = None
        return self._rates.records(records)

    def _availability_records(self, availability: Availability, payload: bytes, now_s: float) -> list[Record]:
        text = payload.decode("utf-8", "replace").strip()
        if text not in {availability.online, availability.offline}:
            return []
        online = text == availability.online
        if online == self._online:
            return []
        if not online or self._online is not None:
            self._on_fault(
                f"topic {availability.topic}: the instrument is {'online again' if online else 'offline'}"
            )
        self._online = online
        self._rates.forget()
        if availability.channel is None:
            return []
        return [Record(name=availability.channel, time_s=now_s, value=float(online))]


def _check_retained(message: ReceivedMessage, records: list[Record], now_s: float) -> None:
    """Raise `PayloadError` if records have the time of arrival although the broker had kept the message."""
    if message.retained and any(one.time_s == now_s for one in records):
        raise PayloadError("the broker kept the message, which has no time: publish without retain")


def create(options: dict[str, Any], folder: Path) -> MqttDriver:
    """Create the driver from the options of `MqttOptions`.

    Raises
    ------
    DriverOptionsError
        If an option or a mapping is invalid.

    """
    return MqttDriver(convert_options(options, MqttOptions, driver="mqtt", folder=folder))
