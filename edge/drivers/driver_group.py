"""Runs several drivers at once, each on its own thread, as one driver."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from edge.drivers import Pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge.drivers import Driver

POLL_S = 0.1
MAX_QUEUED = 200  # packs; a driver whose packs can't be stored yet is read no further


class DriverGroup:
    """Merges the packs of drivers as they become due; a driver that fails ends the group with its error."""

    perishable = True

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        self._drivers = drivers
        self._queue: queue.Queue[Pack | _DriverEnd] = queue.Queue(MAX_QUEUED)

    def packs(self) -> Iterator[Pack | None]:
        """Yield packs of all drivers, None if there is none yet; ends when all drivers have ended.

        A driver that fails is raised once the packs that came before it were yielded.
        """
        for name, driver in self._drivers.items():
            threading.Thread(
                target=self._read, args=(name, driver), name=f"driver {name}", daemon=True
            ).start()
        running = len(self._drivers)
        while running:
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, Pack):
                yield item
            elif item.fault is not None:
                raise item.fault
            else:
                running -= 1

    def _read(self, name: str, driver: Driver) -> None:
        fault: Exception | None = None
        try:
            for pack in driver.packs():
                if pack is None:
                    continue
                while (wait_s := pack.due_s - time.time()) > 0:
                    time.sleep(min(wait_s, POLL_S))  # in short steps: the clock may be set meanwhile
                self._queue.put(pack)
        except Exception as error:  # noqa: BLE001 - raised on the agent's thread
            fault = ValueError(f"driver {name}: {type(error).__name__}: {error}")
        self._queue.put(_DriverEnd(fault))


class _DriverEnd:
    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault
