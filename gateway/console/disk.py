"""Size of the database, and free space of its disk where the gateway can read that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingest_service.storage.postgres import PostgresStore

if TYPE_CHECKING:
    from ingest_service.storage.store import Reader

GOOD_FOR_S = 60.0  # counting the files of a large database takes a while


class Disk(NamedTuple):
    """Bytes; ``free`` and ``whole`` are None where the database is on another machine."""

    used: int
    free: int | None
    whole: int | None


class Disks:
    """The newest figures of one database, read once a minute."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._found: Disk | None = None
        self._read_s = -GOOD_FOR_S

    def newest(self) -> Disk | None:
        """The figures; None for a store in memory. Raises as the store does."""
        now_s = time.monotonic()
        if isinstance(self._store, PostgresStore) and now_s - self._read_s >= GOOD_FOR_S:
            used, folder = self._store.size()
            self._found = Disk(used, *_free(folder))
            self._read_s = now_s
        return self._found


def _free(folder: str | None) -> tuple[int | None, int | None]:
    """Free and whole bytes of the disk of a folder, where this machine has it."""
    if folder is None or not Path(folder).is_dir():
        return None, None
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
