"""Decodes a batch of MQTT messages to columns of readings with declared flags, dead letters and statuses.

A declared flag is the device's own, or that of a maintenance. Well-formed messages are decoded column by
column. All others are decoded again record by record (`ingest_service.pipeline.irregular_records`), so that
the valid records of a faulty message are stored and its faults are named in a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import structlog

from analytics.core.flags import Flag
from analytics.core.rounding import convert_and_round
from edge.wire import receipts, senml, senml_columns, status
from edge.wire.errors import PayloadError
from edge.wire.topics import TopicKind
from ingest_service.pipeline import irregular_records, metrics
from ingest_service.pipeline.irregular_records import DecodeContext, RawReadings
from ingest_service.pipeline.message import to_dead_letter
from ingest_service.pipeline.series_resolver import UnresolvedTopicError
from ingest_service.storage.contract.models import DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest_service.pipeline.device_clocks import DeviceClocks
    from ingest_service.pipeline.message import Message
    from ingest_service.pipeline.series_resolver import SeriesResolver
    from ingest_service.storage.contract.models import DeadLetter


log = structlog.get_logger()

DECLARED_FLAGS = {str(int(flag)): int(flag) for flag in (Flag.SUSPECT, Flag.FAIL)}


@dataclass(slots=True)
class DecodedBatch:
    """Readings, dead letters and device statuses of a batch.

    Attributes
    ----------
    message : (n,) index of the message of each reading, ascending
    series_id : (n,)
    time_s, received_s : (n,) time measured and received, Unix seconds [s]
    value : (n,) in the canonical unit
    has_wrong_clock : (n,) whether the clock of the device is known to be wrong
    declared_quality : (n,) QARTOD flag that the device or its maintenance gives a reading, 0 if none does
    dead_letters : dead letters, one per message with a fault
    statuses : one per status message

    """

    message: NDArray[np.intp]
    series_id: NDArray[np.int32]
    time_s: NDArray[np.float64]
    received_s: NDArray[np.float64]
    value: NDArray[np.float64]
    has_wrong_clock: NDArray[np.bool_]
    declared_quality: NDArray[np.uint8]
    dead_letters: list[DeadLetter]
    statuses: list[DeviceStatus]


def decode(
    messages: Sequence[Message], resolver: SeriesResolver, clocks: DeviceClocks, *, future_s: float
) -> DecodedBatch:
    """Decode every message; a fault in one does not affect the others.

    Of a message with some invalid records, the valid ones are returned as readings, and the whole message
    becomes a dead letter.

    Parameters
    ----------
    future_s : by how much the measured time may exceed the arrival time [s]

    """
    context = DecodeContext(resolver, clocks, future_s)
    received_s = np.array([one.received_s for one in messages], np.float64)
    dead_letters: list[DeadLetter] = []
    statuses: list[DeviceStatus] = []
    rows, data = _decode_well_formed(messages, context, received_s, dead_letters, statuses)
    irregular = sorted(data.difference(rows.message.tolist()))
    if irregular:
        rows = rows.merged(irregular_records.decode_irregular(messages, irregular, context, dead_letters))
    wrong_clock_messages = (
        {i for i in data if clocks.is_wrong(resolver.topic(messages[i].topic).device)}
        if clocks.wrong_count
        else set()
    )
    return DecodedBatch(
        message=rows.message,
        series_id=resolver.series_id[rows.code],
        time_s=rows.time_s,
        received_s=received_s[rows.message],
        value=_canonical_values(rows, resolver),
        has_wrong_clock=np.isin(rows.message, list(wrong_clock_messages))
        if wrong_clock_messages
        else np.zeros(len(rows.message), bool),
        declared_quality=_with_maintenance(
            _declared_quality(messages, rows.message), resolver.series_id[rows.code], rows.time_s, resolver
        ),
        dead_letters=dead_letters,
        statuses=statuses,
    )


def decode_isolating_defects(
    messages: Sequence[Message], resolver: SeriesResolver, clocks: DeviceClocks, *, future_s: float
) -> DecodedBatch:
    """Decode as `decode` does, isolating by bisection the messages that raise an unexpected error.

    Such a message becomes a dead letter with the reason ``defect``, and the traceback is logged. MemoryError
    is handled likewise: half of a batch needs less memory, and a dead letter can be replayed.
    """
    try:
        return decode(messages, resolver, clocks, future_s=future_s)
    except Exception as error:
        if len(messages) == 1:
            metrics.UNEXPECTED_ERRORS.labels("decode").inc()
            log.exception("decoding_failed", topic=messages[0].topic, bytes=len(messages[0].payload))
            return _empty_batch(
                [to_dead_letter(messages[0], "defect", f"it can't be decoded, by a defect: {error!r}")]
            )
    half = len(messages) // 2
    return _concatenated(
        decode_isolating_defects(messages[:half], resolver, clocks, future_s=future_s),
        decode_isolating_defects(messages[half:], resolver, clocks, future_s=future_s),
        half,
    )


def _empty_batch(dead_letters: list[DeadLetter]) -> DecodedBatch:
    return DecodedBatch(
        message=np.empty(0, np.intp),
        series_id=np.empty(0, np.int32),
        time_s=np.empty(0),
        received_s=np.empty(0),
        value=np.empty(0),
        has_wrong_clock=np.empty(0, bool),
        declared_quality=np.empty(0, np.uint8),
        dead_letters=dead_letters,
        statuses=[],
    )


def _concatenated(first: DecodedBatch, second: DecodedBatch, length: int) -> DecodedBatch:
    """Concatenate two halves of a batch; the first is of ``length`` messages."""
    return DecodedBatch(
        message=np.concatenate([first.message, second.message + length]),
        series_id=np.concatenate([first.series_id, second.series_id]),
        time_s=np.concatenate([first.time_s, second.time_s]),
        received_s=np.concatenate([first.received_s, second.received_s]),
        value=np.concatenate([first.value, second.value]),
        has_wrong_clock=np.concatenate([first.has_wrong_clock, second.has_wrong_clock]),
        declared_quality=np.concatenate([first.declared_quality, second.declared_quality]),
        dead_letters=first.dead_letters + second.dead_letters,
        statuses=first.statuses + second.statuses,
    )


def _decode_well_formed(
    messages: Sequence[Message],
    context: DecodeContext,
    received_s: NDArray[np.float64],
    dead_letters: list[DeadLetter],
    statuses: list[DeviceStatus],
) -> tuple[RawReadings, set[int]]:
    """Decode the messages that are valid throughout; also returns the indices of all data messages.

    Appends to ``dead_letters`` and ``statuses``. Data messages without a reading in the result still have
    to be decoded record by record.
    """
    resolver = context.resolver
    codes_by_topic = resolver.codes_by_topic
    data: list[int] = []
    packs: list[int] = []
    singles: list[int] = []
    payloads: list[bytes] = []
    for index, message in enumerate(messages):
        if message.topic not in codes_by_topic and not _is_data(message, context, dead_letters, statuses):
            continue
        payload = message.payload
        if not payload and _clears_retained_message(message):
            continue
        data.append(index)
        # Relative times of a retained message have no reference: decoded record by record.
        if message.retained or (message.properties and _was_rejected(message)):
            continue
        if len(payload) <= senml_columns.MAX_SINGLE_BYTES and (
            message.content_type is None or message.content_type == senml.CONTENT_TYPE_JSON
        ):
            singles.append(index)
            payloads.append(payload)
        else:
            packs.append(index)
    rows = _decode_single_records(messages, singles, payloads, packs, resolver)
    if packs:
        rows = rows.merged(_decode_packs(messages, packs, resolver))
    relative = rows.time_s < senml.RELATIVE_TIME_LIMIT_S
    rows.time_s[relative] += received_s[rows.message[relative]]
    good = (
        (rows.time_s >= resolver.earliest_s[rows.code])
        & (rows.time_s <= received_s[rows.message] + context.future_s)
        & np.isfinite(_canonical_values(rows, resolver))
    )
    if not good.all():
        good = ~np.isin(rows.message, rows.message[~good])
        rows = rows.selected(good)
    return rows, set(data)


def _is_data(
    message: Message, context: DecodeContext, dead_letters: list[DeadLetter], statuses: list[DeviceStatus]
) -> bool:
    """Whether a message is one of data; decodes a status, and appends a dead letter for any other topic."""
    try:
        topic = context.resolver.topic(message.topic)
        if topic.kind is TopicKind.DATA:
            return True
        if message.payload or not _clears_retained_message(message):
            statuses.append(_decode_status(message, topic.device, context.clocks))
    except UnresolvedTopicError as refused:
        dead_letters.append(to_dead_letter(message, refused.reason, refused.detail))
    return False


def _decode_single_records(
    messages: Sequence[Message],
    singles: list[int],
    payloads: list[bytes],
    packs: list[int],
    resolver: SeriesResolver,
) -> RawReadings:
    """Decode the plain packs of one record among the messages ``singles``; append the others to ``packs``."""
    found = senml_columns.decode_single_records(payloads)
    if len(found.position) < len(singles):
        packs += set(singles).difference([singles[at] for at in found.position])
        singles = [singles[at] for at in found.position]
    codes_by_topic = resolver.codes_by_topic
    codes = [
        codes_by_topic[messages[index].topic].get(key) for index, key in zip(singles, found.keys, strict=True)
    ]
    time_s = np.array(found.base_time_s, np.float64) + np.array(found.times_s, np.float64)
    if None not in codes:
        return RawReadings.of(singles, codes, time_s, found.values)
    known = np.array([code is not None for code in codes], bool)
    all_rows = RawReadings.of(singles, [code or 0 for code in codes], time_s, found.values)
    return all_rows.selected(known)


def _decode_packs(messages: Sequence[Message], packs: list[int], resolver: SeriesResolver) -> RawReadings:
    """Decode the plain packs among the messages ``packs``, each by itself."""
    selected: list[int] = []
    lengths: list[int] = []
    bases: list[float] = []
    codes: list[int] = []
    times: list[float] = []
    values: list[float] = []
    for index in packs:
        message = messages[index]
        pack = senml_columns.decode(message.payload, content_type=message.content_type)
        if pack is None:
            continue
        pack_codes = list(map(resolver.codes_by_topic[message.topic].get, pack.keys))
        if None in pack_codes:
            continue
        selected.append(index)
        lengths.append(len(pack_codes))
        bases.append(pack.base_time_s)
        codes += pack_codes  # type: ignore[arg-type]
        times += pack.times_s
        values += pack.values
    time_s = np.repeat(np.array(bases, np.float64), lengths) + np.array(times, np.float64)
    return RawReadings.of(np.repeat(np.array(selected, np.intp), lengths), codes, time_s, values)


def _clears_retained_message(message: Message) -> bool:
    """Whether a message without a payload clears a retained one (MQTT 5 section 3.3.1.3).

    The broker forwards it as an ordinary message. One with a spool position was meant as data.
    """
    return receipts.position_of(message.properties) is None


def _was_rejected(message: Message) -> bool:
    """Whether the gateway of the device could not read the payload; it becomes a dead letter."""
    return any(name == receipts.REJECTION_PROPERTY for name, _ in message.properties)


def _declared_quality(messages: Sequence[Message], message: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the flag that the device gives each reading, (n,); 0 where the message has none, or no flag."""
    by_message = np.zeros(len(messages), np.uint8)
    for index, one in enumerate(messages):
        for name, value in one.properties:
            if name == receipts.QUALITY_PROPERTY:
                by_message[index] = DECLARED_FLAGS.get(value, 0)
    return by_message[message]


