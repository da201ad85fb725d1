"""Settings of the HJ 212 server: address, stations, spool, and limits of connections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the HJ 212 server."""

    host: Annotated[str, Meta(description="Address that it listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="Port that it listens on.", ge=0, le=65535)] = 2120
    stations: Annotated[Path, Meta(description="File of the stations (TOML).")] = Path("stations.toml")
    spool: Annotated[Path, Meta(description="The durable spool (SQLite) of all stations.")] = Path(
        "hj212.spool"
    )
    area: Annotated[
        str,
        Meta(
            description="Area of the server's own topics: uploads that belong to no station are sent there."
        ),
    ] = "hj212"
    device: Annotated[
        str, Meta(description="Device id in the server's own topics, also its MQTT client id.")
    ] = "hj212-server"
    publish_status: Annotated[
        bool,
        Meta(
            description="Publish a status as a device does; only where the server is enrolled as a device. "
            "With a database its state is in health in any case."
        ),
    ] = False
    idle_s: Annotated[
        float,
        Meta(description="A connection without a byte for so long is closed.", extra={"unit": "s"}, gt=0),
    ] = 3600.0
    platforms: Annotated[Path, Meta(description="File of the upper platforms of `hj212 forward` (TOML).")] = (
        Path("platforms.toml")
    )
    forward_spools: Annotated[
        Path, Meta(description="Folder of the spools of `hj212 forward`, one for each upper platform.")
    ] = Path("hj212-forward")
    metrics_port: Annotated[
        int, Meta(description="Port of the metrics, on loopback; 0 serves none.", ge=0, le=65535)
    ] = 0
    max_connections: Annotated[int, Meta(description="Connections at the same time.", ge=1, le=65_000)] = 5000
