"""Messages to columns: what can be stored, what is dead, and what devices say of themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from edge.wire import senml, status, topics
from edge.wire.errors import PayloadError, TopicError
from edge.wire.topics import Kind, Topic
from ingest_service.storage.model import DeadLetter, DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge.wire.senml import Record
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.resolve import Resolver, Target

EARLIEST_S = 946_684_800.0  # 2000-01-01: an earlier time comes from a clock that was never set
NAMED_IN_DETAIL = 5


class _Dead(Exception):
    """Why a message goes to the dead letters."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Decoded:
    """Columns of the readings of a batch, and the rest of what its messages said.

    ``series_id``, ``time_s`` [s], ``received_s`` [s] and ``value`` [canonical unit] have one entry a reading.
    """

    series_id: list[int] = field(default_factory=list)
    time_s: list[float] = field(default_factory=list)
    received_s: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)


def decode(messages: Iterable[Message], resolver: Resolver, *, future_s: float) -> Decoded:
    """Take every message apart; none stops another.

    A message with some bad records gives its good ones to the columns, and goes to the dead letters whole.
    """
    out = Decoded()
    for message in messages:
        try:
            _one(message, resolver, out, future_s=future_s)
        except _Dead as dead:
            out.letters.append(letter(message, dead.reason, dead.detail))
    return out


def letter(message: Message, reason: str, detail: str) -> DeadLetter:
    """A message as a dead letter, whole."""
    return DeadLetter(
        received_s=message.received_s,
        topic=message.topic,
        payload=message.payload,
        content_type=message.content_type,
        properties=dict(message.properties),
        reason=reason,
        detail=detail,
    )


def _one(message: Message, resolver: Resolver, out: Decoded, *, future_s: float) -> None:
    topic = _topic(message.topic)
    _check_device(topic, resolver)
    try:
        if topic.kind is Kind.STATUS:
            said = msgspec.to_builtins(status.decode(message.payload))
            out.statuses.append(
                DeviceStatus(device_id=topic.device, received_s=message.received_s, status=said)
            )
            return
        records = senml.decode(message.payload, content_type=message.content_type, now_s=message.received_s)
    except PayloadError as error:
        raise _Dead("payload", str(error)) from error
    _columns(records, resolver.targets_of(topic.device), out, message.received_s, future_s)


def _topic(topic: str) -> Topic:
    try:
        return topics.parse(topic)
    except TopicError as error:
        raise _Dead("topic", str(error)) from error


def _check_device(topic: Topic, resolver: Resolver) -> None:
    area = resolver.area_of(topic.device)
    if area is None:
        raise _Dead("device", f"device {topic.device!r} is not enrolled: enrol it, then replay this letter")
    if area != topic.area:
        raise _Dead(
            "device",
            f"device {topic.device!r} is enrolled in area {area!r} and published as one of {topic.area!r}: "
            "set its area in the agent, or enrol it there",
        )


def _columns(
    records: list[Record], targets: Mapping[str, Target], out: Decoded, received_s: float, future_s: float
) -> None:
    latest_s = received_s + future_s
    bad: list[tuple[str, str]] = []
    for record in records:
        target = targets.get(record.name)
        conversion = target.conversions.get(record.unit) if target else None
        if target is None or conversion is None or record.value is None:
            bad.append(_what_is_wrong(record, target, targets, latest_s))
            continue
        value = record.value * conversion[0] + conversion[1]
        if not EARLIEST_S <= record.time_s <= latest_s or not math.isfinite(value):
            bad.append(_what_is_wrong(record, target, targets, latest_s))
            continue
        out.series_id.append(target.series_id)
        out.time_s.append(record.time_s)
        out.received_s.append(received_s)
        out.value.append(value)
    if bad:
        reasons, sentences = zip(*bad, strict=True)
        more = f" (and {len(bad) - NAMED_IN_DETAIL} more)" if len(bad) > NAMED_IN_DETAIL else ""
        kept = f"; its {len(records) - len(bad)} good records are stored" if len(records) > len(bad) else ""
        raise _Dead(reasons[0], "; ".join(dict.fromkeys(sentences[:NAMED_IN_DETAIL])) + more + kept)


def _what_is_wrong(
    record: Record, target: Target | None, targets: Mapping[str, Target], latest_s: float
) -> tuple[str, str]:
    name = record.name
    if target is None:
        known = ", ".join(sorted(targets)) or "none"
        return "channel", f"channel {name!r} is not enrolled (the device has: {known}): enrol it, then replay"
    if record.unit not in target.conversions:
        units = ", ".join(sorted(unit for unit in target.conversions if unit))
        return (
            "unit",
            f"channel {name!r}: {target.quantity} can't be read in {record.unit!r}, send one of {units}",
        )
    if record.time_s > latest_s:
        ahead_s = record.time_s - latest_s
        return (
            "time",
            f"channel {name!r}: measured {ahead_s:.0f} s beyond what a clock may be ahead: set the clock",
        )
    if record.time_s < EARLIEST_S:
        return "time", f"channel {name!r}: measured before the year 2000: the device's clock was never set"
    return "value", f"channel {name!r}: a finite number is needed in 'v'; leave out what was not measured"
