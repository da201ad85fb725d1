"""Queues requests per API key (round robin), so that many requests of one key do not delay another's.

`FairQueue` bounds how many requests run at once, `TimeBudget` the share of the server's time a key takes on
average.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_BUDGETED_KEYS = 10_000  # beyond them the least recently used budget is dropped
# A long response rests three times as long as it works while other requests come in, so that a machine of two
# cores has room for them: beside exports, the 95 % quantile of short requests was 4.6 times the quiet one.
REST_PER_WORK = 3.0
MAX_REST_S = 0.25
BUSY_WINDOW_S = 0.25  # after its last request another queue counts as busy for so long
QUICK_S = 0.05  # a response in one part that took less does not rest: many SensorThings requests are quick


class TimeBudget:
    """Token bucket of work time per key: holds ``burst_s`` seconds, refilled by ``share`` per second.

    >>> budget = TimeBudget(share=0.5, burst_s=10.0)
    >>> budget.spend("a", 12.0, now_s=0.0)
    >>> budget.wait_s("a", now_s=0.0), budget.wait_s("a", now_s=4.0), budget.wait_s("b", now_s=0.0)
    (4.0, 0.0, 0.0)
    """

    def __init__(self, *, share: float, burst_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        # key -> (seconds left, as of [s])
        self._remaining: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, principal_id: str, *, now_s: float) -> float:
        """Return the time until a key's requests may run again [s]."""
        return max(0.0, -self._remaining_s(principal_id, now_s)) / self._share

    def spend(self, principal_id: str, work_s: float, *, now_s: float) -> None:
        """Subtract time worked [s] from a key's budget."""
        self._remaining[principal_id] = (self._remaining_s(principal_id, now_s) - work_s, now_s)
        self._remaining.move_to_end(principal_id)
        if len(self._remaining) > MAX_BUDGETED_KEYS:
            self._remaining.popitem(last=False)

    def _remaining_s(self, principal_id: str, now_s: float) -> float:
        remaining_s, updated_s = self._remaining.get(principal_id, (self._burst_s, now_s))
        return min(self._burst_s, remaining_s + (now_s - updated_s) * self._share)


class FairQueue:
    """Runs at most ``per_key`` requests of one key and ``total`` of all at once; the rest wait, round robin.

    Belongs to one event loop; not thread-safe. While ``yields_to`` is busy, a response that is sent in parts
    rests between them, in its slot.
    """

    def __init__(
        self,
        *,
        per_key: int,
        total: int,
        max_waiting: int,
        budget: TimeBudget | None = None,
        yields_to: FairQueue | None = None,
    ) -> None:
        self._per_key = per_key
        self._total = total
        self._max_waiting = max_waiting
        self._budget = budget
        self._yields_to = yields_to
        self.last_request_s = -math.inf
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def running(self) -> int:
        """Number of requests that run now."""
        return self._running.total()

    @asynccontextmanager
    async def work_slot(self, principal_id: str) -> AsyncIterator[WorkSlot]:
        """Wait for a slot, and release it at the end of the context.

        Raises
        ------
        ProblemError
            429 where too many requests of the key wait already, or its time budget is spent.

        """
        self._check_limits(principal_id)
        work_slot = WorkSlot(self, principal_id)
        await work_slot.resume()
        try:
            yield work_slot
        finally:
            work_slot.pause()

    def rest_s(self, worked_s: float) -> float:
        """Return how long a response that worked for a time [s] has to rest before its next part [s]."""
        other = self._yields_to
        if other is None or (not other.running and time.monotonic() - other.last_request_s > BUSY_WINDOW_S):
            return 0.0
        return min(MAX_REST_S, REST_PER_WORK * worked_s)

    async def acquire(self, principal_id: str) -> None:
        """Wait until a slot is free for a request of a key."""
        self.last_request_s = time.monotonic()
        if self._running[principal_id] < self._per_key and self.running < self._total:
            self._running[principal_id] += 1
            return
        own_waiters = self._waiting.setdefault(principal_id, deque())
        future = asyncio.get_running_loop().create_future()
        own_waiters.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(principal_id, 0.0)
            elif future in own_waiters:
                own_waiters.remove(future)
            raise

    def release(self, principal_id: str, worked_s: float) -> None:
        """Release a slot, charge the time worked [s] to the key, and start the requests that fit now."""
        self._running[principal_id] -= 1
        if not self._running[principal_id]:
            del self._running[principal_id]
        if self._budget is not None and worked_s:
            self._budget.spend(principal_id, worked_s, now_s=time.monotonic())
        for name in list(self._waiting):
            self._start_next(name)

    def _start_next(self, principal_id: str) -> None:
        own_waiters = self._waiting[principal_id]
        while own_waiters and (own_waiters[0].cancelled() or own_waiters[0].done()):
            own_waiters.popleft()
        if own_waiters and self._running[principal_id] < self._per_key and self.running < self._total:
            self._running[principal_id] += 1
            own_waiters.popleft().set_result(None)
            self._waiting.move_to_end(principal_id)  # round robin: the other keys come first
        if not own_waiters:
            del self._waiting[principal_id]

    def _check_limits(self, principal_id: str) -> None:
        wait_s = 0.0 if self._budget is None else self._budget.wait_s(principal_id, now_s=time.monotonic())
        if wait_s:
            seconds = math.ceil(wait_s)
            raise ProblemError(
                429,
                f"this key has used its share of the server's time: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        if len(self._waiting.get(principal_id, ())) >= self._max_waiting:
            raise ProblemError(
                429,
                f"{self._max_waiting} requests of this key wait already: send fewer at once",
                headers={"Retry-After": "1"},
            )


class WorkSlot:
    """A slot of a queue, which can be released for a while, as while a slow client receives data."""

    def __init__(self, queue: FairQueue, principal_id: str) -> None:
        self._queue = queue
        self._principal_id = principal_id
        self._acquired_s: float | None = None
        self._worked_s = 0.0

    async def resume(self) -> None:
        """Acquire the slot, wait until it is free, and rest in it for the work done before."""
        await self._queue.acquire(self._principal_id)
        self._acquired_s = time.monotonic()
        await self._rest(self._worked_s)

    async def rest(self, *, unless_below_s: float = 0.0) -> None:
        """Rest in the slot for the work done since it was acquired, unless that took less than a time [s]."""
        if self._acquired_s is not None:
            worked_s = time.monotonic() - self._acquired_s
            if worked_s >= unless_below_s:
                await self._rest(worked_s)

    def leave_out(self, waited_s: float) -> None:
        """Leave a time [s] since the slot was acquired out of what the key is charged."""
        if self._acquired_s is not None:
            self._acquired_s = min(self._acquired_s + waited_s, time.monotonic())

    async def _rest(self, worked_s: float) -> None:
        rest_s = self._queue.rest_s(worked_s)
        if rest_s and self._acquired_s is not None:
            self._acquired_s += rest_s  # the key's budget is charged for work alone
            await asyncio.sleep(rest_s)

    def pause(self) -> None:
        """Release the slot, if it is held."""
        if self._acquired_s is not None:
            self._worked_s, self._acquired_s = max(0.0, time.monotonic() - self._acquired_s), None
            self._queue.release(self._principal_id, self._worked_s)
