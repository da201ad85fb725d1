"""Parses SenML packs, as JSON or CBOR arrays, to unresolved records.

For any bytes, either a pack is returned or `PayloadError` is raised. An invalid record does not invalidate
its pack: it is returned as a `Fault` at its index.
"""

from __future__ import annotations

import io
import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import cbor2
import msgspec

from edge.wire import decode_errors
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# RFC 8428 section 6, table 4: CBOR labels.
CBOR_LABELS = {
    -6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
CBOR_NUMBERS = {label: number for number, label in CBOR_LABELS.items()}
BASE_LABELS = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
CBOR_DEPTH = 32  # a pack has depth three; deeper values can only be in labels that are ignored
BIGNUM_BYTES = 128  # 2 ** 1024 exceeds every double; conversion of more digits takes quadratic time
# Tags that cbor2 would decode to objects (dates, shared references, regular expressions, MIME, ...). None of
# them is a SenML value, and some can be made cyclic or very slow to decode, so they are kept as tags.
OPAQUE_TAGS = (0, 1, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)


class RawRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """An unresolved record; unknown labels are ignored, as RFC 8428 requires."""

    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bs: float | None = None
    bver: int | None = None
    n: str | None = None
    u: str | None = None
    v: float | None = None
    vs: str | None = None
    vb: bool | None = None
    vd: object = None  # base64url in JSON, bytes in CBOR
    s: float | None = None
    t: float | None = None
    ut: float | None = None


class RecordFault(msgspec.Struct, frozen=True):
    """Fault of the record ``index`` of a pack.

    Attributes
    ----------
    reason : "payload", or "time" if a record has no absolute time but needs one
    base : whether a base field is unreadable, so that the following records can't be resolved

    """

    index: int
    sentence: str
    reason: str = "payload"
    base: bool = False


NUMBER_LABELS = ("v", "t", "bt", "bv", "s", "bs", "ut", "bver")

_json = msgspec.json.Decoder(list[RawRecord])
_json_each = msgspec.json.Decoder(list[msgspec.Raw])
_json_one = msgspec.json.Decoder(RawRecord)
_json_labels = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


def read_json(payload: bytes) -> list[RawRecord | RecordFault]:
    """Parse a JSON pack. Raises `PayloadError` if it is not a JSON array of records."""
    try:
        raw: list[RawRecord | RecordFault] = _json.decode(payload)  # type: ignore[assignment]
    except _UNREADABLE as error:
        return _read_json_each(payload, error)
    if b'_"' in payload:  # possibly a label that must be understood
        try:
            labelled = _json_labels.decode(payload)
        except _UNREADABLE as error:
            raise PayloadError(decode_errors.json_error(payload, error)) from error
        for index, labels in enumerate(labelled):
            _check_must_understand(labels, index)
    return raw


def _read_json_each(payload: bytes, error: Exception) -> list[RawRecord | RecordFault]:
    """Parse a JSON pack with faults record by record. Raises `PayloadError` if it is not an array."""
    message_text = decode_errors.json_error(payload, error)
    if b"NaN" in payload or b"Infinity" in payload:  # invalid JSON that many encoders write
        try:
            pack = json.loads(payload)
        except _UNREADABLE:
            raise PayloadError(message_text) from error
        if not isinstance(pack, list):
            raise PayloadError(message_text) from error
        return [_from_python(row, index) for index, row in enumerate(pack)]
    try:
        rows = _json_each.decode(payload)
    except _UNREADABLE:
        raise PayloadError(message_text) from error
    return [_json_record(row, index) for index, row in enumerate(rows)]


def _json_record(row: msgspec.Raw, index: int) -> RawRecord | RecordFault:
    try:
        labels = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
    except _UNREADABLE as error:
        return RecordFault(index, decode_errors.record_error(index, None, error), base=b'"b' in bytes(row))
    _check_must_understand(labels, index)
    try:
        return _json_one.decode(row)
    except _UNREADABLE as error:
        texts = {label: _text(one) for label, one in labels.items()}
        sentence = decode_errors.record_error(index, texts.get("n"), error)
        return RecordFault(
            index, _text_in_number_field(texts, index) or sentence, base=_has_unreadable_base(labels)
        )


def _text(encoded: msgspec.Raw) -> str | None:
    """Decode a field as a JSON string; None if it is something else."""
    try:
        return msgspec.json.decode(encoded, type=str)
    except _UNREADABLE:
        return None


def _text_in_number_field(by_label: Mapping[str, object], index: int) -> str | None:
    """Describe the first field with a text in place of a number; None if there is none."""
    for label in NUMBER_LABELS:
        text = by_label.get(label)
        if isinstance(text, str):
            channel = by_label.get("n")
            where = f" (channel {channel[:64]!r})" if isinstance(channel, str) else ""
            comma = " and with a point in place of the comma" if "," in text else ""
            return (
                f"record {index}{where}: {label!r} is the text {text[:64]!r}: send a number, "
                f"without quotation marks{comma}"
            )
    return None


def _has_unreadable_base(labels: dict[str, msgspec.Raw]) -> bool:
    """Whether a base field of a JSON record has the wrong type."""
    for label in BASE_LABELS & labels.keys():
        try:
            _json_one.decode(b'{"%s":%s}' % (label.encode(), bytes(labels[label])))
        except _UNREADABLE:
            return True
    return False


def read_cbor(payload: bytes) -> list[RawRecord | RecordFault]:
    """Parse a CBOR pack. Raises `PayloadError` if it is not a CBOR array."""
    return [_from_cbor(row, index) for index, row in enumerate(load_cbor(payload))]


def load_cbor(payload: bytes) -> Sequence[Any]:
    """Decode a CBOR array to Python objects. Raises `PayloadError` if it is not one."""
    stream = io.BytesIO(payload)
    try:
        pack = cbor2.load(stream, semantic_decoders=_TAGS, max_depth=CBOR_DEPTH)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PayloadError(decode_errors.cbor_error(payload, error)) from error
    if stream.tell() != len(payload):
        raise PayloadError(
            f"{len(payload) - stream.tell()} bytes follow the CBOR pack: send one pack a message"
        )
    if not isinstance(pack, list | tuple):
        raise PayloadError("the message is no CBOR array: send a SenML CBOR array of records (RFC 8428)")
    return pack


def _from_cbor(row: object, index: int) -> RawRecord | RecordFault:
    if not isinstance(row, dict):
        return RecordFault(index, f"record {index} is no CBOR map")
    _check_must_understand(row, index)
    numbered = {label: value for label, value in row.items() if type(label) is int}
    return _from_labels(
        {CBOR_LABELS[one]: numbered[one] for one in CBOR_LABELS.keys() & numbered.keys()}, index
    )


def _from_python(row: object, index: int) -> RawRecord | RecordFault:
    """Convert a record from Python's JSON decoder, which accepts NaN and Infinity."""
    if not isinstance(row, dict):
        return RecordFault(index, f"record {index} is no JSON object")
    _check_must_understand(row, index)
    non_finite = [label for label, one in row.items() if isinstance(one, float) and not math.isfinite(one)]
    if non_finite:
        sentence = (
            f"record {index}: {non_finite[0]!r} is NaN or infinite, which a SenML JSON array can't hold"
        )
        return RecordFault(
            index, f"{sentence}: leave out what was not measured", base=not BASE_LABELS.isdisjoint(non_finite)
        )
    return _from_labels(row, index)


def _from_labels(by_label: dict[str, Any], index: int) -> RawRecord | RecordFault:
    try:
        return msgspec.convert(by_label, RawRecord)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
        sentence = _text_in_number_field(by_label, index) or decode_errors.record_error(
            index, by_label.get("n"), error
        )
        return RecordFault(index, sentence, base=any(map(_is_bad_base, by_label.items())))


def _is_bad_base(item: tuple[str, object]) -> bool:
    label, value = item
    try:
        msgspec.convert({label: value}, RawRecord)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError):
        return label in BASE_LABELS
    return False


