"""Encodes and decodes the retained status message of a device, which is also its MQTT last will."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edge.wire.errors import PayloadError

CONTENT_TYPE = "application/json"
LATEST_S = 1e11  # the year 5138: a larger time is not in seconds; 1e11 ms are in 1973
FINER = (1e3, 1e6, 1e9)  # milliseconds, microseconds, nanoseconds per second
Count = Annotated[int, Meta(ge=0, le=2**53)]  # exact in every JSON reader and in a bigint


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Status of a device; every field except ``online`` is optional.

    Attributes
    ----------
    online : False in the last will, and after an orderly stop
    agent : version of the agent
    time_s : the device's clock when the status was sent, Unix seconds [s]
    spool_depth : messages waiting for a receipt [count]
    evicted : messages evicted from the full spool since its epoch began [count]
    clock_offset_s : device clock minus platform clock, as the device estimates it [s]
    battery_v : supply voltage [V]
    signal_dbm : strength of the radio link [dBm]
    """

    online: bool
    agent: Annotated[str, Meta(max_length=200)] | None = None
    time_s: float | None = None
    spool_depth: Count | None = None
    evicted: Count | None = None
    clock_offset_s: float | None = None
    battery_v: float | None = None
    signal_dbm: float | None = None


def encode(status: Status) -> bytes:
    """Encode a status as JSON."""
    return msgspec.json.encode(status)


def decode(payload: bytes) -> Status:
    """Decode a status; a time in milliseconds, microseconds or nanoseconds is converted to seconds.

    Raises
    ------
    PayloadError
        If the payload is not a valid status.

    Examples
    --------
    >>> decode(b'{"online":true,"time_s":1790000000000}').time_s
    1790000000.0

    """
    try:
        found = msgspec.json.decode(payload, type=Status)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"status is not a JSON object with a boolean 'online': {error}") from error
    if found.agent is not None and not found.agent.isprintable():
        raise PayloadError("status: agent holds what is not printable: send the version as text")
    if found.time_s is None or 0 <= found.time_s < LATEST_S:
        return found
    for finer in FINER:
        if 0 <= found.time_s / finer < LATEST_S:
            return msgspec.structs.replace(found, time_s=found.time_s / finer)
    raise PayloadError(f"status: time_s {found.time_s:g} is no Unix time: send seconds since 1970")
