"""Size of the database, and free space of its disk where the gateway can read that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Reader

CACHE_S = 60.0  # counting the files of a large database takes a while


class DiskUsage(NamedTuple):
    """Bytes; ``free`` and ``whole`` are None where the database is on another machine."""

    used: int
    free: int | None
    total: int | None


class DiskUsageCache:
    """The newest figures of one database, read once a minute."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._cached: DiskUsage | None = None
        self._read_s = -CACHE_S

    def newest(self) -> DiskUsage | None:
        """The figures; None for a store in memory. Raises as the store does."""
        now_s = time.monotonic()
        if isinstance(self._store, PostgresStore) and now_s - self._read_s >= CACHE_S:
            used, folder = self._store.size()
            self._cached = DiskUsage(used, *_free_and_total_bytes(folder))
            self._read_s = now_s
        return self._cached


def _free_and_total_bytes(folder: str | None) -> tuple[int | None, int | None]:
    """Free and whole bytes of the disk of a folder, where this machine has it."""
    if folder is None or not Path(folder).is_dir():
        return None, None
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
