"""One device: driver to spool on one thread, spool to broker on another."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from edge.agent.publisher import Publisher
from edge.wire import senml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.agent.settings import Settings
    from edge.agent.spool import Spool
    from edge.drivers import Driver, Pack
    from edge.wire.broker import Broker

POLL_S = 0.1
PACKS_A_COMMIT = 64
GRACE_S = 3.0
BEHIND_S = 1.0  # a pack that is overdue for longer comes from a record, not from a sensor
HELD_BACK = 2000  # messages waiting: beyond them a record is not read on


class Counts(NamedTuple):
    """What an agent did so far: readings, but for ``waiting`` messages in the spool."""

    taken: int
    receipted: int
    evicted: int
    waiting: int


class Agent:
    """Takes packs from a driver as they fall due, and publishes them until they have their receipts.

    Parameters
    ----------
    area, device : where the device is enrolled
    driver : where packs come from
    clock : what `Pack.due_s` is measured against, Unix seconds [s]

    """

    def __init__(
        self,
        *,
        area: str,
        device: str,
        driver: Driver,
        spool: Spool,
        broker: Broker,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = device
        self._driver = driver
        self._spool = spool
        self._clock = clock
        recorded = bool(getattr(driver, "recorded", False))
        self._publisher = Publisher(area, device, spool, broker, settings, recorded=recorded)
        self._taken = 0

    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(
            self._taken, self._publisher.receipted, self._spool.evicted_readings, self._spool.waiting
        )

    def run(self, stop: threading.Event) -> None:
        """Until the driver ended and the spool is empty; if ``stop`` is set, nothing new is taken.

        What is in the spool then stays there for the next start, but for what leaves within a short grace.
        """
        quiet = threading.Event()
        network = threading.Thread(
            target=self._publisher.run, args=(quiet,), name=f"{self._device} publisher"
        )
        network.start()
        try:
            self._take(stop)
            while self._spool.waiting and not stop.is_set():
                stop.wait(POLL_S)
            ends_s = time.monotonic() + GRACE_S
            while self._spool.waiting and time.monotonic() < ends_s:
                time.sleep(POLL_S)
        finally:
            quiet.set()
            network.join()

    def _take(self, stop: threading.Event) -> None:
        packs = self._driver.packs()
        pack = next(packs, None)
        while pack is not None and not stop.is_set():
            due = pack.due_s - self._clock()
            if due > 0:
                stop.wait(min(due, POLL_S))
            elif due < -BEHIND_S and self._spool.waiting > HELD_BACK:
                stop.wait(POLL_S)
            else:
                pack = self._commit(pack, packs)

    def _commit(self, first: Pack, packs: Iterator[Pack]) -> Pack | None:
        """Put a pack into the spool, and those behind it that are overdue too; returns the first left over.

        A driver that waits for its sensor gives packs that are due just now, and is not asked for more here.
        """
        overdue_s = self._clock() - BEHIND_S
        group = [first]
        left: Pack | None = first
        while left is not None and left.due_s < overdue_s and len(group) < PACKS_A_COMMIT:
            left = next(packs, None)
            if left is not None and left.due_s < overdue_s:
                group.append(left)
        self._spool.put([(senml.encode_json(one.records), len(one.records)) for one in group])
        self._taken += sum(len(one.records) for one in group)
        return next(packs, None) if left is group[-1] else left
