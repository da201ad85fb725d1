"""The retained status message of a device, and its last will."""

from __future__ import annotations

import msgspec

from edge.wire.errors import PayloadError

CONTENT_TYPE = "application/json"


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device says of itself; every field but ``online`` is optional.

    Attributes
    ----------
    online : False comes from the last will, or from an orderly stop
    agent : version of the agent
    time_s : the device's clock when it said so, Unix seconds [s]
    spool_depth : messages waiting for a receipt [count]
    evicted : messages that the bounded spool had to let go since its epoch began [count]
    clock_offset_s : device clock minus platform clock, as the device estimates it [s]
    battery_v : supply voltage [V]
    signal_dbm : strength of the radio link [dBm]
    """

    online: bool
    agent: str | None = None
    time_s: float | None = None
    spool_depth: int | None = None
    evicted: int | None = None
    clock_offset_s: float | None = None
    battery_v: float | None = None
    signal_dbm: float | None = None


def encode(status: Status) -> bytes:
    """A status as it goes over the wire."""
    return msgspec.json.encode(status)


def decode(payload: bytes) -> Status:
    """Read a status. Raises `PayloadError`."""
    try:
        return msgspec.json.decode(payload, type=Status)
    except msgspec.MsgspecError as error:
        raise PayloadError(f"status is not a JSON object with a boolean 'online': {error}") from error
