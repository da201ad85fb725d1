"""Decodes irregular messages record by record to valid readings and dead letters that name the faults."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.wire import receipts, senml
from edge.wire.errors import PayloadError
from ingest_service.pipeline.message import to_dead_letter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edge.wire.senml import Record
    from ingest_service.pipeline.device_clocks import DeviceClocks
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.series_resolver import SeriesResolver
    from ingest_service.storage.contract.models import DeadLetter

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_SHOWN_S = -70 * 365.25 * 86_400.0  # about 1900; earlier times are not shown as a date
MAX_FAULTS_IN_DETAIL = 5
MAX_NAME_IN_DETAIL = 80  # a name comes from the sender and may have any length [characters]
MAX_CHANNELS_IN_DETAIL = 10  # a device may have thousands
LATEST_S = 1e11  # the year 5138: a larger time is not in seconds
FINER_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
LOCAL_UTC_OFFSET_S = 8 * 3600.0  # the time zone of the towns
LOCAL_OFFSET_TOLERANCE_S = 900.0
"""Local time sent as UTC is LOCAL_S ahead, less the transmission delay and clock drift."""


class RawReadings(NamedTuple):
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
    def of(cls, message: object, code: object, time_s: object, raw: object) -> RawReadings:
        """Convert sequences to columns."""
        return cls(
            np.array(message, np.intp),
            np.array(code, np.intp),
            np.array(time_s, np.float64),
            np.array(raw, np.float64),
        )

    def merged(self, other: RawReadings) -> RawReadings:
        """Concatenate two sets of readings, in the order of their messages."""
        both: Any = [np.concatenate(pair) for pair in zip(self, other, strict=True)]
        return RawReadings(*both).selected(np.argsort(both[0], kind="stable"))

    def selected(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> RawReadings:
        """Select readings by index or mask."""
        return RawReadings(self.message[which], self.code[which], self.time_s[which], self.raw[which])


class DecodeContext(NamedTuple):
    """Resolver, device clocks, and by how much the measured time may exceed the arrival time [s]."""

    resolver: SeriesResolver
    clocks: DeviceClocks
    future_s: float


def decode_irregular(
    messages: Sequence[Message],
    indices: Iterable[int],
    context: DecodeContext,
    dead_letters: list[DeadLetter],
) -> RawReadings:
    """Return the valid records of the wanted messages; append a dead letter for each with invalid ones."""
    good_rows: list[tuple[int, int, float, float]] = []
    for index in indices:
        message = messages[index]
        try:
            good_rows += ((index, *row) for row in _decode_message(message, context, dead_letters))
        except PayloadError as error:
            dead_letters.append(to_dead_letter(message, "payload", str(error)))
    return RawReadings.of(*zip(*good_rows, strict=True)) if good_rows else RawReadings.of([], [], [], [])


def _decode_message(
    message: Message, context: DecodeContext, dead_letters: list[DeadLetter]
) -> list[tuple[int, float, float]]:
    """Return (code, time [s], raw value) of the valid records; append one dead letter if any is invalid."""
    device = context.resolver.topic(message.topic).device
    rejection = dict(message.properties).get(receipts.REJECTION_PROPERTY)
    if rejection is not None:
        raise PayloadError(f"the gateway of the device could not read it: {rejection}")
    # A retained message was not measured now, so its relative times have no reference.
    now_s = None if message.retained else message.received_s
    records, faults = senml.decode_each(message.payload, content_type=message.content_type, now_s=now_s)
    recorded = receipts.RECORDED_PROPERTY in message.properties
    earliest_s = senml.RELATIVE_TIME_LIMIT_S if recorded else context.resolver.earliest_valid_s[device]
    good: list[tuple[int, float, float]] = []
    bad: list[Record] = []
    for record in records:
        code = context.resolver.code_of(device, record.name, record.unit)
        if code is None or not _is_plausible(record, code, earliest_s, message.received_s, context):
            bad.append(record)
        else:
            good.append((code, record.time_s, record.value or 0.0))
    if bad or faults:
        wrong = [
            _fault_of(one, device, earliest_s, message.received_s, context)
            for one in bad[:MAX_FAULTS_IN_DETAIL]
        ]
        wrong += [(one.reason, one.sentence) for one in faults[:MAX_FAULTS_IN_DETAIL]]
        dead_letters.append(
            to_dead_letter(message, wrong[0][0], _detail(wrong, len(bad) + len(faults), len(good)))
        )
    return good


def _is_plausible(
    record: Record, code: int, earliest_s: float, received_s: float, context: DecodeContext
) -> bool:
    if record.value is None:
        return False
    resolver = context.resolver
    value = record.value * float(resolver.scale[code]) + float(resolver.offset[code])
    return earliest_s <= record.time_s <= received_s + context.future_s and math.isfinite(value)


def _detail(wrong: list[tuple[str, str]], bad: int, good: int) -> str:
    sentences = list(dict.fromkeys(sentence for _, sentence in wrong))[:MAX_FAULTS_IN_DETAIL]
    more = f" (and {bad - len(sentences)} more)" if bad > len(sentences) else ""
    kept = f"; its {good} good records are stored" if good else ""
    return "; ".join(sentences) + more + kept


def _fault_of(
    record: Record, device: str, earliest_s: float, received_s: float, context: DecodeContext
) -> tuple[str, str]:
    targets, name = context.resolver.targets_of(device), record.name[:MAX_NAME_IN_DETAIL]
    target = targets.get(record.name)
    if target is None:
        enrolled_names = _name_list(sorted(targets))
        return (
            "channel",
            f"channel {name!r} is not enrolled (the device has: {enrolled_names}): enrol it, then replay",
        )
    if context.resolver.code_of(device, record.name, record.unit) is None:
        units = ", ".join(sorted(unit for unit in target.conversions if unit))
        sent = None if record.unit is None else record.unit[:MAX_NAME_IN_DETAIL]
        return "unit", f"channel {name!r}: {target.quantity} is not read in {sent!r}, send one of {units}"
    if record.value is None:
        return _value_fault(record)
    return _time_fault(record, device, earliest_s, received_s, context) or _value_fault(record)


def _name_list(names: list[str]) -> str:
    """List up to `MAX_CHANNELS_IN_DETAIL` names, and the number of the others.

    >>> _name_list([])
    'none'
    """
    more = f", and {len(names) - MAX_CHANNELS_IN_DETAIL} more" if len(names) > MAX_CHANNELS_IN_DETAIL else ""
    return ", ".join(names[:MAX_CHANNELS_IN_DETAIL]) + more if names else "none"


def _value_fault(record: Record) -> tuple[str, str]:
    return (
        "value",
        f"channel {record.name!r}: a finite number is needed in 'v'; leave out what was not measured",
    )


def _time_fault(
    record: Record, device: str, earliest_s: float, received_s: float, context: DecodeContext
) -> tuple[str, str] | None:
    channel = f"channel {record.name!r}"
    if record.time_s < earliest_s:
        return "time", f"{channel}: {_clock_never_set_text(record.time_s, earliest_s)}"
    ahead_s = record.time_s - received_s
    if ahead_s <= context.future_s:
        return None
    if record.time_s >= LATEST_S:
        return "time", f"{channel}: {_finer_unit_text(record.time_s)}"
    sentence = f"{channel}: measured {ahead_s - context.future_s:.0f} s beyond what a clock may be ahead: "
    if abs(ahead_s - LOCAL_UTC_OFFSET_S) <= LOCAL_OFFSET_TOLERANCE_S:
        sentence += "eight hours, as where local time (UTC+8) is sent for UTC: send Unix time, which is UTC"
    else:
        sentence += "set the clock"
    offset_s = context.clocks.offset_s(device)
    if offset_s is not None and context.clocks.is_wrong(device):
        return "clock", f"{sentence}; by its status it is {offset_s:+.0f} s off"
    return "time", sentence


def _clock_never_set_text(time_s: float, earliest_s: float) -> str:
    return (
        f"measured {_day(time_s)}, long before the device was enrolled (nothing is taken from before "
        f"{_day(earliest_s)}): its clock was never set; set it, or mark data of a recording as such"
    )


def _day(time_s: float) -> str:
    """Format a time [Unix s] as a UTC date.

    >>> _day(946_688_400.0), _day(-1e300)
    ('2000-01-01', 'before 1900')
    """
    if time_s < EARLIEST_SHOWN_S:
        return "before 1900"
    return str((UNIX_EPOCH + timedelta(seconds=time_s)).date())


def _finer_unit_text(time_s: float) -> str:
    """Suggest the unit of a time that is not in seconds."""
    for unit, ticks_per_second in FINER_UNITS.items():
        if time_s / ticks_per_second < LATEST_S:
            advice = f"SenML has seconds, divide by {ticks_per_second:,.0f}"
            return f"time {time_s:.0f} seems to be in {unit}: {advice}"
    return f"time {time_s:g} is none: send Unix seconds"
