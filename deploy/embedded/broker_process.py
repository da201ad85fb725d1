"""Starts and stops a broker in a child process whose output is a log."""

from __future__ import annotations

import socket
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.server_environment import open_log

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_S = 20.0


class BrokerProcess(ABC):
    """A broker in a child process that ends with this process.

    Parameters
    ----------
    folder : for the configuration and the log
    host : address by which this machine reaches the broker
    ports : on which it listens once it has started

    """

    name: ClassVar[str]  # in error messages
    work_folder: ClassVar[Path]
    stop_s: ClassVar[float]  # from SIGTERM to SIGKILL
    ends_with_input: ClassVar[bool] = False  # whether its standard input is a pipe whose end ends it

    def __init__(self, folder: Path, host: str, *ports: int) -> None:
        self.folder = folder
        self.host = host
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """URL for MQTT 5."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write the files that the broker reads; return its command line."""

    @property
    def is_running(self) -> bool:
        """Whether the broker's process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        if self._process is None:
            raise EmbeddedError(f"{self.name} is not running: start it first")
        return self._process.pid

    def start(self) -> Self:
        """Start the broker and wait until it listens; a log of an earlier start is kept.

        Raises
        ------
        EmbeddedError
            If it does not start; the message has the end of its log.

        """
        command = self._prepare()
        _close_input(self._process)  # of a previous process that ended by itself
        with open_log(self.folder / "log", append=self._process is not None) as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.work_folder,
                stdin=subprocess.PIPE if self.ends_with_input else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which stops the broker last
            )
        deadline = time.monotonic() + START_S
        while not all(self._is_listening(port) for port in self._ports):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                text = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise EmbeddedError(f"{self.name} does not start on {self.url}: {text}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop the broker by SIGTERM, after ``stop_s`` by SIGKILL."""
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
            process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(self.stop_s)
        _close_input(process)

    def _is_listening(self, port: int) -> bool:
        try:
            with socket.create_connection((self.host.strip("[]"), port), timeout=1.0):
                return True
        except OSError:
            return False


def _close_input(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.stdin is not None:
        process.stdin.close()
