"""Runs the agent of one device: one thread moves packs from driver to spool, another from spool to broker."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from edge.agent.publisher import Publisher
from edge.agent.spool import SpoolBusyError, SpoolError
from edge.agent.window import Backoff
from edge.wire import senml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.agent.settings import Settings
    from edge.agent.spool import Spool
    from edge.drivers import Driver, Pack
    from edge.wire.broker import Broker

log = logging.getLogger(__name__)

POLL_S = 0.1
PACKS_A_COMMIT = 64
GRACE_S = 0.3  # together with DISCONNECT, an agent ends within one second of a requested stop
REST_S = 0.2
BEHIND_S = 1.0  # a pack overdue by more than this comes from a recording, not from a sensor
HELD_BACK = 2000  # while more messages are waiting, reading of a recording is paused
DISK_AGAIN_S = (0.5, 10.0)


class AgentError(RuntimeError):
    """A part of the agent failed; the message contains the part and the cause."""


class Counts(NamedTuple):
    """Numbers of readings processed by an agent; ``waiting`` is the number of messages in the spool."""

    taken: int
    receipted: int
    evicted: int
    waiting: int


class Agent:
    """Reads packs from a driver when they are due, and publishes them until they have receipts.

    Parameters
    ----------
    area, device : ids under which the device is enrolled
    driver : source of packs
    clock : returns Unix seconds [s], with which `Pack.due_s` is compared
    refuse : called on another thread with a sentence for each message that the platform refused
    grace_s : time after a requested stop in which messages are still sent over an open connection [s]

    Attributes
    ----------
    untaken : readings read from the driver that could not be put into the spool before the end

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
        grace_s: float = GRACE_S,
        refuse: Callable[[str], None] | None = None,
    ) -> None:
        self._device = device
        self._driver = driver
        self._spool = spool
        self._clock = clock
        self._grace_s = grace_s
        recorded = bool(getattr(driver, "recorded", False))
        self._publisher = Publisher(area, device, spool, broker, settings, recorded=recorded, refuse=refuse)
        self._fault: Exception | None = None
        self._taken = 0
        self.untaken = 0

    @property
    def refused(self) -> int:
        """Number of messages that the platform refused completely or in part."""
        return self._publisher.refused

    def counts(self) -> Counts:
        """Return the current counts."""
        return Counts(
            self._taken, self._publisher.receipted, self._spool.evicted_readings, self._spool.waiting
        )

    def run(self, stop: threading.Event) -> None:
        """Run until the driver has ended and the spool is empty, or until ``stop`` is set.

        After a requested stop no new packs are read, and messages are sent for the grace period; the others
        stay in the spool for the next start.

        Raises
        ------
        AgentError
            If the driver, the spool or the publisher failed; its cause is their exception.

        """
        quiet = threading.Event()
        network = threading.Thread(
            target=self._publish, args=(quiet,), name=f"{self._device} publisher", daemon=True
        )
        network.start()
        try:
            self._take(stop)
            while self._spool.waiting and not self._ends(stop):
                stop.wait(POLL_S)
            ends_s = time.monotonic() + self._grace_s
            while self._spool.waiting and self._publisher.connected and time.monotonic() < ends_s:
                time.sleep(POLL_S / 2)
        finally:
            quiet.set()
            network.join(self._grace_s)  # a longer wait would be for a server that does not respond
        if self._fault is not None:
            raise AgentError(_sentence(self._device, "publisher", self._fault)) from self._fault

    def _ends(self, stop: threading.Event) -> bool:
        return stop.is_set() or self._fault is not None

    def _publish(self, quiet: threading.Event) -> None:
        try:
            self._publisher.run(quiet)
        except Exception as error:  # noqa: BLE001 - `run` raises it on the caller's thread
            if not quiet.is_set():
                self._fault = error

    # -- driver to spool -----------------------------------------------------------------------

    def _take(self, stop: threading.Event) -> None:
        source = _Source(self._driver.packs())
        while not source.ended and not self._ends(stop):
            pack = source.look()
            if pack is None:
                continue
            due_s = pack.due_s - self._clock()
            if due_s > 0:
                stop.wait(min(due_s, POLL_S))
            elif due_s < -BEHIND_S and self._spool.waiting > HELD_BACK:
                stop.wait(POLL_S)
            else:
                self._put(self._group(source), stop)
        if getattr(self._driver, "perishable", False):
            self._take_rest(source, stop)
        if source.fault is not None:
            raise AgentError(_sentence(self._device, "driver", source.fault)) from source.fault

    def _take_rest(self, source: _Source, stop: threading.Event) -> None:
        """Read the packs that a driver has buffered and could not read again, for at most `REST_S`."""
        ends_s = time.monotonic() + REST_S
        while not source.ended and time.monotonic() < ends_s and source.look() is not None:
            self._put(source.take(PACKS_A_COMMIT), stop)

    def _group(self, source: _Source) -> list[Pack]:
        """Take the pack that is due, and the following ones that are overdue.

        The packs of a driver that waits for its sensor are due now, not overdue, so that no further pack is
        requested here, which would block.
        """
        return source.take(PACKS_A_COMMIT, before_s=self._clock() - BEHIND_S)

    def _put(self, group: list[Pack], stop: threading.Event) -> None:
        """Put packs into the spool; while its disk is full, wait and retry, so that no reading is lost."""
        messages = [(senml.encode_json(one.records), len(one.records)) for one in group]
        readings = sum(count for _, count in messages)
        again = Backoff(*DISK_AGAIN_S)
        while True:
            try:
                self._spool.put(messages)
            except SpoolBusyError as error:
                log.error("%s: %d readings wait: %s", self._device, readings, error)  # noqa: TRY400
                if self._ends(stop):
                    self.untaken += readings
                    return
                stop.wait(again.next_s(random.random()))
            except SpoolError as error:
                self.untaken += readings
                raise AgentError(_sentence(self._device, "spool", error)) from error
            else:
                self._taken += readings
                return


class _Source:
    """Packs of a driver, with a lookahead of one.

    Attributes
    ----------
    ended : whether there are no more packs
    fault : the exception that ended them, if any

    """

    def __init__(self, packs: Iterator[Pack | None]) -> None:
        self._packs = packs
        self._ahead: Pack | None = None
        self.ended = False
        self.fault: Exception | None = None

    def look(self) -> Pack | None:
        """Return the next pack without taking it; None if the driver has none yet, or has ended."""
        if self._ahead is None and not self.ended:
            try:
                self._ahead = next(self._packs)
            except StopIteration:
                self.ended = True
            except Exception as error:  # noqa: BLE001 - raised once the packs before it are in the spool
                self.ended, self.fault = True, error
        return self._ahead

    def take(self, most: int, *, before_s: float = float("inf")) -> list[Pack]:
        """Take the next pack, and up to ``most`` in all that are due before ``before_s`` [s]."""
        taken: list[Pack] = []
        while self._ahead is not None:
            pack, self._ahead = self._ahead, None
            taken.append(pack)
            if len(taken) == most or pack.due_s >= before_s:
                break
            following = self.look()
            if following is None or following.due_s >= before_s:
                break
        return taken


def _sentence(device: str, part: str, fault: Exception) -> str:
    what = str(fault) if isinstance(fault, OSError | ValueError) else f"{type(fault).__name__}: {fault}"
    return f"{device}: the {part} ended: {what}"
