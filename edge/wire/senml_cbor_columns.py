"""Decodes plain SenML CBOR packs to columns by their templates, without an object per record.

The *template* of a payload is the payload without the eight bytes of its double-precision numbers. Two
payloads with the same template have the same structure, names and units, so the template is parsed once, and
the numbers of every further payload are read by one `struct.unpack`.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from edge.wire import senml_raw
from edge.wire.errors import PayloadError
from edge.wire.senml_raw import CBOR_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

    Number = float | int
    PlainRow = dict[int, str | Number]

DOUBLE = b"\xfb"  # initial byte of a double (RFC 8949 section 3.3); it does not occur in UTF-8
_DOUBLES = re.compile(rb"\xfb(.{8})", re.DOTALL)
BASE_NAME, BASE_TIME, BASE_UNIT = CBOR_NUMBERS["bn"], CBOR_NUMBERS["bt"], CBOR_NUMBERS["bu"]
NAME, UNIT, VALUE, TIME = (CBOR_NUMBERS[label] for label in ("n", "u", "v", "t"))
TEXT_LABELS = frozenset({BASE_NAME, BASE_UNIT, NAME, UNIT})
NUMBER_LABELS = frozenset({BASE_TIME, VALUE, TIME})
BASE_LABELS = frozenset({BASE_NAME, BASE_TIME, BASE_UNIT})
MAX_INTEGER = 2**63  # larger numbers are left to `edge.wire.senml`
MAX_TEMPLATES, MAX_TEMPLATE_BYTES = 2_000, 4_096


class CborColumns(NamedTuple):
    """A pack of n records, as `edge.wire.senml_columns.SenmlColumns`."""

    keys: list[tuple[str, str | None]]
    values: list[float]
    times_s: list[float]
    base_time_s: float


class _Template(NamedTuple):
    """Structure of a payload: indices into its doubles, followed by a zero for the times it leaves out."""

    unpack: Callable[[bytes], tuple[float, ...]]
    doubles: int
    keys: list[tuple[str, str | None]]
    value_at: list[int]
    time_at: list[int]
    base_time_at: int


_templates: dict[bytes, _Template] = {}


def decode(payload: bytes) -> CborColumns | None:
    """Decode a plain pack to columns; returns None for any other pack, valid or not.

    >>> decode(bytes.fromhex("81a3006270680162704802fb401ccccccccccccd"))
    CborColumns(keys=[('ph', 'pH')], values=[7.2], times_s=[0.0], base_time_s=0.0)
    """
    parts = _DOUBLES.split(payload)
    doubles = len(parts) // 2
    key = DOUBLE.join(parts[::2])
    template = _templates.get(key)
    if template is None or template.doubles != doubles:
        return _decode_new(payload, key, b"".join(parts[1::2]))
    numbers = (*template.unpack(b"".join(parts[1::2])), 0.0)
    return CborColumns(
        template.keys,
        [numbers[at] for at in template.value_at],
        [numbers[at] for at in template.time_at],
        numbers[template.base_time_at],
    )


def _decode_new(payload: bytes, key: bytes, doubles: bytes) -> CborColumns | None:
    """Decode a pack record by record, and store its template if all its numbers are doubles."""
    rows = _plain_rows(payload)
    if rows is None:
        return None
    name, unit = rows[0].get(BASE_NAME, ""), rows[0].get(BASE_UNIT)
    keys = [(f"{name}{row.get(NAME, '')}", row.get(UNIT, unit)) for row in rows]
    numbers = [number for row in rows for label, number in row.items() if label in NUMBER_LABELS]
    if len(key) <= MAX_TEMPLATE_BYTES and _are_all_doubles(numbers, key, doubles):
        if len(_templates) >= MAX_TEMPLATES:
            _templates.clear()
        _templates[key] = _template(rows, keys, len(numbers))  # type: ignore[arg-type]
    return CborColumns(
        keys,  # type: ignore[arg-type]
        [float(row[VALUE]) for row in rows],
        [float(row.get(TIME, 0.0)) for row in rows],
        float(rows[0].get(BASE_TIME, 0.0)),
    )


def _plain_rows(payload: bytes) -> list[PlainRow] | None:
    """Return the records by label; None unless only the first has base fields, and all only n, u, t and v."""
    try:
        pack = senml_raw.load_cbor(payload)
    except PayloadError:
        return None
    for index, row in enumerate(pack):
        if type(row) is not dict or VALUE not in row or not all(map(_is_plain, row.items())):
            return None
        if index and not BASE_LABELS.isdisjoint(row):
            return None
    return list(pack) or None


def _is_plain(item: tuple[object, object]) -> bool:
    label, value = item
    if type(label) is not int:  # True and 1.0 equal the label 1
        return False
    if label in TEXT_LABELS:
        return type(value) is str
    return label in NUMBER_LABELS and (
        type(value) is float or (type(value) is int and abs(value) < MAX_INTEGER)
    )


def _are_all_doubles(numbers: list[str | Number], key: bytes, doubles: bytes) -> bool:
    """Whether the doubles found in the payload are all its numbers, in order, and no other bytes."""
    return (
        key.count(DOUBLE) == len(numbers)
        and all(type(number) is float for number in numbers)
        and struct.pack(f">{len(numbers)}d", *numbers) == doubles
    )


def _template(rows: list[PlainRow], keys: list[tuple[str, str | None]], doubles: int) -> _Template:
    labels = [(index, label) for index, row in enumerate(rows) for label in row if label in NUMBER_LABELS]
    at = {field: number for number, field in enumerate(labels)}
    return _Template(
        struct.Struct(f">{doubles}d").unpack,
        doubles,
        keys,
        [at[index, VALUE] for index in range(len(rows))],
        [at.get((index, TIME), doubles) for index in range(len(rows))],
        at.get((0, BASE_TIME), doubles),
    )
