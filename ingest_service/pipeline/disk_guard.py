"""Watches the free space of the database's disk, so that ingest stops taking readings before it is full."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ingest_service.pipeline import metrics
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

CHECK_S = 1.0  # between two looks at the disk; at 100 MB/s of log and data, a tenth of the default reserve
LOCATE_S = 60.0  # between two attempts to find the data folder
RESUME_SHARE = 1.1  # of the reserve: below it again at once, each batch would stop and start


class DiskGuard:
    """Free space of the disk that the database writes to, looked at once a second at most.

    A full disk stops PostgreSQL in the middle of whatever it does, including what would free space; with a
    reserve, retention and the operator can still work. Devices and broker keep what is not taken.

    Parameters
    ----------
    store : its data folder is used if it is on this machine and may be read
    reserve_bytes : free space below which there is none for readings; 0 turns the guard off
    folder : a folder on the database's disk; None is the data folder

    """

    def __init__(self, store: Store, reserve_bytes: int, folder: Path | None) -> None:
        self._store, self._reserve_bytes, self._folder = store, reserve_bytes, folder
        self._is_folder_given = folder is not None
        self._checked_s = self._located_s = -LOCATE_S
        self._is_visible = True
        self.is_low = False

    def check(self) -> bool:
        """Return whether less than the reserve is free; False where the disk can't be seen."""
        now_s = time.monotonic()
        if self._reserve_bytes and now_s - self._checked_s >= CHECK_S:
            self._checked_s = now_s
            self._look(now_s)
        return self.is_low

    def _look(self, now_s: float) -> None:
        if self._folder is None and now_s - self._located_s >= LOCATE_S:
            self._located_s = now_s
            self._folder = self._data_folder()
        if self._folder is None:
            return
        try:
            found = os.statvfs(self._folder)
        except OSError as error:
            # The state stays: a disk that was low and can't be seen has no more space for that.
            if self._is_visible:
                log.warning("disk_not_visible", folder=str(self._folder), error=str(error))
            self._is_visible = False
            if not self._is_folder_given:
                self._folder = None
            return
        self._is_visible = True
        free_bytes = found.f_bavail * found.f_frsize
        metrics.DATABASE_DISK_FREE.set(free_bytes)
        was_low, limit = self.is_low, self._reserve_bytes * (RESUME_SHARE if self.is_low else 1.0)
        self.is_low = free_bytes < limit
        if self.is_low != was_low:
            log.warning(
                "disk_reserve_reached" if self.is_low else "disk_has_space_again",
                folder=str(self._folder),
                free_bytes=free_bytes,
                reserve_bytes=self._reserve_bytes,
            )

    def _data_folder(self) -> Path | None:
        database = self._store.database
        try:
            folder = None if database is None else database.size()[1]
        except StoreUnavailableError:
            return None
        return Path(folder) if folder is not None and Path(folder).is_dir() else None
