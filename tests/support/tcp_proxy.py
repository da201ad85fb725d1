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
    """Cuts a connection once its client has sent certain byte strings in order.

    With ``answer_lost`` the server still receives all that was sent, and only its answer is discarded.
    """

    byte_strings: tuple[bytes, ...]
    answer_lost: bool
    sprung: threading.Event = field(default_factory=threading.Event)


class ConnectionPair:
    """A client's connection and the corresponding one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.muted = False
        self.stalled_forever = threading.Event()
        self.recorded = b""
        self.record: list[tuple[bool, bytes]] = []

    def cut(self) -> None:
        """Close both connections."""
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Proxy:
    """Listens on a free loopback port and forwards data to a server, with faults on request.

    ``listener`` is a listening socket to use instead, such as one of another network namespace.
    """

    def __init__(self, host: str, port: int, *, listener: socket.socket | None = None) -> None:
        self.target = (host, port)
        self._flows = threading.Event()
        self._flows.set()
        self._closed = threading.Event()
        self._refuses = False
        self._trigger: CutTrigger | None = None
        self._pairs: list[ConnectionPair] = []
        self._records: list[list[tuple[bool, bytes]]] | None = None
        self._answer_cut: tuple[int, threading.Event] | None = None
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.delay_s = 0.0
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def cut(self) -> None:
        """Close every connection; new ones are accepted."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.cut()

    def refuse(self) -> None:
        """Close every connection, and each new one at once."""
        self._refuses = True
        self.cut()

    def stall(self) -> None:
        """Forward nothing, and keep every connection open."""
        self._flows.clear()

    def stall_forever(self) -> None:
        """Never forward anything on the current connections, which stay open; new ones work."""
        for pair in self._pairs:
            pair.stalled_forever.set()

    def restore(self) -> None:
        """Forward everything again, without delay."""
        self._refuses, self.delay_s = False, 0.0
        self._flows.set()

    def cut_after(self, *byte_strings: bytes, answer_lost: bool = False) -> CutTrigger:
        """Cut the first connection whose client sends these byte strings in this order."""
        self._trigger = CutTrigger(byte_strings, answer_lost)
        return self._trigger

    def cut_in_answer(self, after_bytes: int) -> threading.Event:
        """Cut the first connection whose server sends more bytes than that, which the client still gets."""
        sprung = threading.Event()
        self._answer_cut = (after_bytes, sprung)
        return sprung

    def record(self) -> list[list[tuple[bool, bytes]]]:
        """Record the data of each new connection: whether it is from the client, and the bytes."""
        self._records = []
        return self._records

    def close(self) -> None:
        """Close the proxy and all connections."""
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
                server = None if self._refuses else socket.create_connection(self.target, timeout=5)
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
        sent = 0
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                if pair.stalled_forever.is_set():
                    self._closed.wait()
                if self.delay_s:
                    time.sleep(self.delay_s)
                if from_client and self._trigger is not None:
                    data = self._watch(pair, data, self._trigger)
                sent += len(data)
                if not from_client and self._answer_cut is not None and sent > self._answer_cut[0]:
                    (limit, sprung), self._answer_cut = self._answer_cut, None
                    target.sendall(data[: len(data) - (sent - limit)])
                    sprung.set()
                    break
                if self._records is not None:
                    pair.record.append((from_client, data))
                if not pair.muted or from_client:
                    target.sendall(data)
                if from_client and pair.muted:
                    time.sleep(ANSWER_LOST_AFTER_S)
                    break
        pair.cut()

    def _watch(self, pair: ConnectionPair, data: bytes, trigger: CutTrigger) -> bytes:
        """Return the part of the data to forward; a pair that triggered the cut is muted."""
        before = len(pair.recorded)
        pair.recorded += data
        at = 0
        for byte_string in trigger.byte_strings:
            found = pair.recorded.find(byte_string, at)
            if found < 0:
                return data
            at = found + len(byte_string)
        self._trigger = None
        trigger.sprung.set()
        pair.muted = True
        return data if trigger.answer_lost else data[: max(at - before, 0)]
