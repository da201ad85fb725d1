"""Runs Telegraf between the broker and the database, as `IngestProcess` runs ingest."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import LoggedProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATION = Path(__file__).parent / "telegraf"
SESSION = "telegraf"
POLL_S = 0.05
CONNECTED = "Connected [tcp://"
MAX_HELD_READINGS = 200_000  # a fifth of the metric buffer in the configuration
MAX_HELD_MESSAGES = 20_000


class TelegrafProcess(LoggedProcess):
    """A Telegraf process.

    Parameters
    ----------
    program : path of the binary
    log : file of the process's output
    wire : input of the configuration: ``json`` or ``line_protocol``
    per_message : readings of a message, from which the number of messages in memory follows
    dsn : URL of the database
    broker_port : of the broker on loopback

    """

    def __init__(
        self, program: str, log: Path, *, wire: str, per_message: int, dsn: str, broker_port: int
    ) -> None:
        files = (CONFIGURATION / "agent_and_database.toml", CONFIGURATION / f"{wire}.toml")
        command = [
            program,
            "--non-strict-env-handling",
            *(part for file in files for part in ("--config", str(file))),
        ]
        environ = {
            "TELEGRAF_DSN": dsn,
            "TELEGRAF_BROKER": f"tcp://127.0.0.1:{broker_port}",
            "TELEGRAF_UNDELIVERED": str(min(MAX_HELD_MESSAGES, MAX_HELD_READINGS // per_message)),
        }
        super().__init__(command, log, environ)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the process while the context lasts; its MQTT session exists when the context begins."""
        before = self._connections()
        self.start()
        try:
            while self._connections() == before:
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                time.sleep(POLL_S)
            yield
        finally:
            self.stop()

    def subscribe(self) -> None:
        """Run the process briefly, so that its persistent session stays on the broker."""
        with self.running():
            time.sleep(0.5)

    def _connections(self) -> int:
        return self.log.read_text().count(CONNECTED) if self.log.exists() else 0
