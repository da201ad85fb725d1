"""What is out of the ordinary, record by record: the good ones are kept, the bad ones explained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.wire import senml
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

EARLIEST_S = 946_684_800.0  # 2000-01-01: an earlier time comes from a clock that was never set
NAMED_IN_DETAIL = 5


class Rows(NamedTuple):
    """Readings ``(n,)`` before their values are converted.

    Attributes
    ----------
    message : which message of the batch
    code : what the resolver calls its channel and unit
    time_s : measured, Unix seconds [s]
    raw : value in the sent unit

    """

    message: NDArray[np.intp]
    code: NDArray[np.intp]
    time_s: NDArray[np.float64]
    raw: NDArray[np.float64]

    @classmethod
    def of(cls, message: object, code: object, time_s: object, raw: object) -> Rows:
        """Columns of lists."""
        return cls(
            np.array(message, np.intp),
            np.array(code, np.intp),
            np.array(time_s, np.float64),
            np.array(raw, np.float64),
        )

    def joined(self, other: Rows) -> Rows:
        """Both, in the order of their messages."""
        both: Any = [np.concatenate(pair) for pair in zip(self, other, strict=True)]
        return Rows(*both).taken(np.argsort(both[0], kind="stable"))

    def taken(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        """Some of them."""
        return Rows(self.message[which], self.code[which], self.time_s[which], self.raw[which])


class Context(NamedTuple):
    """What a message is read against; ``future_s``: how far ahead of its arrival it may be measured [s]."""

    resolver: Resolver
    clocks: Clocks
    future_s: float


def take(
    messages: Sequence[Message], wanted: Iterable[int], context: Context, letters: list[DeadLetter]
) -> Rows:
    """The good records of the wanted messages; a letter, in ``letters``, for each that has bad ones."""
    found: list[tuple[int, int, float, float]] = []
    for index in wanted:
        message = messages[index]
        try:
            found += ((index, *row) for row in _records(message, context, letters))
        except PayloadError as error:
            letters.append(letter(message, "payload", str(error)))
    return Rows.of(*zip(*found, strict=True)) if found else Rows.of([], [], [], [])


def _records(message: Message, context: Context, letters: list[DeadLetter]) -> list[tuple[int, float, float]]:
    """(code, time, raw value) of the good records; a letter for the whole if there are bad ones."""
    device = context.resolver.topic(message.topic).device
    records = senml.decode(message.payload, content_type=message.content_type, now_s=message.received_s)
    codes = context.resolver.codes_of(device)
    good: list[tuple[int, float, float]] = []
    bad: list[tuple[str, str]] = []
    for record in records:
        code = codes.get((record.name, record.unit))
        if code is None or record.value is None or not _can_be(record, code, message.received_s, context):
            bad.append(_what_is_wrong(record, device, message.received_s, context))
        else:
            good.append((code, record.time_s, record.value))
    if bad:
        letters.append(letter(message, bad[0][0], _sentence(bad, len(good))))
    return good


def _can_be(record: Record, code: int, received_s: float, context: Context) -> bool:
    resolver = context.resolver
    value = (record.value or 0.0) * float(resolver.scale[code]) + float(resolver.offset[code])
    return EARLIEST_S <= record.time_s <= received_s + context.future_s and math.isfinite(value)


def _sentence(bad: list[tuple[str, str]], good: int) -> str:
    sentences = dict.fromkeys(sentence for _, sentence in bad[:NAMED_IN_DETAIL])
    more = f" (and {len(bad) - NAMED_IN_DETAIL} more)" if len(bad) > NAMED_IN_DETAIL else ""
    kept = f"; its {good} good records are stored" if good else ""
    return "; ".join(sentences) + more + kept


def _what_is_wrong(record: Record, device: str, received_s: float, context: Context) -> tuple[str, str]:
    targets = context.resolver.targets_of(device)
    target = targets.get(record.name)
    if target is None:
        known = ", ".join(sorted(targets)) or "none"
        return (
            "channel",
            f"channel {record.name!r} is not enrolled (the device has: {known}): enrol it, then replay",
        )
    if record.unit not in target.conversions:
        units = ", ".join(sorted(unit for unit in target.conversions if unit))
        return (
            "unit",
            f"channel {record.name!r}: {target.quantity} is not read in {record.unit!r}, send one of {units}",
        )
    if record.value is None:
        return _no_number(record)
    return _wrong_time(record, device, received_s, context) or _no_number(record)


def _no_number(record: Record) -> tuple[str, str]:
    return (
        "value",
        f"channel {record.name!r}: a finite number is needed in 'v'; leave out what was not measured",
    )


def _wrong_time(record: Record, device: str, received_s: float, context: Context) -> tuple[str, str] | None:
    if record.time_s < EARLIEST_S:
        return (
            "time",
            f"channel {record.name!r}: measured before the year 2000: the device's clock was never set",
        )
    beyond_s = record.time_s - received_s - context.future_s
    if beyond_s <= 0:
        return None
    sentence = (
        f"channel {record.name!r}: measured {beyond_s:.0f} s beyond what a clock may be ahead: set the clock"
    )
    offset_s = context.clocks.offset_s(device)
    if offset_s is not None and context.clocks.is_wrong(device):
        return "clock", f"{sentence}; by its status it is {offset_s:+.0f} s off"
    return "time", sentence
