"""Driver that reads an instrument at a regular interval and reports each failure as a fault.

The base of the drivers of instruments that answer requests: Modbus, ASCII probes, converters, HTTP counters.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.drivers import Pack
from edge.wire.boot_clock import boot_clock_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.wire.senml import Record

LOG = logging.getLogger(__name__)
WAIT_S = 0.1  # longest wait between two packs, so that the agent can be stopped


def log_fault(sentence: str) -> None:
    """Log a fault of an instrument as a warning."""
    LOG.warning("%s", sentence)


class PollingDriver:
    """Yields the records of one reading of an instrument per interval.

    Parameters
    ----------
    read : returns the records of one reading, of the time given (Unix seconds [s]), or yields None until it
        yields them, where the instrument takes longer than `WAIT_S` to answer; it may raise anything
    name : of the instrument, for the reports of faults
    interval_s : time between two readings, by the monotonic clock [s]; missed readings are not made up for
    jitter_s : each reading is delayed by a random time up to this, so that instruments of a town do not all
        send at the same time [s]
    close : called when the packs are no longer needed; it may raise anything
    on_fault : called with a sentence when a reading fails and when readings succeed again; the agent may
        replace it
    clock, monotonic, wait : Unix time [s], monotonic time [s], and the function that waits

    Examples
    --------
    >>> from edge.wire.senml import Record
    >>> driver = PollingDriver(lambda at: [Record(name="ph", time_s=at, value=7.1)], name="x", interval_s=60)
    >>> [record.value for record in next(driver.packs()).records]
    [7.1]

    """

    perishable = True

    def __init__(
        self,
        read: Callable[[float], list[Record] | Iterator[list[Record] | None]],
        *,
        name: str,
        interval_s: float,
        jitter_s: float = 0.0,
        close: Callable[[], object] = lambda: None,
        on_fault: Callable[[str], None] = log_fault,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.on_fault = on_fault
        self.faults = 0
        self._read, self._close, self._name = read, close, name
        self._interval_s, self._jitter_s = interval_s, jitter_s
        self._clock, self._monotonic, self._wait = clock, monotonic, wait
        self._last_fault: str | None = None

    def packs(self) -> Iterator[Pack | None]:
        """Yield a pack per successful reading, and None while there is none; does not end."""
        due_s = at_s = self._monotonic()
        try:
            while True:
                remaining_s = at_s - self._monotonic()
                if remaining_s > 0:
                    self._wait(min(remaining_s, WAIT_S))
                    yield None
                    continue
                yield from self._packs_of_one_reading()
                due_s += self._interval_s * max(1, 1 + (self._monotonic() - due_s) // self._interval_s)
                at_s = due_s + random.uniform(0.0, self._jitter_s)
        finally:
            with suppress(Exception):  # an instrument that is gone needs no closing
                self._close()

    def _packs_of_one_reading(self) -> Iterator[Pack | None]:
        """Yield None while the instrument works, then the pack, or None if there is none."""
        now_s, taken_s = self._clock(), boot_clock_s()
        records: list[Record] = []  # also of a reading of which only a part failed
        try:
            answer = self._read(now_s)
            for part in [answer] if isinstance(answer, list) else answer:
                if part is None:
                    yield None
                else:
                    records += part
        except Exception as error:  # noqa: BLE001 - no answer of an instrument may end the agent
            self._note_fault(f"{self._name}: {error or type(error).__name__}")
        else:
            self._note_success()
        yield Pack(due_s=now_s, records=records, taken_s=taken_s) if records else None

    def _note_fault(self, sentence: str) -> None:
        """Count a fault; report it unless it is that of the reading before."""
        self.faults += 1
        if sentence != self._last_fault:
            self._last_fault = sentence
            self.on_fault(sentence)

    def _note_success(self) -> None:
        if self._last_fault is not None:
            self._last_fault = None
            self.on_fault(f"{self._name}: it can be read again")
