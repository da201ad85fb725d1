"""Reads the size of the database, and the free space of its disk if that is on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Database

CACHE_S = 60.0  # summing the file sizes of a large database takes a while


class DiskUsage(NamedTuple):
    """Disk usage [bytes]; ``free`` and ``total`` are None if the database is on another machine."""

    used: int
    free: int | None
    total: int | None


class DiskUsageCache:
    """Disk usage of one database, read at most once a minute."""

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._cached: DiskUsage | None = None
        self._read_at_s = -CACHE_S

    def newest(self) -> DiskUsage | None:
        """Return the disk usage; None for an in-memory store. Raises as the store does."""
        now_s = time.monotonic()
        if self._database is not None and now_s - self._read_at_s >= CACHE_S:
            used, folder = self._database.size()
            self._cached = DiskUsage(used, *_free_and_total_bytes(folder))
            self._read_at_s = now_s
        return self._cached


def _free_and_total_bytes(folder: str | None) -> tuple[int | None, int | None]:
    """Return free and total bytes of a folder's disk; None if this machine does not have the folder."""
    if folder is None or not Path(folder).is_dir():
        return None, None
    disk_stats = os.statvfs(folder)
    return disk_stats.f_bavail * disk_stats.f_frsize, disk_stats.f_blocks * disk_stats.f_frsize