def _with_maintenance(
    quality: NDArray[np.uint8],
    series_id: NDArray[np.int32],
    time_s: NDArray[np.float64],
    resolver: SeriesResolver,
) -> NDArray[np.uint8]:
    """Return the flags, (n,), with those of readings measured while their series was in maintenance."""
    for one, windows in resolver.maintenance.items():
        of_series = series_id == one
        for begins_s, ends_s in windows if of_series.any() else ():
            quality[of_series & (time_s >= begins_s) & (time_s < ends_s)] = Flag.FAIL
    return quality


def _canonical_values(rows: RawReadings, resolver: SeriesResolver) -> NDArray[np.float64]:
    """Return the values in canonical units, (n,), without the rounding noise of the conversion."""
    with np.errstate(over="ignore", invalid="ignore"):
        return convert_and_round(rows.raw, resolver.scale[rows.code], resolver.offset[rows.code])


def _decode_status(message: Message, device: str, clocks: DeviceClocks) -> DeviceStatus:
    try:
        status_message = status.decode_status(message.payload)
    except PayloadError as error:
        raise UnresolvedTopicError("payload", str(error)) from error
    is_live = status_message.time_s is not None and not message.retained and not message.letter_id
    offset_s = clocks.observe(device, status_message.time_s or 0.0, message.received_s) if is_live else None
    return DeviceStatus(
        device_id=device,
        received_s=message.received_s,
        status=msgspec.to_builtins(status_message),
        clock_offset_s=offset_s,
    )
