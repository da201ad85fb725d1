"""SenML packs (RFC 8428), JSON and CBOR, both ways.

A *pack* on the wire is a list of records that may lean on base fields; a *resolved* record
(RFC 8428 section 4.6) stands alone. This module turns one into the other and knows nothing of
MQTT, of devices, or of what a channel means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE_JSON = "application/senml+json"
CONTENT_TYPE_CBOR = "application/senml+cbor"


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
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
    """Resolve a pack into records. Raises `edge.wire.errors.PayloadError`."""
    raise NotImplementedError


def encode_json(records: Iterable[Record]) -> bytes:
    """Pack records as SenML JSON, with base name, unit and time factored out."""
    raise NotImplementedError


def encode_cbor(records: Iterable[Record]) -> bytes:
    """Pack records as SenML CBOR, with base name, unit and time factored out."""
    raise NotImplementedError
