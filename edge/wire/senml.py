"""SenML packs (RFC 8428), JSON and CBOR, both ways.

A *pack* on the wire is a list of records that may lean on base fields; a *resolved* record
(RFC 8428 section 4.6) stands alone. This module turns one into the other and knows nothing of
MQTT, of devices, or of what a channel means.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TYPE_CHECKING, Any

import cbor2
import msgspec

from edge.wire import senml_raw
from edge.wire.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.wire.senml_raw import Raw

CONTENT_TYPE_JSON = "application/senml+json"
CONTENT_TYPE_CBOR = "application/senml+cbor"

VERSION = 10  # RFC 8428 section 4.4
RELATIVE_BELOW = 2**28  # RFC 8428 section 4.5.3: smaller times are relative to now
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One resolved SenML record: a complete name, an absolute time, one value.

    Attributes
    ----------
    name : channel (SenML ``n`` with the base name applied)
    time_s : measured at, Unix seconds [s]
    value : number in ``unit``; None where the record carries another kind of value
    unit : SenML unit as sent, or None where the record names none
    text, flag, data : string, boolean and data values (``vs``, ``vb``, ``vd``)
    sum_ : SenML ``s``, the integral over time
    update_s : SenML ``ut``, the longest wait before the next record [s]

    """

    name: str
    time_s: float
    value: float | None = None
    unit: str | None = None
    text: str | None = None
    flag: bool | None = None
    data: bytes | None = None
    sum_: float | None = None
    update_s: float | None = None


def decode(payload: bytes, *, content_type: str | None, now_s: float) -> list[Record]:
    """Resolve a pack into records.

    Parameters
    ----------
    payload : the message's bytes
    content_type : MQTT 5 Content Type, or None: then the first byte tells JSON from CBOR
    now_s : what relative times are relative to, Unix seconds [s]

    Raises
    ------
    PayloadError
        Saying what is wrong, in which record, and what to do.

    Examples
    --------
    >>> (record,) = decode(b'[{"bn":"a/","bt":1.7e9,"n":"ph","u":"pH","v":7.2}]', content_type=None, now_s=0)
    >>> record.name, record.time_s, record.value, record.unit
    ('a/ph', 1700000000.0, 7.2, 'pH')

    """
    kind = _kind(payload, content_type)
    raw = senml_raw.read_json(payload) if kind == CONTENT_TYPE_JSON else senml_raw.read_cbor(payload)
    if not raw:
        raise PayloadError("the pack is empty: send at least one record")
    return _resolve(raw, now_s)


def encode_json(records: Iterable[Record]) -> bytes:
    """Pack records as SenML JSON, with base name, unit and time factored out.

    >>> encode_json([Record(name="ph", time_s=1.7e9 + t, value=7.2) for t in (0, 300)])
    b'[{"bn":"ph","bt":1700000000.0,"v":7.2},{"t":300.0,"v":7.2}]'
    """
    return msgspec.json.encode(_factored(records, base64_data=True))


def encode_cbor(records: Iterable[Record]) -> bytes:
    """Pack records as SenML CBOR, with base name, unit and time factored out."""
    rows = _factored(records, base64_data=False)
    return cbor2.dumps(
        [{senml_raw.CBOR_NUMBERS[label]: value for label, value in row.items()} for row in rows]
    )


# -- reading -----------------------------------------------------------------------------------


def _kind(payload: bytes, content_type: str | None) -> str:
    if content_type is None:
        return (
            CONTENT_TYPE_JSON if payload[:1].isspace() or payload[:1] in (b"[", b"{") else CONTENT_TYPE_CBOR
        )
    kind = content_type.split(";")[0].strip().lower()
    if kind not in (CONTENT_TYPE_JSON, CONTENT_TYPE_CBOR):
        raise PayloadError(f"content type {content_type!r} is not {CONTENT_TYPE_JSON} or {CONTENT_TYPE_CBOR}")
    return kind


