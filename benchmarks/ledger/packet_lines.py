"""Lines below TCP of a ledger run: devices and ingest are in network namespaces, and so are the far ends."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Self

from tests.support.network_namespaces import NetworkNamespace, why_impossible
from tests.support.packet_line import PacketLine


def entered(namespace: NetworkNamespace | None) -> AbstractContextManager[None]:
    """Enter a namespace, or none."""
    return nullcontext() if namespace is None else namespace.entered()


class PacketLines:
    """Lines of the devices and of ingest to the broker.

    Parameters
    ----------
    seed : of what happens to packets

    Attributes
    ----------
    devices, ingest : namespaces of the agents with the HJ 212 server, and of the ingest processes
    lines : the devices' and that of ingest

    """

    def __init__(self, seed: int) -> None:
        self._far, self.devices, self.ingest = (NetworkNamespace() for _ in range(3))
        self.lines = [
            PacketLine(self._far, near, number=number, seed=seed + number)
            for number, near in enumerate((self.devices, self.ingest), 1)
        ]

    @classmethod
    def created(cls, seed: int) -> Self | None:
        """Create the lines; None where network namespaces are impossible."""
        return None if why_impossible() else cls(seed)

    def device_line_listener(self) -> socket.socket:
        """Return a listener at the far end of the devices' line."""
        return self._listener(self._far, self.lines[0].addresses[0])

    def ingest_line_listener(self) -> socket.socket:
        """Return a listener at the far end of the line of ingest."""
        return self._listener(self._far, self.lines[1].addresses[0])

    def ingest_listener(self) -> socket.socket:
        """Return a listener on loopback of the namespace of ingest."""
        return self._listener(self.ingest, "127.0.0.1")

    def _listener(self, namespace: NetworkNamespace, host: str) -> socket.socket:
        with namespace.entered():
            return socket.create_server((host, 0))

    def close(self) -> None:
        """End the lines."""
        for line in self.lines:
            line.close()
        for one in (self._far, self.devices, self.ingest):
            one.close()
