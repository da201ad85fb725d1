"""Provides folders, operating-system user ids, log files and free ports for the embedded servers."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deploy.embedded.errors import EmbeddedError

UNPRIVILEGED = "nobody"
# User ids without an account (reserved by Debian policy 9.2.2). The broker's owns no file; the database's
# owns only the data folder.
BROKER_UID, DATABASE_UID = 65_533, 65_532
SYSTEM_CACHE = Path("/var/cache")
PORT_RANGE = range(20_000, 32_000)
_PORT_COUNTER = count(101 * os.getpid())


def default_folder() -> Path:
    """Return the user's cache folder for towntwin, for root the system's.

    Servers that root starts run as an unprivileged user, who can't enter root's home.
    """
    if os.geteuid() == 0:
        return SYSTEM_CACHE / "towntwin"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "towntwin"


class ServerUser(NamedTuple):
    """The operating-system user of a server process."""

    name: str
    uid: int
    gid: int


def server_user(data: Path) -> ServerUser | None:
    """Return the user that the database runs as where root starts it: the owner of its data.

    Data that do not exist yet get a user of their own. None where this process is not root.
    """
    if os.geteuid() != 0:
        return None
    if not data.exists():
        return ServerUser(f"user {DATABASE_UID}", DATABASE_UID, DATABASE_UID)
    owner = data.stat()
    return ServerUser(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)


def data_creator() -> ServerUser:
    """Return the user that creates the data folder: initdb requires a user with an account."""
    found = pwd.getpwnam(UNPRIVILEGED)
    return ServerUser(found.pw_name, found.pw_uid, found.pw_gid)


def open_log(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a log that only its owner may read, as it has addresses; ``append`` keeps its content."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # the file may exist with other permissions
    return os.fdopen(descriptor, "ab" if append else "wb")


def make_traversable(folder: Path) -> None:
    """Create missing folders down to this one with mode 0755, whatever the umask."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755)


def check_reachable(folder: Path, user: ServerUser) -> None:
    """Check that a user may traverse the path to a folder.

    Raises
    ------
    EmbeddedError
        If not; the message names the folder on the path that is closed to the user.

    """
    for parent in (folder, *folder.parents):
        status = parent.stat()
        is_owners_own = status.st_mode & 0o100 and status.st_uid == user.uid
        if not is_owners_own and not status.st_mode & 0o001:
            raise EmbeddedError(
                f"{folder} can't be used by root: the database runs as {user.name}, and {parent} is"
                f" closed to it; name a folder that all may walk into, such as {default_folder()}"
            )


def free_port() -> int:
    """Return a loopback port that is not in use.

    Ports are taken from below the ephemeral range, starting at an offset that depends on the process id, so
    that no other process is likely to take the port before the caller's server binds it.
    """
    for at in _PORT_COUNTER:
        port = PORT_RANGE[at % len(PORT_RANGE)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("counting has no end")
