"""Settings of the ingest process, and those that it shares with the receiver of federation."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingest_service.pipeline.share import Share


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of every process that receives from the broker for some areas."""

    areas: Annotated[
        list[str], Meta(description="Areas that the process takes; + alone means every area.", min_length=1)
    ] = msgspec.field(default_factory=lambda: ["+"])
    receive_maximum: Annotated[
        int,
        Meta(
            description="Messages that the broker may send before the first of them is acknowledged.",
            extra={"unit": "messages"},
            ge=1,
            le=65535,
        ),
    ] = 4000
    keep_alive_s: Annotated[
        int,
        Meta(
            description="MQTT keep-alive: a broker silent for up to twice as long is given up.",
            extra={"unit": "s"},
            ge=2,
            le=65535,
        ),
    ] = 60
    inbox_bytes: Annotated[
        int,
        Meta(
            description="Bytes held in memory: payloads, topics, properties, and a constant a message; "
            "beyond them the socket is not read, and QoS 0 is dropped.",
            extra={"unit": "bytes"},
            ge=1 << 20,
        ),
    ] = 64 << 20
    stuck_s: Annotated[
        float,
        Meta(
            description="Health shows the process as stuck where its main loop does not move on for so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 30.0
    future_s: Annotated[
        float,
        Meta(
            description="How far ahead of the platform's clock a measured time may be.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 300.0
    earliest_s: Annotated[
        float,
        Meta(
            description="A reading measured before it is of a clock that was never set (2001-01-01).",
            extra={"unit": "s"},
            ge=2**28,
        ),
    ] = 978_307_200.0
    metrics_port: Annotated[
        int, Meta(description="Port of the Prometheus metrics on loopback; 0 is off.", ge=0, le=65535)
    ] = 0


class Settings(SessionSettings, frozen=True, kw_only=True):
    """Settings of one shard of the ingest service."""

    shard: Annotated[
        str,
        Meta(
            description="Name of the shard: its MQTT client id, its session and its lock.",
            pattern="^[a-z0-9-]+$",
        ),
    ] = "main"
    share: Annotated[
        str,
        Meta(
            description="Part of the areas' devices that the process stores, by a hash of their names: 1/2 "
            "and 2/2 are two processes. Each receives all messages, and drops those of the others.",
            pattern="^[1-9][0-9]?/[1-9][0-9]?$",
        ),
    ] = "1/1"
    batch_messages: Annotated[
        int, Meta(description="Messages in one transaction at most.", extra={"unit": "messages"}, ge=1)
    ] = 2000
    batch_bytes: Annotated[
        int, Meta(description="Payload bytes in one transaction at most.", extra={"unit": "bytes"}, ge=1)
    ] = 3 << 20
    batch_wait_s: Annotated[
        float,
        Meta(description="How long a first message waits for company.", extra={"unit": "s"}, ge=0, le=10),
    ] = 0.05
    checkpoint_s: Annotated[
        float,
        Meta(
            description="Longest time between two checkpoints of the judge's state; under load they are "
            "more frequent, but not more than one a second.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 5.0
    replay_days: Annotated[
        float,
        Meta(
            description="History that rebuilds the judge's state where no usable checkpoint is.",
            extra={"unit": "d"},
            ge=0,
        ),
    ] = 30.0
    clock_tolerance_s: Annotated[
        float,
        Meta(
            description="How far a device's clock may be off before its readings are flagged and not judged.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 300.0
    stop_grace_s: Annotated[
        float,
        Meta(description="Time for committing what is held when asked to stop.", extra={"unit": "s"}, ge=0),
    ] = 10.0
    behind_s: Annotated[
        float,
        Meta(
            description="Health shows the process as behind where a received message waits for so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 30.0
    disk_reserve_bytes: Annotated[
        int,
        Meta(
            description="Free space of each of the database's disks below which no reading is taken, so "
            "that none fills up; 0 is off.",
            extra={"unit": "bytes"},
            ge=0,
        ),
    ] = 512 << 20
    disk_folder: Annotated[
        list[str],
        Meta(
            description="Folders on the database's disks (comma-separated): of its data, and of its log if "
            "that is on another disk. Tablespaces are found besides, and the data folder if the database "
            "user may read its name (pg_read_all_settings), where they are on this machine."
        ),
    ] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise `ShareError` if the share is none."""
        Share(self.share)
