"""Encodes and decodes the retained status message of a device, which is also its MQTT last will."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edge.wire.errors import PayloadError

CONTENT_TYPE = "application/json"
MAX_UNIX_TIME_S = 1e11  # the year 5138: a larger time is not in seconds; 1e11 ms are in 1973
SUBSECOND_FACTORS = (1e3, 1e6, 1e9)  # milliseconds, microseconds, nanoseconds per second
Count = Annotated[int, Meta(ge=0, le=2**53)]  # exact in every JSON reader and in a bigint


class StatusMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Status of a device; every field except ``online`` is optional.

    Attributes
    ----------
    online : False in the last will, and after an orderly stop
    agent : version of the agent
    time_s : the device's clock when the status was sent, Unix seconds [s]
    spool_depth : messages waiting for a receipt [count]
    evicted : messages evicted from the full spool since its epoch began [count]
    spools_set_aside : damaged spool files beside the spool, with readings that were not sent [count]
    clock_offset_s : device clock minus platform clock, as the device estimates it [s]
    battery_v : supply voltage [V]
    signal_dbm : strength of the radio link [dBm]
    """

    online: bool
    agent: Annotated[str, Meta(max_length=200)] | None = None
    time_s: float | None = None
    spool_depth: Count | None = None
    evicted: Count | None = None
    spools_set_aside: Count | None = None
    clock_offset_s: float | None = None
    battery_v: float | None = None
    signal_dbm: float | None = None


def encode_status(status: StatusMessage) -> bytes:
    """Encode a status as JSON."""
    return msgspec.json.encode(status)


def decode_status(payload: bytes) -> StatusMessage:
    """Decode a status; a time in milliseconds, microseconds or nanoseconds is converted to seconds.

    Raises
    ------
    PayloadError
        If the payload is not a valid status.

    Examples
    --------
    >>> decode_status(b'{"online":true,"time_s":1790000000000}').time_s
    1790000000.0

    """
    try:
        decoded_status = msgspec.json.decode(payload, type=StatusMessage)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"status is not a JSON object with a boolean 'online': {error}") from error
    if decoded_status.agent is not None and not decoded_status.agent.isprintable():
        raise PayloadError("status: agent holds what is not printable: send the version as text")
    if decoded_status.time_s is None or 0 <= decoded_status.time_s < MAX_UNIX_TIME_S:
        return decoded_status
    for factor in SUBSECOND_FACTORS:
        if 0 <= decoded_status.time_s / factor < MAX_UNIX_TIME_S:
            return msgspec.structs.replace(decoded_status, time_s=decoded_status.time_s / factor)
    raise PayloadError(f"status: time_s {decoded_status.time_s:g} is no Unix time: send seconds since 1970")