def _resolve(raw: Sequence[Raw], now_s: float) -> list[Record]:  # noqa: C901, PLR0912 - one pass, the RFC's rules
    base_name, base_unit = "", None
    base_time = base_value = base_sum = 0.0
    has_base_value = has_base_sum = False
    checked: set[str] = set()
    records: list[Record] = []
    for index, one in enumerate(raw):
        if one.bn is not None:
            base_name = one.bn
        if one.bt is not None:
            base_time = one.bt
        if one.bu is not None:
            base_unit = one.bu
        if one.bv is not None:
            base_value, has_base_value = one.bv, True
        if one.bs is not None:
            base_sum, has_base_sum = one.bs, True
        if one.bver is not None and one.bver != VERSION:
            _check_version(one.bver, index)
        name = base_name + one.n if one.n is not None else base_name
        if name not in checked:
            _check_name(name, index)
            checked.add(name)
        time_s = base_time + (one.t or 0.0)
        if time_s < RELATIVE_BELOW:
            time_s += now_s
        value = one.v
        if value is None:
            if one.vs is None and one.vb is None and one.vd is None:
                value = base_value if has_base_value else None
        elif has_base_value:
            value += base_value
        total = one.s + base_sum if one.s is not None else (base_sum if has_base_sum else None)
        text, flag, data = one.vs, one.vb, one.vd
        if text is None and flag is None and data is None:
            if value is None and total is None:
                raise PayloadError(f"record {index} ({name!r}) has no value: give one of v, vs, vb, vd, or s")
            records.append(
                Record(
                    name=name,
                    time_s=_finite(time_s, "time", index),
                    value=None if value is None else _finite(value, "value", index),
                    unit=one.u if one.u is not None else base_unit,
                    sum_=total,
                    update_s=one.ut,
                )
            )
            continue
        if (value is not None) + (text is not None) + (flag is not None) + (data is not None) > 1:
            raise PayloadError(
                f"record {index} ({name!r}) has more than one value: give one of v, vs, vb, vd"
            )
        records.append(
            Record(
                name=name,
                time_s=_finite(time_s, "time", index),
                unit=one.u if one.u is not None else base_unit,
                text=text,
                flag=flag,
                data=_bytes(data, index),
                sum_=total,
                update_s=one.ut,
            )
        )
    return records


def _check_version(version: int, index: int) -> None:
    if version > VERSION:
        raise PayloadError(
            f"record {index}: SenML version {version} is newer than {VERSION}: send version {VERSION}"
        )


def _check_name(name: str, index: int) -> None:
    if not NAME.fullmatch(name):
        what = f"name {name!r}" if name else "no name"
        raise PayloadError(f"record {index} has {what}: give n or bn of letters, digits and -:./_ only")


def _finite(number: float, what: str, index: int) -> float:
    if not math.isfinite(number):
        raise PayloadError(f"record {index}: {what} {number} is not finite: leave out what was not measured")
    return number


def _bytes(data: object, index: int) -> bytes | None:
    if data is None or isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        raise PayloadError(f"record {index}: vd is neither base64url nor bytes")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"record {index}: vd is not base64url: {error}") from error


# -- writing -----------------------------------------------------------------------------------


def _factored(records: Iterable[Record], *, base64_data: bool) -> list[dict[str, Any]]:
    """Rows that lean on base fields: name and unit where all records share them, time always."""
    pack = list(records)
    names, units = {one.name for one in pack}, {one.unit for one in pack}
    rows: list[dict[str, Any]] = []
    base_time = pack[0].time_s if pack else 0.0
    for one in pack:
        row: dict[str, Any] = {}
        if not rows:
            row |= {"bn": one.name} if len(names) == 1 else {}
            row |= {"bu": one.unit} if len(units) == 1 and one.unit is not None else {}
            row["bt"] = base_time
        elif base_time + (one.time_s - base_time) != one.time_s:  # the difference would lose digits
            row["bt"] = base_time = one.time_s
        if len(names) > 1:
            row["n"] = one.name
        if len(units) > 1 and one.unit is not None:
            row["u"] = one.unit
        if one.time_s != base_time:
            row["t"] = one.time_s - base_time
        values = {"v": one.value, "vs": one.text, "vb": one.flag, "s": one.sum_, "ut": one.update_s}
        row |= {label: value for label, value in values.items() if value is not None}
        if one.data is not None:
            row["vd"] = base64.urlsafe_b64encode(one.data).rstrip(b"=").decode() if base64_data else one.data
        rows.append(row)
    return rows
