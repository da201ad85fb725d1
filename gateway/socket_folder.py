"""The temporary folder of the gateway's sockets, and what gateways that were killed left of theirs."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "towntwin-gateway-"
PROBE_S = 0.5
MIN_AGE_S = 10.0  # a younger folder may be one whose gateway has not locked it yet


class SocketFolder:
    """A folder of mode 0700, locked while its gateway lives; making one removes those that nobody locks.

    A gateway that is killed removes nothing. The kernel releases its lock, by which the next one finds out.

    Attributes
    ----------
    path : of the folder

    """

    def __init__(self) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)  # not inherited by the worker
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._descriptor)


def _remove_abandoned() -> None:
    """Delete this user's folders whose gateway has ended; the temporary folder is everybody's."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < MIN_AGE_S:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not any(map(_is_served, path.iterdir())):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _is_served(path: Path) -> bool:
    """Whether a process accepts connections at a socket: version 0.2.0 has no lock."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # its queue is full, or it can't be tried
            return True
    return True
