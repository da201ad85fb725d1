"""Reads the payloads of Sparkplug B 3.0, and writes the one command that a host application needs.

A reader of the few fields of `org.eclipse.tahu.protobuf.Payload` (proto2) that contain readings, in the wire
format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/). Data sets, templates, bytes
and metadata contain none, and are skipped.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from edge.drivers.float32 import shortest_float32
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types
MAX_VARINT_BYTES = 10
MS_PER_S = 1000.0
BOOLEAN = 11
SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # Int8 to Int64
UNSIGNED_BITS = {5: 8, 6: 16, 7: 32, 8: 64}  # UInt8 to UInt64
FLOAT, DOUBLE = 9, 10
NUMBERS = frozenset({*SIGNED_BITS, *UNSIGNED_BITS, FLOAT, DOUBLE, BOOLEAN})
REBIRTH = "Node Control/Rebirth"
QUALITY = "Quality"
_MASK = 2**64 - 1

Field = tuple[int, int, Any]  # number, wire type, value: int, or bytes of the types FIXED32, FIXED64, LENGTH


class SparkplugMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a payload.

    Attributes
    ----------
    name, alias : at least one of them, as sent
    time_s : Unix time [s]; None if it has none
    datatype : code of the specification; None in data messages, where that of the birth holds
    is_historical : whether the value is one of the past, sent after an outage
    number : numeric or boolean value as on the wire, integers unsigned; None if null or of another kind
    quality : 0 (bad), 192 (good) or 500 (stale) of the property of that name; None without

    """

    name: str | None = None
    alias: int | None = None
    time_s: float | None = None
    datatype: int | None = None
    is_historical: bool = False
    number: float | int | bool | None = None
    quality: int | None = None


class SparkplugPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A payload: Unix time [s], sequence number 0 to 255 or None, and the metrics."""

    time_s: float | None = None
    seq: int | None = None
    metrics: tuple[SparkplugMetric, ...] = ()

    def metric(self, name: str) -> SparkplugMetric | None:
        """Return the metric of a name; None if there is none."""
        return next((one for one in self.metrics if one.name == name), None)


def decode_payload(payload: bytes) -> SparkplugPayload:
    """Decode a payload.

    Raises
    ------
    PayloadError
        If the bytes are no such payload.

    Examples
    --------
    >>> payload = decode_payload(bytes.fromhex("120f0a027068200a695c8fc2f5285c1d401807"))
    >>> payload.seq, payload.metrics[0].name, payload.metrics[0].number
    (7, 'ph', 7.34)

    """
    time_s: float | None = None
    seq: int | None = None
    metrics: list[SparkplugMetric] = []
    for number, kind, value in _fields(payload):
        if (number, kind) == (1, VARINT):
            time_s = value / MS_PER_S
        elif (number, kind) == (2, LENGTH):
            metrics.append(_metric(value))
        elif (number, kind) == (3, VARINT):
            seq = value
    if seq is not None and seq > 255:
        raise PayloadError(f"seq {seq} is above 255")
    return SparkplugPayload(time_s=time_s, seq=seq, metrics=tuple(metrics))


def metric_value(metric: SparkplugMetric, datatype: int | None) -> float | None:
    """Return the value of a metric; None if it is null, or no finite number.

    Parameters
    ----------
    metric : with the number as on the wire
    datatype : of the birth; signed integers are two's complement in unsigned fields

    Examples
    --------
    >>> metric_value(SparkplugMetric(number=2**32 - 5), 3)
    -5.0

    """
    if metric.number is None or (datatype is not None and datatype not in NUMBERS):
        return None
    value = metric.number
    bits = SIGNED_BITS.get(datatype or 0)
    if bits is not None and isinstance(value, int):
        value &= (1 << bits) - 1  # Int8 and Int16 come as 8, 16, 32 or 64 bits
        value -= (1 << bits) if value >> (bits - 1) else 0
    result = float(value)
    return result if math.isfinite(result) else None


def encode_rebirth_request(time_ms: int) -> bytes:
    """Encode the payload of an NCMD that requests a rebirth.

    >>> decode_payload(encode_rebirth_request(1_790_000_000_000)).metrics[0].number
    True
    """
    name = REBIRTH.encode()
    metric = (
        b"\x0a" + _varint(len(name)) + name
        + b"\x18" + _varint(time_ms)
        + b"\x20" + _varint(BOOLEAN)
        + b"\x70\x01"
    )  # fmt: skip
    return b"\x08" + _varint(time_ms) + b"\x12" + _varint(len(metric)) + metric


def _metric(data: bytes) -> SparkplugMetric:
    found: dict[str, Any] = {}
    for number, kind, value in _fields(data):
        field = _METRIC_FIELDS.get((number, kind))
        if field is not None:
            found[field[0]] = field[1](value)
    if found.pop("is_null", False):
        found["number"] = None
    return SparkplugMetric(**found)


def _quality(data: bytes) -> int | None:
    """Return the quality code of a property set: keys and values are two lists of one length."""
    keys: list[str] = []
    values: list[int | None] = []
    for number, kind, value in _fields(data):
        if (number, kind) == (1, LENGTH):
            keys.append(_text(value))
        elif (number, kind) == (2, LENGTH):
            values.append(next((one for at, wire, one in _fields(value) if (at, wire) == (3, VARINT)), None))
    return dict(zip(keys, values, strict=False)).get(QUALITY)


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _read_varint(data, at)
            yield number, kind, value
            continue
        if kind == LENGTH:
            length, at = _read_varint(data, at)
        elif kind in {FIXED64, FIXED32}:
            length = 8 if kind == FIXED64 else 4
        else:
            raise PayloadError(f"byte {at}: {kind} is no wire type of a Sparkplug payload")
        if not number or length > len(data) - at:
            raise PayloadError(f"byte {at}: a field of {length} bytes goes beyond the payload")
        yield number, kind, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & _MASK, at + index + 1
    raise PayloadError(f"byte {at}: a number does not end")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"a name is no UTF-8: {error}") from error


def _unpack(kind: str) -> Callable[[bytes], float]:
    def value(data: bytes) -> float:
        number: float = struct.unpack(kind, data)[0]
        if kind == "<f":
            number = shortest_float32(number)
        return number

    return value


# Field and wire type -> attribute, and its conversion. Of the oneof `value` the last one holds.
_METRIC_FIELDS: dict[tuple[int, int], tuple[str, Callable[[Any], Any]]] = {
    (1, LENGTH): ("name", _text),
    (2, VARINT): ("alias", int),
    (3, VARINT): ("time_s", lambda ms: ms / MS_PER_S),
    (4, VARINT): ("datatype", int),
    (5, VARINT): ("is_historical", bool),
    (7, VARINT): ("is_null", bool),
    (9, LENGTH): ("quality", _quality),
    (10, VARINT): ("number", int),
    (11, VARINT): ("number", int),
    (12, FIXED32): ("number", _unpack("<f")),
    (13, FIXED64): ("number", _unpack("<d")),
    (14, VARINT): ("number", bool),
    **dict.fromkeys([(at, LENGTH) for at in range(15, 20)], ("number", lambda _other_kind: None)),
}
