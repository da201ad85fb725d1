"""Locks the folder of a `towntwin up`, as a second run would drop the first one's database."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.embedded.server_environment import make_traversable
from deploy.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

LOCK_FILE = "up.lock"
LOCK_TRIES, WAIT_S = 3, 0.05  # commands that look for a running `up` hold the lock briefly


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a folder while the context lasts.

    The lock is the kernel's (flock) and ends with the process, however that ends: a leftover file locks
    nothing. The process id in the file is only for the error message.

    Raises
    ------
    SettingsError
        If another process holds the lock, or the folder can't be written.

    """
    path = folder / LOCK_FILE
    try:
        make_traversable(folder)
        file = path.open("a+")
    except OSError as error:
        raise SettingsError(
            f"--folder={folder} can't be used: {error.strerror}: mend its permissions or its disk, or name"
            " another folder"
        ) from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise SettingsError(
                f"{folder} is used by another `towntwin up` (process {holder}), whose database this one would"
                " drop: stop that one, or name another folder with --folder"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(file: TextIO) -> None:
    """Lock a file exclusively. Raises `OSError` if another process holds the lock."""
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not tries_left:
                raise
            time.sleep(WAIT_S)
        else:
            return
