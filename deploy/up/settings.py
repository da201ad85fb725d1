"""Settings of `towntwin up`: ports and listen address of the embedded servers and the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Listen address and ports of the broker, the database and the gateway of `up`."""

    listen: Annotated[
        str,
        Meta(
            description="IP address on which broker and gateway listen; 0.0.0.0 is every one of the machine."
        ),
    ] = "127.0.0.1"
    broker_port: Annotated[
        Port | None,
        Meta(
            description="Port of the embedded broker for MQTT 5; without one 1883, or the next free one.",
        ),
    ] = None
    broker_old_port: Annotated[
        Port | None,
        Meta(
            description="Port of the embedded broker for MQTT 3.1.1; without one 1884, or the next free one.",
        ),
    ] = None
    database_port: Annotated[
        Port | None,
        Meta(
            description="Port of the embedded database, on loopback; without one 5433, or the next free one.",
        ),
    ] = None
    ports: Annotated[
        Literal["fixed", "free"],
        Meta(
            description="Ports that are not named: fixed are the same at each start, free are any free ones."
        ),
    ] = "fixed"
    timescaledb: Annotated[
        bool,
        Meta(
            description="Run on Debian's TimescaleDB and Mosquitto instead of the embedded ones, as root on"
            " Debian, where they are installed at the first start."
        ),
    ] = False
