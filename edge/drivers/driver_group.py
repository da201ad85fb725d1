"""Runs several drivers at once, each on its own thread, as one driver."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from edge.drivers import Pack
from edge.wire.receipts import RECORDED_PROPERTY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge.drivers import Driver

POLL_S = 0.1
CLOSE_S = 0.3  # in which the drivers close; those that do not end with the process
MAX_QUEUED = 200  # packs; a driver whose packs can't be stored yet is read no further


class DriverGroup:
    """Merges the packs of drivers as they become due; a driver that fails ends the group with its error."""

    perishable = True

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        self._drivers = drivers
        self._queue: queue.Queue[Pack | _DriverEnd] = queue.Queue(MAX_QUEUED)
        self._stop = threading.Event()

    def packs(self) -> Iterator[Pack | None]:
        """Yield packs of all drivers, None if there is none yet; ends when all drivers have ended.

        A driver that fails is raised once the packs that came before it were yielded.
        """
        threads = [
            threading.Thread(target=self._read, args=(name, driver), name=f"driver {name}", daemon=True)
            for name, driver in self._drivers.items()
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
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
        finally:
            self._stop.set()
            ends_s = time.monotonic() + CLOSE_S
            for thread in threads:
                thread.join(max(0.0, ends_s - time.monotonic()))

    def _read(self, name: str, driver: Driver) -> None:
        fault: Exception | None = None
        recorded = (RECORDED_PROPERTY,) if getattr(driver, "recorded", False) else ()
        packs = driver.packs()
        try:
            for pack in packs:
                if self._stop.is_set():
                    break
                if pack is None:
                    continue
                while pack.taken_s is None and (wait_s := pack.due_s - time.time()) > 0:
                    if self._stop.wait(min(wait_s, POLL_S)):  # in short steps: the clock may be set meanwhile
                        break
                marked = msgspec.structs.replace(pack, properties=pack.properties + recorded)
                self._put(marked if recorded else pack)
        except Exception as error:  # noqa: BLE001 - raised on the agent's thread
            fault = ValueError(f"driver {name}: {type(error).__name__}: {error}")
        finally:
            close = getattr(packs, "close", None)  # an iterator that is no generator has none
            if close is not None:
                close()  # on this thread: the driver may have objects that belong to it
        self._put(_DriverEnd(fault))

    def _put(self, item: Pack | _DriverEnd) -> None:
        """Put an item into the queue, unless the group is stopped meanwhile."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return


class _DriverEnd:
    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault
