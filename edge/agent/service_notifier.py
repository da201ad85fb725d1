"""Notifies systemd (``Type=notify``, ``WatchdogSec``) by one datagram; does nothing elsewhere."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

EVERY_S = 2.0


class ServiceNotifier:
    """Sends READY and WATCHDOG messages to the socket of the variable NOTIFY_SOCKET (sd_notify(3))."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._message = b"READY=1\nWATCHDOG=1"
        self._due_s = 0.0

    def alive(self) -> None:
        """Report that the agent works; at most one message each `EVERY_S` is sent."""
        now_s = time.monotonic()
        if not self._address or now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.sendto(self._message, self._address)
            self._message = b"WATCHDOG=1"
