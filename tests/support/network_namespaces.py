"""Network namespaces of Linux for tests: each has its own interfaces, addresses and ports."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x4000_0000  # <sched.h>
_OWN = "/proc/thread-self/ns/net"


def why_impossible() -> str | None:
    """Return why this machine has no network namespaces for a test; None where it has."""
    if os.geteuid() != 0 or _ip() == "" or not Path("/dev/net/tun").exists():
        return "network namespaces need root, /dev/net/tun and the command ip"
    try:
        NetworkNamespace().close()
    except OSError as error:
        return f"network namespaces: {error}"
    return None


class NetworkNamespace:
    """A network namespace without a name: it ends with its processes and this object."""

    def __init__(self) -> None:
        before = os.open(_OWN, os.O_RDONLY)
        try:
            _call("unshare", CLONE_NEWNET)
            self._fd = os.open(_OWN, os.O_RDONLY)
        finally:
            _call("setns", before, CLONE_NEWNET)
            os.close(before)
        self._proxies: list[Proxy] = []
        self.configure("link set lo up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread, and the threads and processes that it starts, into the namespace."""
        before = os.open(_OWN, os.O_RDONLY)
        _call("setns", self._fd, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", before, CLONE_NEWNET)
            os.close(before)

    def configure(self, arguments: str) -> None:
        """Run ``ip`` with arguments in the namespace."""
        with self.entered():
            subprocess.run([_ip(), *arguments.split()], check=True, capture_output=True)

    def reach(self, port: int) -> None:
        """Forward a loopback port of the namespace to the same one of this machine: the database's."""
        with self.entered():
            listener = socket.create_server(("127.0.0.1", port))
        self._proxies.append(Proxy("127.0.0.1", port, listener=listener))

    def close(self) -> None:
        """Close the forwarded ports, and leave the namespace to the processes in it."""
        for one in self._proxies:
            one.close()
        os.close(self._fd)


def _ip() -> str:
    """Return the path of iproute2's command, empty where it is missing."""
    return shutil.which("ip") or ""


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library, which Python has from 3.12 on. Raises `OSError`."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
