"""Folders and user ids of the embedded servers."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deploy.errors import DeployError

UNPRIVILEGED = "nobody"
# Of no account (Debian policy 9.2.2 reserves them). The broker's owns no file, least of all the database's;
# that of the database owns its own data alone.
BROKER_UID, DATABASE_UID = 65_533, 65_532
SYSTEM_CACHE = Path("/var/cache")
PORT_RANGE = range(20_000, 32_000)
_PORT_COUNTER = count(101 * os.getpid())


class EmbeddedError(DeployError):
    """The embedded stack can't do what was asked; the sentence says what to do."""


def default_folder() -> Path:
    """The user's cache folder for towntwin; for root the system's, which root's servers can reach.

    Root's own home is closed to others, and the servers that root starts run as an unprivileged user.
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
    """A log that its owner alone may read, for it has addresses and names; ``again``: after what it holds."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # it may be there from before
    return os.fdopen(descriptor, "ab" if append else "wb")


def make_traversable(folder: Path) -> None:
    """Make a folder and those above it where they are missing, open to walk into whatever the umask."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755)


def check_reachable(folder: Path, user: ServerUser) -> None:
    """See that a user may walk down to a folder.

    Raises
    ------
    EmbeddedError
        Naming the folder on the way that is closed.

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
    """A loopback port that nobody uses now.

    It is none of those that systems give to clients by chance, and processes begin at different places:
    nobody else takes it before a server of ours does.
    """
    for at in _PORT_COUNTER:
        port = PORT_RANGE[at % len(PORT_RANGE)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("counting has no end")
