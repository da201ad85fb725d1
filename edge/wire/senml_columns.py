"""Decodes plain SenML packs to columns: the fast path of `edge.wire.senml`, without `Record` objects.

A pack is plain if only its first record has base fields, and all records have only n, u, t and a number v.
All other packs, valid or not, are left to `edge.wire.senml.decode`. JSON packs of one record, which most
devices send, are decoded many at a time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edge.wire import senml_cbor_columns
from edge.wire.senml import CONTENT_TYPE_CBOR, CONTENT_TYPE_JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.wire.senml_cbor_columns import CborColumns

ARRAY_STARTS = frozenset(bytes([one]) for one in range(0x80, 0xA0))  # of CBOR (RFC 8949 section 3.1)
BASE_FIELD_PATTERN = re.compile(rb'"b(?:n|t|u|v|s|ver)"')


class SenmlColumns(NamedTuple):
    """A pack of n records: ``keys`` are (name, unit) pairs; times are relative to ``base_time_s``.

    ``times_s`` plus ``base_time_s`` is Unix seconds [s], or seconds from now if less than
    `edge.wire.senml.RELATIVE_TIME_LIMIT_S` (RFC 8428 section 4.5.3).
    """

    keys: list[tuple[str, str | None]]
    values: list[float]
    times_s: list[float]
    base_time_s: float


class _PlainRecord(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record of a plain pack."""

    v: float
    n: str = ""
    u: str | None = None
    t: float = 0.0
    bn: str = ""
    bt: float = 0.0
    bu: str | None = None


class SingleRecords(NamedTuple):
    """Packs of one record each, (n,): ``position`` is that of the payload; the others as `SenmlColumns`."""

    position: list[int]
    keys: list[tuple[str, str | None]]
    values: list[float]
    times_s: list[float]
    base_time_s: list[float]


_decoder = msgspec.json.Decoder(list[_PlainRecord])
_single_decoder = msgspec.json.Decoder(tuple[_PlainRecord])
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
MAX_SINGLE_BYTES = 512  # longer payloads have more than one record, or very long names
CHUNK = 256  # payloads decoded in one call: a faulty one costs another call for the rest of its chunk
MIN_CHUNK = 4  # of fewer payloads with a faulty one, each is left to `decode`
BETWEEN_PAYLOADS = b"}]\n[{"


def decode_single_records(payloads: Sequence[bytes]) -> SingleRecords:
    """Decode the plain JSON packs of one record among ``payloads``, many in one call.

    Payloads which are not in the result are anything else, or in a chunk with one that is: they are left
    to `decode`.

    >>> decode_single_records([b'[{"bn":"ph","bu":"pH","bt":1.7e9,"v":7.2}]', b'[{"n":"do","v":8}]'])
    SingleRecords(position=[0, 1], keys=[('ph', 'pH'), ('do', None)], values=[7.2, 8.0], \
times_s=[0.0, 0.0], base_time_s=[1700000000.0, 0.0])
    """
    position: list[int] = []
    records: list[_PlainRecord] = []
    for start in range(0, len(payloads), CHUNK):
        _decode_chunk(payloads[start : start + CHUNK], start, position, records)
    return SingleRecords(
        position,
        [(one.bn + one.n, one.bu if one.u is None else one.u) for one in records],
        [one.v for one in records],
        [one.t for one in records],
        [one.bt for one in records],
    )


def _decode_chunk(
    payloads: Sequence[bytes], start: int, position: list[int], records: list[_PlainRecord]
) -> None:
    """Decode a chunk in one call, or in halves if it has a payload of another kind."""
    found = _decode_lines(payloads)
    if found is not None:
        position += range(start, start + len(payloads))
        records += found
    elif len(payloads) > MIN_CHUNK:
        half = len(payloads) // 2
        _decode_chunk(payloads[:half], start, position, records)
        _decode_chunk(payloads[half:], start + half, position, records)


def _decode_lines(payloads: Sequence[bytes]) -> list[_PlainRecord] | None:
    r"""Return one record per payload; None if any is not exactly one plain record.

    Every payload has to begin with ``[{`` and to end with ``}]`` and to hold no line feed. A JSON string
    can't hold one either, and a record can't hold another, so that no value extends over two lines. Then
    as many values as lines are one in each.
    """
    lines = b"\n".join(payloads)
    between = len(payloads) - 1
    if (
        not lines.startswith(b"[{")
        or not lines.endswith(b"}]")
        or lines.count(BETWEEN_PAYLOADS) != between
        or lines.count(b"\n") != between
        or b"\\" in lines
    ):
        return None
    try:
        packs = _single_decoder.decode_lines(lines)
    except _FAULTS:
        return None
    return [one for (one,) in packs] if len(packs) == len(payloads) else None


def decode(payload: bytes, *, content_type: str | None) -> SenmlColumns | CborColumns | None:
    """Decode a plain pack to columns; returns None for any other pack.

    >>> decode(b'[{"bt":1.7e9,"n":"ph","u":"pH","v":7.2},{"n":"do","v":8}]', content_type=None).keys
    [('ph', 'pH'), ('do', None)]
    >>> decode(b'[{"n":"ph","vs":"seven"}]', content_type=None) is None
    True
    """
    if content_type == CONTENT_TYPE_CBOR or (content_type is None and payload[:1] in ARRAY_STARTS):
        return senml_cbor_columns.decode(payload)
    pack = _decode_json(payload) if content_type in {None, CONTENT_TYPE_JSON} else None
    if not pack:
        return None
    first = pack[0]
    if len(pack) == 1:  # what most devices send
        unit = first.bu if first.u is None else first.u
        return SenmlColumns([(first.bn + first.n, unit)], [first.v], [first.t], first.bt)
    keys = [(one.n, one.u) for one in pack]
    if first.bn or first.bu is not None:
        name, unit = first.bn, first.bu
        keys = [(name + n, unit if u is None else u) for n, u in keys]
    return SenmlColumns(keys, [one.v for one in pack], [one.t for one in pack], first.bt)


def _decode_json(payload: bytes) -> list[_PlainRecord] | None:
    """Decode a plain JSON pack; returns None for any other payload."""
    if b"\\" in payload or _has_later_base_field(payload):
        return None
    try:
        return _decoder.decode(payload)
    except _FAULTS:
        return None


def _has_later_base_field(payload: bytes) -> bool:
    """Whether the payload may contain a base field after the first record."""
    after = payload.find(b"}")
    if after >= len(payload) - len(b"}]"):
        return False
    return payload.find(b'"b', after) >= 0 and BASE_FIELD_PATTERN.search(payload, after) is not None