def _opaque(tag: int, value: object, _immutable: bool) -> cbor2.CBORTag:  # noqa: FBT001 - signature required by cbor2
    return cbor2.CBORTag(tag, value)


def _bignum(sign: int, value: object, _immutable: bool) -> object:  # noqa: FBT001 - signature required by cbor2
    """Decode tags 2 and 3, RFC 8949 section 3.4.3; infinite if beyond the range of a double."""
    if not isinstance(value, bytes):
        return cbor2.CBORTag(2, value)
    if len(value) > BIGNUM_BYTES:
        return math.copysign(math.inf, sign)
    magnitude = int.from_bytes(value)
    return magnitude if sign > 0 else -1 - magnitude


def _fraction(base: int, value: object, _immutable: bool) -> object:  # noqa: FBT001 - signature required by cbor2
    """Decode tags 4 (decimal fraction) and 5 (bigfloat), RFC 8949 section 3.4.4, to a double."""
    match value:
        case [int() as exponent, int() as mantissa]:
            if mantissa.bit_length() > 8 * BIGNUM_BYTES:
                return math.copysign(math.inf, mantissa)
            if base == 10:
                return float(f"{mantissa}e{exponent}")
            try:
                return math.ldexp(mantissa, max(-4096, min(exponent, 4096)))
            except OverflowError:
                return math.copysign(math.inf, mantissa)
        case _:
            return cbor2.CBORTag(4, value)


def _self_described_value(value: object, _immutable: bool) -> object:  # noqa: FBT001 - signature required by cbor2
    """Decode tag 55799 (self-described CBOR, RFC 8949 section 3.4.6) to its content."""
    return value


_TAGS: dict[int, Any] = {
    **{tag: partial(_opaque, tag) for tag in OPAQUE_TAGS},
    2: partial(_bignum, 1),
    3: partial(_bignum, -1),
    4: partial(_fraction, 10),
    5: partial(_fraction, 2),
    55799: _self_described_value,
}


def _check_must_understand(labels: Iterable[object], index: int) -> None:
    for label in labels:
        if isinstance(label, str) and label.endswith("_"):
            raise PayloadError(f"record {index}: label {label!r} must be understood and is not: leave it out")
