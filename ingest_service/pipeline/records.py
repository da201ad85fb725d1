"""Decodes irregular messages record by record to valid readings and dead letters that name the faults."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.wire import receipts, senml
from edge.wire.errors import PayloadError
from ingest_service.pipeline.message import letter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edge.wire.senml import Record
    from ingest_service.pipeline.clocks import Clocks
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.resolve import Resolver
    from ingest_service.storage.model import DeadLetter

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY_S = -70 * 365.25 * 86_400.0  # about 1900; earlier times are not shown as a date
NAMED_IN_DETAIL = 5
NAME_IN_DETAIL = 80  # a name comes from the sender and may have any length [characters]
CHANNELS_IN_DETAIL = 10  # a device may have thousands
LATEST_S = 1e11  # the year 5138: a larger time is not in seconds
FINER = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
LOCAL_S = 8 * 3600.0  # the time zone of the towns
LOCAL_WITHIN_S = 900.0  # local time sent as UTC is LOCAL_S ahead, less the transmission delay and clock drift


class Rows(NamedTuple):
    """Readings ``(n,)`` with their values in the sent unit, before conversion.

    Attributes
    ----------
    message : index of the message in the batch
    code : the resolver's code of channel and unit
    time_s : time measured, Unix seconds [s]
    raw : value in the sent unit

    """

    message: NDArray[np.intp]
    code: NDArray[np.intp]
    time_s: NDArray[np.float64]
    raw: NDArray[np.float64]

    @classmethod
    def of(cls, message: object, code: object, time_s: object, raw: object) -> Rows:
        """Convert sequences to columns."""
        return cls(
            np.array(message, np.intp),
            np.array(code, np.intp),
            np.array(time_s, np.float64),
            np.array(raw, np.float64),
        )

    def joined(self, other: Rows) -> Rows:
        """Concatenate two sets of readings, in the order of their messages."""
        both: Any = [np.concatenate(pair) for pair in zip(self, other, strict=True)]
        return Rows(*both).taken(np.argsort(both[0], kind="stable"))

    def taken(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        """Select readings by index or mask."""
        return Rows(self.message[which], self.code[which], self.time_s[which], self.raw[which])


class Context(NamedTuple):
    """Resolver, device clocks, and by how much the measured time may exceed the arrival time [s]."""

    resolver: Resolver
    clocks: Clocks
    future_s: float


def take(
    messages: Sequence[Message], wanted: Iterable[int], context: Context, letters: list[DeadLetter]
) -> Rows:
    """Return the valid records of the wanted messages; append a dead letter for each with invalid ones."""
    found: list[tuple[int, int, float, float]] = []
    for index in wanted:
        message = messages[index]
        try:
            found += ((index, *row) for row in _records(message, context, letters))
        except PayloadError as error:
            letters.append(letter(message, "payload", str(error)))
    return Rows.of(*zip(*found, strict=True)) if found else Rows.of([], [], [], [])


def _records(message: Message, context: Context, letters: list[DeadLetter]) -> list[tuple[int, float, float]]:
    """Return (code, time [s], raw value) of the valid records; append one dead letter if any is invalid."""
    device = context.resolver.topic(message.topic).device
    # A retained message was not measured now, so its relative times have no reference.
    now_s = None if message.retained else message.received_s
    records, faults = senml.decode_each(message.payload, content_type=message.content_type, now_s=now_s)
    recorded = receipts.RECORDED in message.properties
    earliest_s = senml.RELATIVE_BELOW if recorded else context.resolver.known_since_s[device]
    good: list[tuple[int, float, float]] = []
    bad: list[Record] = []
    for record in records:
        code = context.resolver.code_of(device, record.name, record.unit)
        if code is None or not _can_be(record, code, earliest_s, message.received_s, context):
            bad.append(record)
        else:
            good.append((code, record.time_s, record.value or 0.0))
    if bad or faults:
        wrong = [
            _what_is_wrong(one, device, earliest_s, message.received_s, context)
            for one in bad[:NAMED_IN_DETAIL]
        ]
        wrong += [(one.reason, one.sentence) for one in faults[:NAMED_IN_DETAIL]]
        letters.append(letter(message, wrong[0][0], _sentence(wrong, len(bad) + len(faults), len(good))))
    return good


def _can_be(record: Record, code: int, earliest_s: float, received_s: float, context: Context) -> bool:
    if record.value is None:
        return False
    resolver = context.resolver
    value = record.value * float(resolver.scale[code]) + float(resolver.offset[code])
    return earliest_s <= record.time_s <= received_s + context.future_s and math.isfinite(value)


def _sentence(wrong: list[tuple[str, str]], bad: int, good: int) -> str:
    sentences = list(dict.fromkeys(sentence for _, sentence in wrong))[:NAMED_IN_DETAIL]
    more = f" (and {bad - len(sentences)} more)" if bad > len(sentences) else ""
    kept = f"; its {good} good records are stored" if good else ""
    return "; ".join(sentences) + more + kept


def _what_is_wrong(
    record: Record, device: str, earliest_s: float, received_s: float, context: Context
) -> tuple[str, str]:
    targets, name = context.resolver.targets_of(device), record.name[:NAME_IN_DETAIL]
    target = targets.get(record.name)
    if target is None:
        has = _some(sorted(targets))
        return "channel", f"channel {name!r} is not enrolled (the device has: {has}): enrol it, then replay"
    if context.resolver.code_of(device, record.name, record.unit) is None:
        units = ", ".join(sorted(unit for unit in target.conversions if unit))
        sent = None if record.unit is None else record.unit[:NAME_IN_DETAIL]
        return "unit", f"channel {name!r}: {target.quantity} is not read in {sent!r}, send one of {units}"
    if record.value is None:
        return _no_number(record)
    return _wrong_time(record, device, earliest_s, received_s, context) or _no_number(record)


def _some(names: list[str]) -> str:
    """List up to `CHANNELS_IN_DETAIL` names, and the number of the others.

    >>> _some([])
    'none'
    """
    more = f", and {len(names) - CHANNELS_IN_DETAIL} more" if len(names) > CHANNELS_IN_DETAIL else ""
    return ", ".join(names[:CHANNELS_IN_DETAIL]) + more if names else "none"


def _no_number(record: Record) -> tuple[str, str]:
    return (
        "value",
        f"channel {record.name!r}: a finite number is needed in 'v'; leave out what was not measured",
    )


def _wrong_time(
    record: Record, device: str, earliest_s: float, received_s: float, context: Context
) -> tuple[str, str] | None:
    channel = f"channel {record.name!r}"
    if record.time_s < earliest_s:
        return "time", f"{channel}: {_never_set(record.time_s, earliest_s)}"
    ahead_s = record.time_s - received_s
    if ahead_s <= context.future_s:
        return None
    if record.time_s >= LATEST_S:
        return "time", f"{channel}: {_finer(record.time_s)}"
    sentence = f"{channel}: measured {ahead_s - context.future_s:.0f} s beyond what a clock may be ahead: "
    if abs(ahead_s - LOCAL_S) <= LOCAL_WITHIN_S:
        sentence += "eight hours, as where local time (UTC+8) is sent for UTC: send Unix time, which is UTC"
    else:
        sentence += "set the clock"
    offset_s = context.clocks.offset_s(device)
    if offset_s is not None and context.clocks.is_wrong(device):
        return "clock", f"{sentence}; by its status it is {offset_s:+.0f} s off"
    return "time", sentence


def _never_set(time_s: float, earliest_s: float) -> str:
    return (
        f"measured {_day(time_s)}, long before the device was enrolled (nothing is taken from before "
        f"{_day(earliest_s)}): its clock was never set; set it, or mark data of a recording as such"
    )


def _day(time_s: float) -> str:
    """Format a time [Unix s] as a UTC date.

    >>> _day(946_688_400.0), _day(-1e300)
    ('2000-01-01', 'before 1900')
    """
    if time_s < FIRST_DAY_S:
        return "before 1900"
    return str((EPOCH + timedelta(seconds=time_s)).date())


def _finer(time_s: float) -> str:
    """Suggest the unit of a time that is not in seconds."""
    for unit, finer in FINER.items():
        if time_s / finer < LATEST_S:
            return f"time {time_s:.0f} seems to be in {unit}: SenML has seconds, divide by {finer:,.0f}"
    return f"time {time_s:g} is none: send Unix seconds"
