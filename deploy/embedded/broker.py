"""Runs the embedded MQTT broker as a child process: rumqttd from the iotcore wheel, in memory."""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template
from typing import ClassVar

from deploy.embedded.broker_process import BrokerProcess
from deploy.embedded.server_environment import free_port

REPOSITORY = Path(__file__).parents[2]

# rumqttd keeps a log of in-memory segments per topic filter and drops the oldest segment beyond the count.
CONFIG = Template("""\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 16777216
max_segment_count = 8

[v5.1]
name = "mqtt-5"
listen = "$listen:$port"
next_connection_delay_ms = 1
    [v5.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 16777216
    max_inflight_count = 100
    dynamic_filters = true

[v4.1]
name = "mqtt-3.1.1"
listen = "$listen:$mqtt311_port"
next_connection_delay_ms = 1
    [v4.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 16777216
    max_inflight_count = 100
    dynamic_filters = true
""")


class EmbeddedBroker(BrokerProcess):
    """An MQTT broker in a child process that ends with this process, however this process ends.

    It serves MQTT 5 on one port and 3.1.1 on another, keeps nothing on disk, requires no password, and is
    meant for demos and trials; agents publish again what has no receipt, so a restart loses no reading
    (docs/decisions/0002).

    Parameters
    ----------
    folder : for the configuration and the log
    port, mqtt311_port : for MQTT 5 and for MQTT 3.1.1; a free port where None
    listen : IP address to listen on
    host : address by which this machine reaches the broker

    """

    name: ClassVar[str] = "the embedded broker"
    work_folder: ClassVar[Path] = REPOSITORY
    stop_s: ClassVar[float] = 5.0
    ends_with_input: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        mqtt311_port: int | None = None,
        *,
        listen: str = "127.0.0.1",
        host: str = "127.0.0.1",
    ) -> None:
        self._listen = f"[{listen}]" if ":" in listen else listen
        self.port = port or free_port()
        self.mqtt311_port = mqtt311_port or free_port()
        super().__init__(folder, host, self.port, self.mqtt311_port)

    @property
    def url(self) -> str:
        """URL for MQTT 5, ``mqtt://host:port``."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def mqtt311_url(self) -> str:
        """URL for MQTT 3.1.1."""
        return f"mqtt://{self.host}:{self.mqtt311_port}"

    def _prepare(self) -> list[str]:
        """Write the configuration; return the command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "rumqttd.toml"
        config.write_text(
            CONFIG.substitute(listen=self._listen, port=self.port, mqtt311_port=self.mqtt311_port)
        )
        return [sys.executable, "-m", "deploy.embedded.serve_broker", str(config.resolve())]
