"""Watches the free space of the database's disks, so that ingest stops taking readings before one is full."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ingest_service.pipeline import metrics
from ingest_service.storage.contract.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

CHECK_S = 1.0  # between two looks at the disks; at 100 MB/s of log and data, a tenth of the default reserve
LOCATE_S = 60.0  # between two attempts to find the folders of the database
RESUME_SHARE = 1.1  # of the reserve: below it again at once, each batch would stop and start


class DiskGuard:
    """Free space of the disks that the database writes to, looked at once a second at most.

    A full disk stops PostgreSQL in the middle of whatever it does, including what would free space; with a
    reserve, retention and the operator can still work. Devices and broker keep what is not taken. Data, log
    and tablespaces may be on disks of their own, and each of them stops the database.

    Parameters
    ----------
    store : its folders are used besides, if they are on this machine and may be read
    reserve_bytes : free space of a disk below which there is none for readings; 0 turns the guard off
    folders : folders on the database's disks

    """

    def __init__(self, store: Store, reserve_bytes: int, folders: Iterable[str]) -> None:
        self._store, self._reserve_bytes = store, reserve_bytes
        self._given = [Path(one) for one in folders]
        self._found: list[Path] = []
        self._checked_s = self._located_s = -LOCATE_S
        self._invisible: set[Path] = set()
        self._low: set[Path] = set()

    @property
    def is_low(self) -> bool:
        """Whether a disk has less than the reserve, by the last look."""
        return bool(self._low)

    def check(self) -> bool:
        """Return whether a disk has less than the reserve; one that can't be seen counts as it did."""
        now_s = time.monotonic()
        if self._reserve_bytes and now_s - self._checked_s >= CHECK_S:
            self._checked_s = now_s
            if now_s - self._located_s >= LOCATE_S:
                self._located_s = now_s
                self._locate()
            free = [self._look(folder) for folder in dict.fromkeys([*self._given, *self._found])]
            metrics.DATABASE_DISK_FREE.set(
                min((one for one in free if one is not None), default=float("nan"))
            )
        return self.is_low

    def _look(self, folder: Path) -> int | None:
        """Note whether the disk of a folder is low, and return its free space [bytes]; None if unseen."""
        try:
            found = os.statvfs(folder)
        except OSError as error:
            # The state stays: a disk that was low and can't be seen has no more space for that.
            if folder not in self._invisible:
                log.warning("disk_not_visible", folder=str(folder), error=str(error))
            self._invisible.add(folder)
            return None
        self._invisible.discard(folder)
        free_bytes = found.f_bavail * found.f_frsize
        was_low = folder in self._low
        is_low = free_bytes < self._reserve_bytes * (RESUME_SHARE if was_low else 1.0)
        if is_low != was_low:
            (self._low.add if is_low else self._low.discard)(folder)
            log.warning(
                "disk_reserve_reached" if is_low else "disk_has_space_again",
                folder=str(folder),
                free_bytes=free_bytes,
                reserve_bytes=self._reserve_bytes,
            )
        return free_bytes

    def _locate(self) -> None:
        """Find the database's folders on this machine; while it is away, those of before are kept."""
        database = self._store.database
        try:
            names = [] if database is None else database.disk_folders()
        except StoreError:
            return
        self._found = [Path(one) for one in names if Path(one).is_dir()]
        self._low.intersection_update([*self._given, *self._found])
