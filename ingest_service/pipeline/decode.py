"""Decodes a batch of MQTT messages to columns of readings, dead letters and device statuses.

Well-formed messages are decoded column by column. All others are decoded again record by record
(`ingest_service.pipeline.records`), so that the valid records of a faulty message are stored and its faults
are named in a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import structlog

from analytics.core.rounding import converted
from edge.wire import receipts, senml, senml_columns, status
from edge.wire.errors import PayloadError
from edge.wire.topics import Kind
from ingest_service.pipeline import metrics, records
from ingest_service.pipeline.message import letter
from ingest_service.pipeline.records import Context, Rows
from ingest_service.pipeline.resolve import Refused
from ingest_service.storage.model import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest_service.pipeline.clocks import Clocks
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.resolve import Resolver
    from ingest_service.storage.model import DeadLetter


log = structlog.get_logger()


@dataclass(slots=True)
class Decoded:
    """Readings, dead letters and device statuses of a batch.

    Attributes
    ----------
    message : (n,) index of the message of each reading, ascending
    series_id : (n,)
    time_s, received_s : (n,) time measured and received, Unix seconds [s]
    value : (n,) in the canonical unit
    off_clock : (n,) whether the clock of the device is known to be wrong
    letters : dead letters, one per message with a fault
    statuses : one per status message

    """

    message: NDArray[np.intp]
    series_id: NDArray[np.int32]
    time_s: NDArray[np.float64]
    received_s: NDArray[np.float64]
    value: NDArray[np.float64]
    off_clock: NDArray[np.bool_]
    letters: list[DeadLetter]
    statuses: list[DeviceStatus]


def decode(messages: Sequence[Message], resolver: Resolver, clocks: Clocks, *, future_s: float) -> Decoded:
    """Decode every message; a fault in one does not affect the others.

    Of a message with some invalid records, the valid ones are returned as readings, and the whole message
    becomes a dead letter.

    Parameters
    ----------
    future_s : by how much the measured time may exceed the arrival time [s]

    """
    context = Context(resolver, clocks, future_s)
    received_s = np.array([one.received_s for one in messages], np.float64)
    letters: list[DeadLetter] = []
    statuses: list[DeviceStatus] = []
    rows, data = _ordinary(messages, context, received_s, letters, statuses)
    careful = sorted(data - set(np.unique(rows.message).tolist()))
    if careful:
        rows = rows.joined(records.take(messages, careful, context, letters))
    off = {i for i in data if clocks.is_wrong(resolver.topic(messages[i].topic).device)}
    return Decoded(
        message=rows.message,
        series_id=resolver.series_id[rows.code],
        time_s=rows.time_s,
        received_s=received_s[rows.message],
        value=_values(rows, resolver),
        off_clock=np.isin(rows.message, list(off)) if off else np.zeros(len(rows.message), bool),
        letters=letters,
        statuses=statuses,
    )


def decode_safely(
    messages: Sequence[Message], resolver: Resolver, clocks: Clocks, *, future_s: float
) -> Decoded:
    """Decode as `decode` does, isolating by bisection the messages that raise an unexpected error.

    Such a message becomes a dead letter with the reason ``defect``, and the traceback is logged. MemoryError
    is handled likewise: half of a batch needs less memory, and a dead letter can be replayed.
    """
    try:
        return decode(messages, resolver, clocks, future_s=future_s)
    except Exception as error:
        if len(messages) == 1:
            metrics.DEFECTS.labels("decode").inc()
            log.exception("decoding_failed", topic=messages[0].topic, bytes=len(messages[0].payload))
            return _nothing([letter(messages[0], "defect", f"it can't be decoded, by a defect: {error!r}")])
    middle = len(messages) // 2
    return _joined(
        decode_safely(messages[:middle], resolver, clocks, future_s=future_s),
        decode_safely(messages[middle:], resolver, clocks, future_s=future_s),
        middle,
    )


def _nothing(letters: list[DeadLetter]) -> Decoded:
    return Decoded(
        message=np.empty(0, np.intp),
        series_id=np.empty(0, np.int32),
        time_s=np.empty(0),
        received_s=np.empty(0),
        value=np.empty(0),
        off_clock=np.empty(0, bool),
        letters=letters,
        statuses=[],
    )


def _joined(first: Decoded, second: Decoded, length: int) -> Decoded:
    """Concatenate two halves of a batch; the first is of ``length`` messages."""
    return Decoded(
        message=np.concatenate([first.message, second.message + length]),
        series_id=np.concatenate([first.series_id, second.series_id]),
        time_s=np.concatenate([first.time_s, second.time_s]),
        received_s=np.concatenate([first.received_s, second.received_s]),
        value=np.concatenate([first.value, second.value]),
        off_clock=np.concatenate([first.off_clock, second.off_clock]),
        letters=first.letters + second.letters,
        statuses=first.statuses + second.statuses,
    )


def _ordinary(
    messages: Sequence[Message],
    context: Context,
    received_s: NDArray[np.float64],
    letters: list[DeadLetter],
    statuses: list[DeviceStatus],
) -> tuple[Rows, set[int]]:
    """Decode the messages that are valid throughout; also returns the indices of all data messages.

    Appends to ``letters`` and ``statuses``. Data messages without a reading in the result still have to be
    decoded record by record.
    """
    resolver = context.resolver
    data: set[int] = set()
    taken: list[int] = []
    lengths: list[int] = []
    bases: list[float] = []
    codes: list[int] = []
    times: list[float] = []
    values: list[float] = []
    for index, message in enumerate(messages):
        try:
            topic = resolver.topic(message.topic)
            if topic.kind is Kind.STATUS:
                if not message.payload and _is_clearing(message):
                    continue
                statuses.append(_status(message, topic.device, context.clocks))
                continue
        except Refused as refused:
            letters.append(letter(message, refused.reason, refused.detail))
            continue
        if not message.payload and _is_clearing(message):
            continue
        data.add(index)
        if message.retained:
            continue  # relative times of a retained message have no reference: decoded record by record
        pack = senml_columns.decode(message.payload, content_type=message.content_type)
        if pack is None:
            continue
        found = list(map(resolver.codes_of(topic.device).get, pack.keys))
        if None in found:
            continue
        taken.append(index)
        lengths.append(len(found))
        bases.append(pack.base_time_s)
        codes += found  # type: ignore[arg-type]
        times += pack.times_s
        values += pack.values
    time_s = np.repeat(np.array(bases, np.float64), lengths) + np.array(times, np.float64)
    rows = Rows.of(np.repeat(np.array(taken, np.intp), lengths), codes, time_s, values)
    relative = time_s < senml.RELATIVE_BELOW
    rows.time_s[relative] += received_s[rows.message[relative]]
    good = (
        (rows.time_s >= resolver.earliest_s[rows.code])
        & (rows.time_s <= received_s[rows.message] + context.future_s)
        & np.isfinite(_values(rows, resolver))
    )
    if not good.all():
        good = ~np.isin(rows.message, rows.message[~good])
        rows = rows.taken(good)
    return rows, data


def _is_clearing(message: Message) -> bool:
    """Whether a message without a payload clears a retained one (MQTT 5 section 3.3.1.3).

    The broker forwards it as an ordinary message. One with a spool position was meant as data.
    """
    return receipts.place_of(message.properties) is None


def _values(rows: Rows, resolver: Resolver) -> NDArray[np.float64]:
    """Return the values in canonical units, (n,), without the rounding noise of the conversion."""
    with np.errstate(over="ignore", invalid="ignore"):
        return converted(rows.raw, resolver.scale[rows.code], resolver.offset[rows.code])


def _status(message: Message, device: str, clocks: Clocks) -> DeviceStatus:
    try:
        said = status.decode(message.payload)
    except PayloadError as error:
        raise Refused("payload", str(error)) from error
    live = said.time_s is not None and not message.retained and not message.letter_id
    offset_s = clocks.hear(device, said.time_s or 0.0, message.received_s) if live else None
    return DeviceStatus(
        device_id=device,
        received_s=message.received_s,
        status=msgspec.to_builtins(said),
        clock_offset_s=offset_s,
    )
