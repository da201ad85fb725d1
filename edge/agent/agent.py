"""Runs the agent of one device: one thread moves packs from driver to spool, another from spool to broker."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edge.agent.clock_sync import shift_times
from edge.agent.publisher import SpoolPublisher
from edge.agent.service_notifier import ServiceNotifier
from edge.agent.spool import ReDatedPayload, SpoolBusyError, SpoolEntry, SpoolError
from edge.wire import receipts, senml
from edge.wire.backoff import Backoff
from edge.wire.boot_clock import boot_clock_s
from edge.wire.errors import EdgeError, PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.agent.clock_sync import ClockSync, UnsetClock
    from edge.agent.settings import Settings
    from edge.agent.spool import Spool
    from edge.drivers import Driver, Pack
    from edge.wire.broker_address import BrokerAddress

log = logging.getLogger(__name__)

POLL_S = 0.1
MAX_PACKS_PER_COMMIT = 64
STOP_GRACE_S = 0.3  # together with DISCONNECT, an agent ends within one second of a requested stop
DRAIN_S = 0.5  # with STOP_GRACE_S below one second, also on a slow disk
OVERDUE_S = 1.0  # a pack overdue by more than this comes from a recording, not from a sensor
LIVE_S = 60.0  # a pack due longer ago is no live one: it is sent in order with the others
MAX_WAITING_FOR_RECORDED = 2000  # while more messages are waiting, reading of a recording is paused
DISK_RETRY_S = (0.5, 10.0)
CLOCK_CHECK_S = 0.5
SUSPECT = "3"  # QARTOD flag


class AgentError(EdgeError, RuntimeError):
    """A part of the agent failed; the message contains the part and the cause."""


class AgentCounts(NamedTuple):
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
    on_refused : called on another thread with a sentence for each message that the platform refused
    grace_s : time after a requested stop in which messages are still sent over an open connection [s]
    clock_sync : state of the device's clock, to re-date readings taken before it was set; None: they are not
    in_order : whether no message is ever sent before an older one; otherwise live ones go before a backlog

    Attributes
    ----------
    not_spooled : readings read from the driver that could not be put into the spool before the end

    """

    def __init__(
        self,
        *,
        area: str,
        device: str,
        driver: Driver,
        spool: Spool,
        broker: BrokerAddress,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        grace_s: float = STOP_GRACE_S,
        on_refused: Callable[[str], None] | None = None,
        clock_sync: ClockSync | None = None,
        in_order: bool = False,
    ) -> None:
        self._device = device
        self._driver = driver
        self._spool = spool
        self._clock = clock
        self._grace_s = grace_s
        recorded = bool(getattr(driver, "recorded", False))
        self._publisher = SpoolPublisher(
            area,
            device,
            spool,
            broker,
            settings,
            recorded=recorded,
            on_refused=on_refused,
            is_live=lambda: self._newest_is_live and not self._waits_for_clock and not in_order,
        )
        self._clock_sync, self._clock_wait_s = clock_sync, settings.clock_wait_s
        self._clock_due_s = 0.0
        self._connected_s: float | None = None  # since when there is a connection, by the monotonic clock
        self._newest_is_live = not recorded
        self._notifier = ServiceNotifier()
        self._fault: Exception | None = None
        self._taken = 0
        self.not_spooled = 0

    @property
    def refused(self) -> int:
        """Number of messages that the platform refused completely or in part."""
        return self._publisher.refused

    def counts(self) -> AgentCounts:
        """Return the current counts."""
        return AgentCounts(
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
        publisher_stop = threading.Event()
        network = threading.Thread(
            target=self._publish, args=(publisher_stop,), name=f"{self._device} publisher", daemon=True
        )
        network.start()
        try:
            self._read_driver(stop)
            while self._spool.waiting and not self._should_end(stop):
                self._notifier.alive()
                self._check_clock()
                stop.wait(POLL_S)
            ends_s = time.monotonic() + self._grace_s
            while self._spool.waiting and self._publisher.connected and time.monotonic() < ends_s:
                time.sleep(POLL_S / 2)
        finally:
            publisher_stop.set()
            network.join(self._grace_s)  # a longer wait would be for a server that does not respond
        if self._fault is not None:
            raise AgentError(_failure_sentence(self._device, "publisher", self._fault)) from self._fault

    def _should_end(self, stop: threading.Event) -> bool:
        return stop.is_set() or self._fault is not None

    def _publish(self, publisher_stop: threading.Event) -> None:
        try:
            self._publisher.run(publisher_stop)
        except Exception as error:  # noqa: BLE001 - `run` raises it on the caller's thread
            if not publisher_stop.is_set():
                self._fault = error

    # -- driver to spool -----------------------------------------------------------------------

    def _read_driver(self, stop: threading.Event) -> None:
        source = _PackSource(self._driver.packs())
        try:
            self._move_packs(source, stop)
        finally:
            source.close()
        if source.fault is not None:
            raise AgentError(_failure_sentence(self._device, "driver", source.fault)) from source.fault

    def _move_packs(self, source: _PackSource, stop: threading.Event) -> None:
        while not source.ended and not self._should_end(stop):
            self._notifier.alive()
            self._check_clock()
            pack = source.peek()
            if pack is None:
                continue
            # A pack with times by the device's clock is due at once, though that clock be set back.
            due_s = pack.due_s - self._clock() if pack.taken_s is None else 0.0
            if due_s > 0:
                stop.wait(min(due_s, POLL_S))
            elif due_s < -OVERDUE_S and self._spool.waiting > MAX_WAITING_FOR_RECORDED:
                stop.wait(POLL_S)
            else:
                self._spool_packs(self._due_packs(source), stop)
        if getattr(self._driver, "perishable", False):
            self._drain_driver(source, stop)

    def _drain_driver(self, source: _PackSource, stop: threading.Event) -> None:
        """Read the packs that a driver has buffered and could not read again, for at most `DRAIN_S`."""
        ends_s = time.monotonic() + DRAIN_S
        while not source.ended and time.monotonic() < ends_s and source.peek() is not None:
            self._spool_packs(source.take(MAX_PACKS_PER_COMMIT), stop)

    def _due_packs(self, source: _PackSource) -> list[Pack]:
        """Take the pack that is due, and the following ones that are overdue.

        The packs of a driver that waits for its sensor are due now, not overdue, so that no further pack is
        requested here, which would block.
        """
        return source.take(MAX_PACKS_PER_COMMIT, before_s=self._clock() - OVERDUE_S)

    def _spool_packs(self, packs_due: list[Pack], stop: threading.Event) -> None:
        """Put packs into the spool; while its disk is full, wait and retry, so that no reading is lost."""
        messages = [self._entry(one) for one in packs_due]
        readings = sum(one.readings for one in messages)
        newest = packs_due[-1]
        age_s = self._clock() - newest.due_s if newest.taken_s is None else boot_clock_s() - newest.taken_s
        self._newest_is_live = age_s <= LIVE_S
        backoff = Backoff(*DISK_RETRY_S)
        while True:
            self._notifier.alive()
            try:
                self._spool.put(messages)
            except SpoolBusyError as error:
                log.error("%s: %d readings wait: %s", self._device, readings, error)  # noqa: TRY400
                if self._should_end(stop):
                    self.not_spooled += readings
                    return
                stop.wait(backoff.next_s(random.random()))
            except SpoolError as error:
                self.not_spooled += readings
                raise AgentError(_failure_sentence(self._device, "spool", error)) from error
            else:
                self._taken += readings
                for one in packs_due:
                    if one.on_stored is not None:
                        one.on_stored()
                return

    # -- a clock that was not set --------------------------------------------------------------

    @property
    def _waits_for_clock(self) -> bool:
        return self._clock_sync is not None and self._clock_sync.waiting

    def _entry(self, pack: Pack) -> SpoolEntry:
        """Return the message of a pack; one that was taken before the clock was set is re-dated or waits."""
        message = SpoolEntry(senml.encode_json(pack.records), len(pack.records), properties=pack.properties)
        sync = self._clock_sync
        clock = None if sync is None else sync.unset_clock(pack)
        if sync is None or clock is None:
            return message
        if sync.waiting:
            return message._replace(clock=clock)
        changed = self._re_dated(clock, message.payload)
        return message._replace(payload=changed.payload, properties=message.properties + changed.properties)

    def _check_clock(self) -> None:
        """Re-date the messages that wait, once: when the clock is set, or can't be waited for any longer."""
        sync, now_s = self._clock_sync, time.monotonic()
        if sync is None or now_s < self._clock_due_s:
            return
        self._clock_due_s = now_s + CLOCK_CHECK_S
        if not self._publisher.connected:
            self._connected_s = None
        elif self._connected_s is None:
            self._connected_s = now_s
        sync.check()
        if sync.waiting:
            if self._connected_s is None or now_s - self._connected_s < self._clock_wait_s:
                return
            sync.give_up()
        try:
            number = self._spool.re_date(self._re_dated)
        except SpoolBusyError as error:
            log.error("%s: %s", self._device, error)  # noqa: TRY400 - the message is complete without a traceback
            return
        if sync.set_at_s < math.inf:
            self._clock_due_s = math.inf
        if number:
            action = "re-dated" if sync.set_at_s < math.inf else "flagged: their times may be wrong"
            log.warning("%s: %d messages of a clock that was not set are %s", self._device, number, action)

    def _re_dated(self, clock: UnsetClock, payload: bytes) -> ReDatedPayload:
        """Return a payload with right times; a flagged one if the clock was not set in the same boot."""
        sync = self._clock_sync
        if sync is not None and clock.boot == sync.boot and sync.set_at_s < math.inf:
            with suppress(PayloadError):
                shifted = shift_times(payload, sync.offset_s - clock.offset_s)
                return ReDatedPayload(shifted, ((receipts.CLOCK_PROPERTY, receipts.CLOCK_RE_DATED),))
        flags = ((receipts.CLOCK_PROPERTY, receipts.CLOCK_UNSET), (receipts.QUALITY_PROPERTY, SUSPECT))
        return ReDatedPayload(payload, flags)


class _PackSource:
    """Packs of a driver, with a lookahead of one.

    Attributes
    ----------
    ended : whether there are no more packs
    fault : the exception that ended them, if any

    """

    def __init__(self, packs: Iterator[Pack | None]) -> None:
        self._packs = packs
        self._peeked: Pack | None = None
        self.ended = False
        self.fault: Exception | None = None

    def close(self) -> None:
        """End the driver, so that it releases its instruments and connections."""
        close = getattr(self._packs, "close", None)  # an iterator that is no generator has none
        if close is not None:
            close()

    def peek(self) -> Pack | None:
        """Return the next pack without taking it; None if the driver has none yet, or has ended."""
        if self._peeked is None and not self.ended:
            try:
                self._peeked = next(self._packs)
            except StopIteration:
                self.ended = True
            except Exception as error:  # noqa: BLE001 - raised once the packs before it are in the spool
                self.ended, self.fault = True, error
        return self._peeked

    def take(self, max_packs: int, *, before_s: float = float("inf")) -> list[Pack]:
        """Take the next pack, and up to ``max_packs`` in all that are due before ``before_s`` [s]."""
        taken: list[Pack] = []
        while self._peeked is not None:
            pack, self._peeked = self._peeked, None
            taken.append(pack)
            if len(taken) == max_packs or pack.due_s >= before_s:
                break
            following = self.peek()
            if following is None or following.due_s >= before_s:
                break
        return taken


def _failure_sentence(device: str, part: str, fault: Exception) -> str:
    fault_text = str(fault) if isinstance(fault, OSError | ValueError) else f"{type(fault).__name__}: {fault}"
    return f"{device}: the {part} ended: {fault_text}"
