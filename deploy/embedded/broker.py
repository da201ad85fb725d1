"""Runs the embedded MQTT broker as a child process: rumqttd from the iotcore wheel, in memory."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Self

from deploy.embedded.server_environment import EmbeddedError, free_port, open_log

if TYPE_CHECKING:
    from types import TracebackType

START_S = 20.0
STOP_S = 5.0
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


class EmbeddedBroker:
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

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        mqtt311_port: int | None = None,
        *,
        listen: str = "127.0.0.1",
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.host = host
        self._listen = f"[{listen}]" if ":" in listen else listen
        self.port = port or free_port()
        self.mqtt311_port = mqtt311_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL for MQTT 5, ``mqtt://host:port``."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def mqtt311_url(self) -> str:
        """URL for MQTT 3.1.1."""
        return f"mqtt://{self.host}:{self.mqtt311_port}"

    @property
    def is_running(self) -> bool:
        """Whether the broker's process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        if self._process is None:
            raise EmbeddedError("the embedded broker is not running: start it first")
        return self._process.pid

    def start(self) -> Self:
        """Start the broker and wait until it listens.

        Raises
        ------
        EmbeddedError
            If it does not start; the message has the end of its log.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "rumqttd.toml"
        config.write_text(
            CONFIG.substitute(listen=self._listen, port=self.port, mqtt311_port=self.mqtt311_port)
        )
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # of a previous process that ended by itself
        with open_log(self.folder / "log", append=self._process is not None) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.embedded.serve_broker", str(config.resolve())],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which stops the broker last
            )
        deadline = time.monotonic() + START_S
        while not (self._is_listening(self.port) and self._is_listening(self.mqtt311_port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                text = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise EmbeddedError(f"the embedded broker does not start on {self.url}: {text}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop the broker; messages in its memory are lost."""
        self._stop_process(kill=False)

    def kill(self) -> None:
        """Stop the broker by SIGKILL."""
        self._stop_process(kill=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _stop_process(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        if process.stdin is not None:
            process.stdin.close()

    def _is_listening(self, port: int) -> bool:
        try:
            with socket.create_connection((self.host.strip("[]"), port), timeout=1.0):
                return True
        except OSError:
            return False
