"""Sends the gateway's heartbeat, and assesses from all heartbeats whether readings are stored and judged."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateway.background_tasks import BackgroundTasks
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.health import readiness as readiness_module
from ingest_service.storage.health.heartbeat_thread import HeartbeatThread, ProgressRecorder, WorkStatus
from ingest_service.storage.health.processes import READ_TIMEOUT_S, HealthLimits, ProcessIdentity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Future

    from gateway.api.directory_cache import DirectoryCache, DirectoryIndex
    from gateway.settings import Settings
    from ingest_service.storage.contract.store import Store
    from ingest_service.storage.health.processes import DatabaseCondition, ProcessInfo
    from ingest_service.storage.health.readiness import Readiness

PROCESSES_CACHE_S = 0.5  # the database is queried at most twice a second, however many health requests come
LOOP_TICK_S = 0.5
MAX_WAITING_THREADS = 8  # requests that wait at once for the first two seconds of an outage

T = TypeVar("T")


class PlatformHealth:
    """The gateway's own heartbeat, and the platform's readiness by the heartbeats of all processes.

    Every response is given within `READ_TIMEOUT_S`, also while the database is frozen: the condition of the
    database is known by the own heartbeat, and reads run on threads and a connection of their own, so that
    requests that wait for the database delay them neither in the pool of threads nor in that of connections.

    Parameters
    ----------
    store : the heartbeat is written to it, and the processes of all areas are read from it
    directories : gives the devices whose areas are assessed
    settings : port (part of the process identity) and ``stuck_s``

    """

    def __init__(self, store: Store, directories: DirectoryCache, settings: Settings) -> None:
        self.tasks = BackgroundTasks()
        self._reader = store.process_reader()
        self._directories = directories
        identity = ProcessIdentity(kind="gateway", instance=f"{socket.gethostname()}:{settings.port}")
        self._progress = ProgressRecorder()
        self._progress.read_work_status = self._work_status
        self._heartbeat = HeartbeatThread(
            store.heartbeat(identity, HealthLimits(stuck_s=settings.stuck_s)), self._progress
        )
        self._lock = threading.Lock()
        self._process_thread = ThreadPoolExecutor(1, "health")
        self._directory_thread = ThreadPoolExecutor(1, "health_directory")
        self._waiting_threads = ThreadPoolExecutor(MAX_WAITING_THREADS, "health_waiting")
        self._has_directory = False
        self._pending_processes: Future[list[ProcessInfo]] | None = None
        self._pending_directory: Future[DirectoryIndex] | None = None
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
            self._process_thread.submit(self._reader.close)
            await asyncio.to_thread(self._heartbeat.stop, delete_row=True)

    @property
    def database(self) -> DatabaseCondition:
        """Condition of the database, by the gateway's own heartbeat; no query."""
        return self._heartbeat.database

    def processes(self, *, within_s: float = READ_TIMEOUT_S) -> list[ProcessInfo]:
        """Return every process and its state; at most `PROCESSES_CACHE_S` old.

        Raises `StoreUnavailableError` after ``within_s``, and otherwise as the store does.
        """
        with self._lock:
            if self._read_at_s is not None and time.monotonic() - self._read_at_s < PROCESSES_CACHE_S:
                return self._processes
            if self._pending_processes is None or self._pending_processes.done():
                self._pending_processes = self._process_thread.submit(self._read_processes)
            pending = self._pending_processes
        return _result_in_time(pending, within_s)

    def readiness(self, areas: tuple[str, ...] | None = None, *, may_name_areas: bool = True) -> Readiness:
        """Return whether a reading of some areas, or of any, would be stored and judged.

        Without ``may_name_areas`` no message names an area, so that it may be shown without authentication.
        A database that does not respond is a problem of the readiness, not an exception.
        """
        ends_s = time.monotonic() + READ_TIMEOUT_S
        database = self.database
        processes: list[ProcessInfo] = []
        device_areas: set[str] = set()
        if database == "writable":
            try:
                processes = self.processes()
                directory_index = self._directory_index(areas, ends_s - time.monotonic())
                device_areas = {one.area_id for one in directory_index.directory.devices}
            except StoreUnavailableError:
                database = "away"
        return readiness_module.assess_readiness(
            processes, device_areas, database=database, may_name_areas=may_name_areas
        )

    async def readiness_in_time(
        self, areas: tuple[str, ...] | None = None, *, may_name_areas: bool = True
    ) -> Readiness:
        """Return `readiness` without blocking the event loop, and without the common pool of threads."""
        return await asyncio.get_running_loop().run_in_executor(
            self._waiting_threads, partial(self.readiness, areas, may_name_areas=may_name_areas)
        )

    def _read_processes(self) -> list[ProcessInfo]:
        try:
            found = self._reader.processes()
        except StoreUnavailableError:
            self._reader.close()
            raise
        with self._lock:
            self._processes, self._read_at_s = found, time.monotonic()
        return found

    def _directory_index(self, areas: tuple[str, ...] | None, within_s: float) -> DirectoryIndex:
        """Return the directory of some areas; the last one read if it can't be read again in time."""
        with self._lock:
            if self._pending_directory is None or self._pending_directory.done():
                self._pending_directory = self._directory_thread.submit(self._directories.directory_index)
            pending = self._pending_directory
        try:
            _result_in_time(pending, within_s)
            self._has_directory = True
        except StoreUnavailableError:
            if not self._has_directory:
                raise
        return self._directories.cached_index(areas)

    def _work_status(self) -> WorkStatus:
        failing = self.tasks.failing
        return WorkStatus("task" if failing else "", ", ".join(failing))

    async def _tick_loop(self) -> None:
        """Record the progress of the event loop for the heartbeat: a blocked loop shows as stuck."""
        while True:
            self._progress.loop_advanced()
            await asyncio.sleep(LOOP_TICK_S)


def _result_in_time(pending: Future[T], within_s: float) -> T:
    """Return the result of a read. Raises `StoreUnavailableError` after ``within_s``."""
    try:
        return pending.result(max(0.0, within_s))
    except TimeoutError as error:
        raise StoreUnavailableError(f"the database did not answer within {READ_TIMEOUT_S:g} s") from error
