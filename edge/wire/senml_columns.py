"""Decodes plain SenML JSON packs to columns: the fast path of `edge.wire.senml`, without `Record` objects.

A pack is plain if only its first record has base fields, and all records have only n, u, t and a number v.
All other packs, valid or not, are left to `edge.wire.senml.decode`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from edge.wire.senml import CONTENT_TYPE_JSON

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


_decoder = msgspec.json.Decoder(list[_PlainRecord])


def decode(payload: bytes, *, content_type: str | None) -> SenmlColumns | None:
    """Decode a plain pack to columns; returns None for any other pack.

    >>> decode(b'[{"bt":1.7e9,"n":"ph","u":"pH","v":7.2},{"n":"do","v":8}]', content_type=None).keys
    [('ph', 'pH'), ('do', None)]
    >>> decode(b'[{"n":"ph","vs":"seven"}]', content_type=None) is None
    True
    """
    if content_type is not None and content_type != CONTENT_TYPE_JSON:
        return None
    if b"\\" in payload or _has_later_base_field(payload):
        return None
    try:
        pack = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
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


def _has_later_base_field(payload: bytes) -> bool:
    """Whether the payload may contain a base field after the first record."""
    after = payload.find(b"}")
    if after >= len(payload) - len(b"}]"):
        return False
    return payload.find(b'"b', after) >= 0 and BASE_FIELD_PATTERN.search(payload, after) is not None
