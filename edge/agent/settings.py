"""Settings of a device's spool (local buffer) and MQTT publisher: size, receipts, resending, keep-alive."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a device's spool and publisher."""

    spool_bytes: Annotated[
        int,
        Meta(description="Payload bytes that the spool holds at most.", extra={"unit": "bytes"}, ge=1 << 16),
    ] = 256 << 20
    spool_age_s: Annotated[
        float,
        Meta(
            description="Age at which a message leaves the spool unsent, counted as evicted; 0 is unbounded.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 90 * 86_400.0
    spool_evict: Annotated[
        Literal["oldest", "newest"],
        Meta(description="What a full spool lets go of; every eviction is counted and reported."),
    ] = "oldest"
    window: Annotated[
        int,
        Meta(
            description="Messages on their way without a receipt.",
            extra={"unit": "messages"},
            ge=1,
            le=10_000,
        ),
    ] = 64
    receipt_timeout_s: Annotated[
        float,
        Meta(
            description="Without a receipt for so long, the oldest message is sent again, alone; doubles.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 5.0
    receipt_timeout_longest_s: Annotated[
        float,
        Meta(description="What the time without a receipt doubles up to.", extra={"unit": "s"}, gt=0),
    ] = 300.0
    receipts: Annotated[
        bool, Meta(description="Whether the platform sends receipts; without them PUBACK lets go.")
    ] = True
    drain_readings_per_s: Annotated[
        float,
        Meta(
            description="Rate at which messages leave at most; 0 is unbounded.", extra={"unit": "1/s"}, ge=0
        ),
    ] = 0.0
    backlog_readings_per_s: Annotated[
        float,
        Meta(
            description="Rate at most of the backlog of an outage, which is sent behind live readings;"
            " 0 is unbounded.",
            extra={"unit": "1/s"},
            ge=0,
        ),
    ] = 10_000.0
    clock_wait_s: Annotated[
        float,
        Meta(
            description="Time with a connection for which readings of a clock that was never set wait for it"
            " to be set (`edge run`); then they are sent as they are, flagged. 0 is not at all.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 60.0
    status_s: Annotated[
        float, Meta(description="Time between two status messages.", extra={"unit": "s"}, gt=0)
    ] = 60.0
    will_delay_s: Annotated[
        int,
        Meta(description="A connection lost for less is no reason to be offline.", extra={"unit": "s"}, ge=0),
    ] = 30
    keep_alive_s: Annotated[
        int, Meta(description="MQTT keep-alive.", extra={"unit": "s"}, ge=5, le=65_535)
    ] = 30
