"""Decodes and encodes SenML packs (RFC 8428) in JSON and CBOR.

A *pack* on the wire is a list of records that may depend on base fields; a *resolved* record (RFC 8428
section 4.6) is complete in itself. This module converts between the two, independently of MQTT, devices and
the meaning of channels.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TYPE_CHECKING

import cbor2
import msgspec

from edge.wire import senml_raw
from edge.wire.errors import PayloadError
from edge.wire.senml_raw import RecordFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.wire.senml_raw import RawRecord

CONTENT_TYPE_JSON = "application/senml+json"
CONTENT_TYPE_CBOR = "application/senml+cbor"

VERSION = 10  # RFC 8428 section 4.4
RELATIVE_TIME_LIMIT_S = 2**28  # RFC 8428 section 4.5.3: smaller times are relative to now
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One resolved SenML record: a complete name, an absolute time, one value.

    Attributes
    ----------
    name : channel (SenML ``n`` with the base name applied)
    time_s : time measured, Unix seconds [s]
    value : number in ``unit``; None if the record has another kind of value
    unit : SenML unit as sent, or None if the record has none
    text, flag, data : string, boolean and data values (``vs``, ``vb``, ``vd``)
    sum_ : SenML ``s``, the integral over time
    update_s : SenML ``ut``, the maximum time before the next record [s]

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
    """Decode a pack to resolved records.

    Parameters
    ----------
    payload : the message's bytes
    content_type : MQTT 5 Content Type, or None: then the first byte distinguishes JSON and CBOR
    now_s : reference of relative times, Unix seconds [s]

    Raises
    ------
    PayloadError
        With the fault, the record it is in, and the remedy.

    Examples
    --------
    >>> (record,) = decode(b'[{"bn":"a/","bt":1.7e9,"n":"ph","u":"pH","v":7.2}]', content_type=None, now_s=0)
    >>> record.name, record.time_s, record.value, record.unit
    ('a/ph', 1700000000.0, 7.2, 'pH')

    """
    records, faults = decode_each(payload, content_type=content_type, now_s=now_s)
    if faults:
        raise PayloadError(faults[0].sentence)
    if not records:
        raise PayloadError("the pack holds base fields only: send at least one record with a value")
    return records


def decode_each(
    payload: bytes, *, content_type: str | None, now_s: float | None
) -> tuple[list[Record], list[RecordFault]]:
    """Decode a pack to its valid resolved records and the faults of the others.

    A record of base fields only is neither (RFC 8428 section 4.1 allows base fields in any record). After an
    unreadable base field no further record is resolved, since they depend on it.

    Parameters
    ----------
    payload, content_type : as of `decode`
    now_s : as of `decode`; None if there is no reference, so that relative times are faults

    Raises
    ------
    PayloadError
        If it is not a SenML pack, is of a newer version, or has an unknown label that must be understood.

    """
    kind = _content_type_of(payload, content_type)
    raw = senml_raw.read_json(payload) if kind == CONTENT_TYPE_JSON else senml_raw.read_cbor(payload)
    if not raw:
        raise PayloadError("the pack is empty: send at least one record")
    return _resolve(raw, now_s)


def encode_json(records: Iterable[Record]) -> bytes:
    """Encode records as a SenML JSON pack, with base name, unit and time factored out.

    >>> encode_json([Record(name="ph", time_s=1.7e9 + t, value=7.2) for t in (0, 300)])
    b'[{"bn":"ph","bt":1700000000.0,"v":7.2},{"t":300.0,"v":7.2}]'
    """
    return msgspec.json.encode(_with_base_fields(records, base64_data=True))


def encode_cbor(records: Iterable[Record]) -> bytes:
    """Encode records as a SenML CBOR pack, with base name, unit and time factored out."""
    rows = _with_base_fields(records, base64_data=False)
    return cbor2.dumps(
        [
            {
                senml_raw.CBOR_NUMBERS[label]: value
                for label in row.__struct_fields__
                if (value := getattr(row, label)) is not None
            }
            for row in rows
        ]
    )


# -- reading -----------------------------------------------------------------------------------


def _content_type_of(payload: bytes, content_type: str | None) -> str:
    if content_type is None:
        return (
            CONTENT_TYPE_JSON if payload[:1].isspace() or payload[:1] in (b"[", b"{") else CONTENT_TYPE_CBOR
        )
    kind = content_type.split(";")[0].strip().lower()
    if kind not in (CONTENT_TYPE_JSON, CONTENT_TYPE_CBOR):
        raise PayloadError(f"content type {content_type!r} is not {CONTENT_TYPE_JSON} or {CONTENT_TYPE_CBOR}")
    return kind


class _BaseFields:
    """Base fields in effect for the following records (RFC 8428 section 4.1)."""

    name = ""
    time_s = 0.0
    unit: str | None = None
    value: float | None = None
    sum_: float | None = None

    def update_from(self, raw: RawRecord) -> None:
        """Update the base fields from a record."""
        self.name = self.name if raw.bn is None else raw.bn
        self.time_s = self.time_s if raw.bt is None else raw.bt
        self.unit = self.unit if raw.bu is None else raw.bu
        self.value = self.value if raw.bv is None else raw.bv
        self.sum_ = self.sum_ if raw.bs is None else raw.bs


def _resolve(
    raw: Sequence[RawRecord | RecordFault], now_s: float | None
) -> tuple[list[Record], list[RecordFault]]:
    base = _BaseFields()
    checked_names: set[str] = set()
    records: list[Record] = []
    faults: list[RecordFault] = []
    for index, one in enumerate(raw):
        if isinstance(one, RecordFault):
            faults.append(one)
            if one.base:
                faults += _unresolvable_after(index, len(raw))
                break
            continue
        if one.bver is not None and one.bver != VERSION:
            _check_version(one.bver, index)
        base.update_from(one)
        if not math.isfinite(base.time_s):
            faults.append(RecordFault(index, f"record {index}: bt {base.time_s} is not finite", base=True))
            faults += _unresolvable_after(index, len(raw))
            break
        if _holds_base_fields_only(one):
            continue
        resolved = _record(one, base, checked_names, index, now_s)
        if isinstance(resolved, RecordFault):
            faults.append(resolved)
        else:
            records.append(resolved)
    return records, faults


def _unresolvable_after(index: int, length: int) -> list[RecordFault]:
    """Return a fault for each record after one with an unreadable base field."""
    sentence = f"the records after {index} lean on its base fields, which can't be read"
    return [RecordFault(later, sentence) for later in range(index + 1, length)]


def _holds_base_fields_only(one: RawRecord) -> bool:
    named = (one.n, one.u, one.v, one.vs, one.vb, one.vd, one.s, one.t, one.ut)
    holds_base = (one.bn, one.bt, one.bu, one.bver) != (None, None, None, None)
    return holds_base and one.bv is None and one.bs is None and all(field is None for field in named)


def _record(
    one: RawRecord, base: _BaseFields, checked_names: set[str], index: int, now_s: float | None
) -> Record | RecordFault:
    """Resolve one record by RFC 8428 section 4.6, or return its fault."""
    name = base.name + one.n if one.n is not None else base.name
    if name not in checked_names:
        if not NAME.fullmatch(name):
            name_text = f"name {name!r}" if name else "no name"
            return RecordFault(
                index, f"record {index} has {name_text}: give n or bn of letters, digits and -:./_ only"
            )
        checked_names.add(name)
    value, total = _value_and_sum(one, base)
    time_s = base.time_s + (one.t or 0.0)
    problem = _value_problem(one, value, total, f"record {index} ({name!r})")
    if not math.isfinite(time_s):
        problem = f"record {index}: time {time_s} is not finite: leave out what was not measured"
    elif time_s < RELATIVE_TIME_LIMIT_S and now_s is None:
        problem = f"record {index} ({name!r}) has no absolute time, and was kept by the broker"
        return RecordFault(index, f"{problem}: publish data without retain, or with their time", "time")
    if problem:
        return RecordFault(index, problem)
    try:
        data = _bytes(one.vd, index)
    except PayloadError as error:
        return RecordFault(index, str(error))
    return Record(
        name=name,
        time_s=time_s + now_s if time_s < RELATIVE_TIME_LIMIT_S and now_s is not None else time_s,
        value=value,
        unit=one.u if one.u is not None else base.unit,
        text=one.vs,
        flag=one.vb,
        data=data,
        sum_=total,
        update_s=one.ut,
    )


def _value_and_sum(one: RawRecord, base: _BaseFields) -> tuple[float | None, float | None]:
    """Return value and sum of a record, with base value and base sum added."""
    value = one.v
    if value is None:
        value = base.value if one.vs is None and one.vb is None and one.vd is None else None
    elif base.value is not None:
        value += base.value
    return value, base.sum_ if one.s is None else one.s + (base.sum_ or 0.0)


def _value_problem(one: RawRecord, value: float | None, total: float | None, record: str) -> str | None:
    """Describe the fault in the values of a record; None if there is none."""
    values = (value is not None) + (one.vs is not None) + (one.vb is not None) + (one.vd is not None)
    if not values and total is None:
        return f"{record} has no value: give one of v, vs, vb, vd, or s"
    if values > 1:
        return f"{record} has more than one value: give one of v, vs, vb, vd"
    if value is not None and not math.isfinite(value):
        return f"{record}: value {value} is not finite: leave out what was not measured"
    return None


def _check_version(version: int, index: int) -> None:
    if version > VERSION:
        raise PayloadError(
            f"record {index}: SenML version {version} is newer than {VERSION}: send version {VERSION}"
        )


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


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    """One record as it is written; fields in the order of the encoded labels, which None leaves out."""

    bn: str | None = None
    bu: str | None = None
    bt: float | None = None
    n: str | None = None
    u: str | None = None
    t: float | None = None
    v: float | None = None
    vs: str | None = None
    vb: bool | None = None
    s: float | None = None
    ut: float | None = None
    vd: str | bytes | None = None


def _with_base_fields(records: Iterable[Record], *, base64_data: bool) -> list[_Row]:
    """Convert records to rows with base fields: name and unit if all records share them, time always."""
    pack = list(records)
    if not pack:
        return []
    first = pack[0]
    same_name = all(one.name == first.name for one in pack)
    same_unit = all(one.unit == first.unit for one in pack)
    base_time = first.time_s
    rows: list[_Row] = []
    for one in pack:
        row = _Row(v=one.value, vs=one.text, vb=one.flag, s=one.sum_, ut=one.update_s)
        if base_time + (one.time_s - base_time) != one.time_s:  # a relative time would lose digits
            row.bt = base_time = one.time_s
        if not same_name:
            row.n = one.name
        if not same_unit:
            row.u = one.unit
        if one.time_s != base_time:
            row.t = one.time_s - base_time
        if one.data is not None:
            row.vd = base64.urlsafe_b64encode(one.data).rstrip(b"=").decode() if base64_data else one.data
        rows.append(row)
    rows[0].bt = first.time_s
    rows[0].bn = first.name if same_name else None
    rows[0].bu = first.unit if same_unit else None
    return rows
