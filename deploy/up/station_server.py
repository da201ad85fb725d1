"""Starts the HJ 212 server of the demo's field devices as a child process of `up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.demo import field_devices
from deploy.embedded.server_environment import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.up.child_processes import ChildProcesses


def start_station_server(children: ChildProcesses, spools: Path) -> int:
    """Start the server on loopback, with its spool in the folder of the devices' spools; return its port."""
    spools.mkdir(parents=True, exist_ok=True)
    port = free_port()
    children.start(
        "hj212",
        *("--port", str(port), "--stations", str(field_devices.STATIONS_FILE)),
        *("--spool", str(spools / field_devices.SERVER_SPOOL)),
        *("--area", field_devices.SERVER_AREA, "--device", field_devices.SERVER, "--publish-status"),
    )
    return port
