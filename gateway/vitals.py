"""Health of the platform: the state of every process, and whether new readings are stored and judged."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.background import Tasks
from ingest_service.storage import verdict as verdicts
from ingest_service.storage.beating import Heart, Look, Pulse
from ingest_service.storage.processes import Identity, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.known import Directories
    from gateway.settings import Settings
    from ingest_service.storage.processes import Process
    from ingest_service.storage.store import Reader, Store
    from ingest_service.storage.verdict import Verdict

GOOD_FOR_S = 0.5  # however often health is asked for, the database answers twice a second
TICK_S = 0.5


class Vitals:
    """The gateway's own heartbeat, and what all heartbeats come to.

    Parameters
    ----------
    store : for the heartbeat
    whole : the store as whoever sees everything sees it

    """

    def __init__(self, store: Store, whole: Reader, directories: Directories, settings: Settings) -> None:
        self.tasks = Tasks()
        self._whole = whole
        self._directories = directories
        identity = Identity(kind="gateway", instance=f"{socket.gethostname()}:{settings.port}")
        self._pulse = Pulse()
        self._pulse.look = self._look
        self._heart = Heart(store.heartbeat(identity, Limits(stuck_s=settings.stuck_s)), self._pulse)
        self._lock = threading.Lock()
        self._processes: list[Process] = []
        self._read_s: float | None = None

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Write heartbeats as long as the application serves."""
        self._pulse.role = "owner"
        self._heart.start()
        ticking = asyncio.create_task(self.tasks.keep("tick", self._tick))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.to_thread(self._heart.stop, leaves=True)

    @property
    def writable(self) -> bool:
        """Whether the database took one of the gateway's last two heartbeats."""
        return self._heart.writable

    def processes(self) -> list[Process]:
        """Every process and its state; at most half a second old. Raises as the store does."""
        with self._lock:
            now_s = time.monotonic()
            if self._read_s is None or now_s - self._read_s >= GOOD_FOR_S:
                self._processes = self._whole.processes()
                self._read_s = now_s
            return self._processes

    def verdict(self, areas: tuple[str, ...] | None = None, *, names: bool = True) -> Verdict:
        """Whether a reading of some areas, or of any, would be stored and judged. Raises as the store does.

        Without ``names`` no sentence names an area: anybody may read it.
        """
        devices = self._directories.known(areas).directory.devices
        return verdicts.verdict(
            self.processes(),
            {one.area_id for one in devices},
            writable=self._heart.writable,
            names=names,
        )

    def _look(self) -> Look:
        failing = self.tasks.failing
        return Look("task" if failing else "", ", ".join(failing))

    async def _tick(self) -> None:
        """Show that the event loop comes around."""
        while True:
            self._pulse.moved()
            await asyncio.sleep(TICK_S)
