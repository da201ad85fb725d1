"""SenML packs as they stand on the wire, before they are resolved: JSON arrays and CBOR arrays of records."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import cbor2
import msgspec

from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 8428 section 6, table 4: CBOR labels.
CBOR_LABELS = {
    -6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
CBOR_NUMBERS = {label: number for number, label in CBOR_LABELS.items()}


class Raw(msgspec.Struct, omit_defaults=True, gc=False):
    """A record as it stands in a JSON pack; what it does not name is ignored, as the RFC has it."""

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


_json = msgspec.json.Decoder(list[Raw])
_json_labels = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def read_json(payload: bytes) -> list[Raw]:
    """The records of a JSON pack. Raises `PayloadError`."""
    try:
        raw = _json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"not a SenML JSON array of records (RFC 8428): {error}") from error
    if b'_"' in payload:  # perhaps a label that must be understood
        for index, labels in enumerate(_json_labels.decode(payload)):
            _refuse_must_understand(labels, index)
    return raw


def read_cbor(payload: bytes) -> list[Raw]:
    """The records of a CBOR pack. Raises `PayloadError`."""
    try:
        stream = io.BytesIO(payload)
        pack = cbor2.load(stream)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadError(f"not CBOR, or cut short: {error}") from error
    if stream.tell() != len(payload):
        raise PayloadError(
            f"{len(payload) - stream.tell()} bytes follow the CBOR pack: send one pack a message"
        )
    if not isinstance(pack, list | tuple):
        raise PayloadError("not a SenML CBOR array of records (RFC 8428)")
    return [_from_cbor(row, index) for index, row in enumerate(pack)]


def _from_cbor(row: object, index: int) -> Raw:
    if not isinstance(row, dict):
        raise PayloadError(f"record {index} is no CBOR map")
    _refuse_must_understand(row, index)
    named: dict[str, Any] = {
        CBOR_LABELS[label]: _as_float(value)
        for label, value in row.items()
        if type(label) is int and label in CBOR_LABELS
    }
    try:
        return msgspec.convert(named, Raw)
    except msgspec.ValidationError as error:
        raise PayloadError(f"record {index}: {error}") from error


def _as_float(value: Any) -> Any:
    """CBOR numbers may be decimal fractions (tag 4); all must survive as doubles."""
    return value if isinstance(value, bool | int | float | str | bytes) or value is None else float(value)


def _refuse_must_understand(labels: Iterable[object], index: int) -> None:
    for label in labels:
        if isinstance(label, str) and label.endswith("_"):
            raise PayloadError(f"record {index}: label {label!r} must be understood and is not: leave it out")
