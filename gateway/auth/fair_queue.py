"""Queues requests by key, so that many of one key do not delay those of another.

`FairQueue` bounds how much runs at once, `Budget` how much of the server's time a key takes on average.
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

MAX_BUDGETED_KEYS = 10_000  # whose budgets are kept; those not used for longest are forgotten


class TimeBudget:
    """Seconds of work that a key may take: ``burst_s`` at once, and ``share`` of each second that passes.

    >>> budget = TimeBudget(share=0.5, burst_s=10.0)
    >>> budget.spend("a", 12.0, now_s=0.0)
    >>> budget.wait_s("a", now_s=0.0), budget.wait_s("a", now_s=4.0), budget.wait_s("b", now_s=0.0)
    (4.0, 0.0, 0.0)
    """

    def __init__(self, *, share: float, burst_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        self._remaining: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # key -> (seconds left, as of [s])

    def wait_s(self, principal_id: str, *, now_s: float) -> float:
        """How long until a key may work again [s]."""
        return max(0.0, -self._remaining_s(principal_id, now_s)) / self._share

    def spend(self, principal_id: str, work_s: float, *, now_s: float) -> None:
        """Take off what was worked [s]."""
        self._remaining[principal_id] = (self._remaining_s(principal_id, now_s) - work_s, now_s)
        self._remaining.move_to_end(principal_id)
        if len(self._remaining) > MAX_BUDGETED_KEYS:
            self._remaining.popitem(last=False)

    def _remaining_s(self, principal_id: str, now_s: float) -> float:
        remaining_s, updated_s = self._remaining.get(principal_id, (self._burst_s, now_s))
        return min(self._burst_s, remaining_s + (now_s - updated_s) * self._share)


class FairQueue:
    """At most ``per_key`` at once of one key, and ``total`` of all; whoever waits gets a turn key by key.

    Of one event loop; nothing here is shared among threads.
    """

    def __init__(
        self, *, per_key: int, total: int, max_waiting: int, budget: TimeBudget | None = None
    ) -> None:
        self._per_key = per_key
        self._total = total
        self._max_waiting = max_waiting
        self._budget = budget
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def running(self) -> int:
        """Turns that are taken."""
        return self._running.total()

    @asynccontextmanager
    async def work_slot(self, principal_id: str) -> AsyncIterator[WorkSlot]:
        """Wait for a turn, and give it back at the end.

        Raises
        ------
        ProblemError
            429 where too many of the key wait already, or its budget is spent.

        """
        self._check_limits(principal_id)
        work_slot = WorkSlot(self, principal_id)
        await work_slot.resume()
        try:
            yield work_slot
        finally:
            work_slot.pause()

    async def acquire(self, principal_id: str) -> None:
        """Wait until there is room, in the order of the keys that wait."""
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
        """End a turn, and begin the next ones that there is room for."""
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
            self._waiting.move_to_end(principal_id)  # whoever waits longest for a turn is first
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
    """A turn, which may be given back for a while, as when a slow reader is waited for."""

    def __init__(self, queue: FairQueue, principal_id: str) -> None:
        self._queue = queue
        self._principal_id = principal_id
        self._acquired_s: float | None = None

    async def resume(self) -> None:
        """Take it."""
        await self._queue.acquire(self._principal_id)
        self._acquired_s = time.monotonic()

    def pause(self) -> None:
        """Give it back, if it is taken."""
        if self._acquired_s is not None:
            worked_s, self._acquired_s = time.monotonic() - self._acquired_s, None
            self._queue.release(self._principal_id, worked_s)
