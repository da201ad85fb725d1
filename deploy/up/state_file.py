"""Writes and reads the state file of a running `towntwin up`: URLs of its database, broker and gateway.

The file is in the folder of `up` while it runs, where other commands read it. A file left over from a killed
`up` is ignored: the lock of the folder, which ends with the process, decides.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from deploy.up import folder_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE_FILE = "up.json"


class UpState(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a running `up`.

    Attributes
    ----------
    broker_old : for MQTT 3.1.1; None for a configured broker
    broker_files : paths of a configured broker's TLS and password files, by setting
    grafana_dsn : database for Grafana, by a role that reads views only; None for a configured database

    """

    pid: int
    dsn: str
    broker: str
    broker_old: str | None = None
    broker_files: dict[str, str] = {}
    gateway: str
    grafana_dsn: str | None = None


@contextmanager
def publish_state(folder: Path, state: UpState) -> Iterator[Path]:
    """Write the state file, readable by its owner alone, and remove it when the context ends."""
    path = folder / STATE_FILE
    staging_path = folder / f"{STATE_FILE}.{os.getpid()}"
    staging_path.unlink(missing_ok=True)
    with os.fdopen(os.open(staging_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    staging_path.replace(path)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def find_running_up(folder: Path) -> UpState | None:
    """Return the state of the `up` that runs in a folder; None where none runs, or it is another user's."""
    try:
        state = msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=UpState)
        with (folder / folder_lock.LOCK_FILE).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return state
    except (OSError, msgspec.MsgspecError):
        return None
    return None
