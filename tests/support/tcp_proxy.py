"""A TCP proxy that injects network faults between the platform and a server."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

CHUNK = 65_536
ANSWER_LOST_AFTER_S = 0.3


@dataclass(slots=True)
class CutTrigger:
    """Cuts a connection once its client has said certain words, one after the other.

    With ``answer_lost`` the server still gets all that was said, and only its answer is kept back.
    """

    words: tuple[bytes, ...]
    answer_lost: bool
    sprung: threading.Event = field(default_factory=threading.Event)


class ConnectionPair:
    """A client's connection and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.muted = False
        self.stranded = threading.Event()
        self.recorded = b""
        self.record: list[tuple[bool, bytes]] = []

    def cut(self) -> None:
        """Both ends see the connection closed."""
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Proxy:
    """Listens on a free port of loopback and passes on what comes, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flows = threading.Event()
        self._flows.set()
        self._closed = threading.Event()
        self._refuses = False
        self._trap: CutTrigger | None = None
        self._pairs: list[ConnectionPair] = []
        self._records: list[list[tuple[bool, bytes]]] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.delay_s = 0.0
        self.recorded_bytes = 0  # by clients, passed on or not
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def cut(self) -> None:
        """End every connection; new ones are welcome."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.cut()

    def refuse(self) -> None:
        """End every connection, and every new one at once."""
        self._refuses = True
        self.cut()

    def stall(self) -> None:
        """Pass nothing on, and keep every connection open."""
        self._flows.clear()

    def strand(self) -> None:
        """Pass nothing on for any connection of now, ever; both ends keep it open. New ones are welcome."""
        for pair in self._pairs:
            pair.stranded.set()

    def mend(self) -> None:
        """Pass everything on again, at once."""
        self._refuses, self.delay_s = False, 0.0
        self._flows.set()

    def cut_after(self, *words: bytes, answer_lost: bool = False) -> CutTrigger:
        """Cut the first connection whose client says these words in this order."""
        self._trap = CutTrigger(words, answer_lost)
        return self._trap

    def record(self) -> list[list[tuple[bool, bytes]]]:
        """What passes over each connection from now on: whether it is the client's, and the bytes."""
        self._records = []
        return self._records

    def close(self) -> None:
        """End everything."""
        self._listener.close()
        self.refuse()
        self._closed.set()
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = None if self._refuses else socket.create_connection(self._target, timeout=5)
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            server.settimeout(None)
            pair = ConnectionPair(client, server)
            self._pairs.append(pair)
            if self._records is not None:
                self._records.append(pair.record)
            for from_client in (True, False):
                way = partial(self._pass_on, pair, from_client=from_client)
                threading.Thread(target=way, daemon=True, name="proxy").start()

    def _pass_on(self, pair: ConnectionPair, *, from_client: bool) -> None:
        source, target = (pair.client, pair.server) if from_client else (pair.server, pair.client)
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self.recorded_bytes += len(data) if from_client else 0
                self._flows.wait()
                if pair.stranded.is_set():
                    self._closed.wait()
                if self.delay_s:
                    time.sleep(self.delay_s)
                if from_client and self._trap is not None:
                    data = self._watch(pair, data, self._trap)
                if self._records is not None:
                    pair.record.append((from_client, data))
                if not pair.muted or from_client:
                    target.sendall(data)
                if from_client and pair.muted:
                    time.sleep(ANSWER_LOST_AFTER_S)
                    break
        pair.cut()

    def _watch(self, pair: ConnectionPair, data: bytes, trap: CutTrigger) -> bytes:
        """What of the data still goes on; a pair that sprang the trap is muted."""
        before = len(pair.recorded)
        pair.recorded += data
        at = 0
        for word in trap.words:
            found = pair.recorded.find(word, at)
            if found < 0:
                return data
            at = found + len(word)
        self._trap = None
        trap.sprung.set()
        pair.muted = True
        return data if trap.answer_lost else data[: max(at - before, 0)]
