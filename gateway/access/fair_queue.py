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

from gateway.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_KEYS = 10_000  # whose budgets are kept; those not used for longest are forgotten


class Budget:
    """Seconds of work that a key may take: ``burst_s`` at once, and ``share`` of each second that passes.

    >>> budget = Budget(share=0.5, burst_s=10.0)
    >>> budget.spend("a", 12.0, now_s=0.0)
    >>> budget.wait_s("a", now_s=0.0), budget.wait_s("a", now_s=4.0), budget.wait_s("b", now_s=0.0)
    (4.0, 0.0, 0.0)
    """

    def __init__(self, *, share: float, burst_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (seconds left, as of [s])

    def wait_s(self, who: str, *, now_s: float) -> float:
        """How long until a key may work again [s]."""
        return max(0.0, -self._left_s(who, now_s)) / self._share

    def spend(self, who: str, work_s: float, *, now_s: float) -> None:
        """Take off what was worked [s]."""
        self._left[who] = (self._left_s(who, now_s) - work_s, now_s)
        self._left.move_to_end(who)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)

    def _left_s(self, who: str, now_s: float) -> float:
        left_s, then_s = self._left.get(who, (self._burst_s, now_s))
        return min(self._burst_s, left_s + (now_s - then_s) * self._share)


class FairQueue:
    """At most ``per_key`` at once of one key, and ``total`` of all; whoever waits gets a turn key by key.

    Of one event loop; nothing here is shared among threads.
    """

    def __init__(self, *, per_key: int, total: int, most_waiting: int, budget: Budget | None = None) -> None:
        self._per_key = per_key
        self._total = total
        self._most_waiting = most_waiting
        self._budget = budget
        self._running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def running(self) -> int:
        """Turns that are taken."""
        return self._running.total()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[Turn]:
        """Wait for a turn, and give it back at the end.

        Raises
        ------
        ProblemError
            429 where too many of the key wait already, or its budget is spent.

        """
        self._check(who)
        turn = Turn(self, who)
        await turn.resume()
        try:
            yield turn
        finally:
            turn.pause()

    async def take(self, who: str) -> None:
        """Wait until there is room, in the order of the keys that wait."""
        if self._running[who] < self._per_key and self.running < self._total:
            self._running[who] += 1
            return
        mine = self._waiting.setdefault(who, deque())
        future = asyncio.get_running_loop().create_future()
        mine.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back(who, 0.0)
            elif future in mine:
                mine.remove(future)
            raise

    def give_back(self, who: str, worked_s: float) -> None:
        """End a turn, and begin the next ones that there is room for."""
        self._running[who] -= 1
        if not self._running[who]:
            del self._running[who]
        if self._budget is not None and worked_s:
            self._budget.spend(who, worked_s, now_s=time.monotonic())
        for name in list(self._waiting):
            self._begin(name)

    def _begin(self, who: str) -> None:
        mine = self._waiting[who]
        while mine and (mine[0].cancelled() or mine[0].done()):
            mine.popleft()
        if mine and self._running[who] < self._per_key and self.running < self._total:
            self._running[who] += 1
            mine.popleft().set_result(None)
            self._waiting.move_to_end(who)  # whoever waits longest for a turn is first
        if not mine:
            del self._waiting[who]

    def _check(self, who: str) -> None:
        wait_s = 0.0 if self._budget is None else self._budget.wait_s(who, now_s=time.monotonic())
        if wait_s:
            seconds = math.ceil(wait_s)
            raise ProblemError(
                429,
                f"this key has used its share of the server's time: try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        if len(self._waiting.get(who, ())) >= self._most_waiting:
            raise ProblemError(
                429,
                f"{self._most_waiting} requests of this key wait already: send fewer at once",
                headers={"Retry-After": "1"},
            )


class Turn:
    """A turn, which may be given back for a while, as when a slow reader is waited for."""

    def __init__(self, queue: FairQueue, who: str) -> None:
        self._queue = queue
        self._who = who
        self._since_s: float | None = None

    async def resume(self) -> None:
        """Take it."""
        await self._queue.take(self._who)
        self._since_s = time.monotonic()

    def pause(self) -> None:
        """Give it back, if it is taken."""
        if self._since_s is not None:
            worked_s, self._since_s = time.monotonic() - self._since_s, None
            self._queue.give_back(self._who, worked_s)
