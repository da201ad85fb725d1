"""Sends the gateway's heartbeat, and assesses from all heartbeats whether readings are stored and judged."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.background_tasks import BackgroundTasks
from ingest_service.storage.health import readiness as readiness_module
from ingest_service.storage.health.heartbeat_thread import HeartbeatThread, ProgressRecorder, WorkStatus
from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.api.directory_cache import DirectoryCache
    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Reader, Store
    from ingest_service.storage.health.processes import ProcessInfo
    from ingest_service.storage.health.readiness import Readiness

PROCESSES_CACHE_S = 0.5  # the database is queried at most twice a second, however many health requests come
LOOP_TICK_S = 0.5


class PlatformHealth:
    """The gateway's own heartbeat, and the platform's readiness by the heartbeats of all processes.

    Parameters
    ----------
    store : the heartbeat is written to it
    unscoped_reader : the store without an area scope: it returns the processes of all areas
    directories : gives the devices whose areas are assessed
    settings : port (part of the process identity) and ``stuck_s``

    """

    def __init__(
        self, store: Store, unscoped_reader: Reader, directories: DirectoryCache, settings: Settings
    ) -> None:
        self.tasks = BackgroundTasks()
        self._unscoped_reader = unscoped_reader
        self._directories = directories
        identity = ProcessIdentity(kind="gateway", instance=f"{socket.gethostname()}:{settings.port}")
        self._progress = ProgressRecorder()
        self._progress.read_work_status = self._work_status
        self._heartbeat = HeartbeatThread(
            store.heartbeat(identity, HealthLimits(stuck_s=settings.stuck_s)), self._progress
        )
        self._lock = threading.Lock()
        self._processes: list[ProcessInfo] = []
        self._read_at_s: float | None = None

    @asynccontextmanager
    async def sending_heartbeats(self) -> AsyncIterator[None]:
        """Write heartbeats while the application serves."""
        self._progress.role = "owner"
        self._heartbeat.start()
        tick_task = asyncio.create_task(self.tasks.run_restarting("tick", self._tick_loop))
        try:
            yield
        finally:
            tick_task.cancel()
            await asyncio.to_thread(self._heartbeat.stop, delete_row=True)

    @property
    def writable(self) -> bool:
        """Whether the database accepted one of the gateway's last two heartbeats."""
        return self._heartbeat.writable

    def processes(self) -> list[ProcessInfo]:
        """Return every process and its state; at most `PROCESSES_CACHE_S` old. Raises as the store does."""
        with self._lock:
            now_s = time.monotonic()
            if self._read_at_s is None or now_s - self._read_at_s >= PROCESSES_CACHE_S:
                self._processes = self._unscoped_reader.processes()
                self._read_at_s = now_s
            return self._processes

    def readiness(self, areas: tuple[str, ...] | None = None, *, may_name_areas: bool = True) -> Readiness:
        """Return whether a reading of some areas, or of any, would be stored and judged.

        Without ``may_name_areas`` no message names an area, so that it may be shown without authentication.
        Raises as the store does.
        """
        devices = self._directories.directory_index(areas).directory.devices
        return readiness_module.assess_readiness(
            self.processes(),
            {one.area_id for one in devices},
            writable=self._heartbeat.writable,
            may_name_areas=may_name_areas,
        )

    def _work_status(self) -> WorkStatus:
        failing = self.tasks.failing
        return WorkStatus("task" if failing else "", ", ".join(failing))

    async def _tick_loop(self) -> None:
        """Record the progress of the event loop for the heartbeat: a blocked loop shows as stuck."""
        while True:
            self._progress.loop_advanced()
            await asyncio.sleep(LOOP_TICK_S)
