"""An embedded MQTT broker: rumqttd, from a wheel, on loopback.

It speaks MQTT 5 on its own listener, keeps everything in memory and ignores Receive Maximum; receipts and
the inbox's bound make up for that (docs/decisions/0002-embedded-stack.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from iotcore import Broker

from deploy.embedded.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CONFIGURATION = """
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 1000
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20971520
max_inflight_count = 1000
dynamic_filters = true
"""


class EmbeddedBroker:
    """A broker of our own while the context lasts; it ends with this process, however this ends."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder
        self._port = port or free_port()
        self._broker: Broker | None = None

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"mqtt://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "rumqttd.toml"
        configuration.write_text(CONFIGURATION.format(port=self._port))
        self._broker = Broker(config_path=str(configuration)).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
