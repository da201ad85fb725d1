"""Runs background tasks: an exception is logged, counted and shown, and the task goes on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from gateway import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

MIN_RESTART_WAIT_S, MAX_RESTART_WAIT_S = 0.5, 30.0
STABLE_AFTER_S = 60.0  # a task that ran for so long starts its waits anew; a failure so old is shown no more


class BackgroundTasks:
    """Which background tasks failed a short time ago; nothing of them ends in silence."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_s: dict[str, float] = {}

    @property
    def failing(self) -> list[str]:
        """Tasks that failed within the last minute."""
        now_s = self._clock()
        return sorted(name for name, at_s in list(self._failed_s.items()) if now_s - at_s < STABLE_AFTER_S)

    async def run_restarting(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work until it ends by itself; after an exception begin again, later each time."""
        wait_s = MIN_RESTART_WAIT_S
        while True:
            began_s = self._clock()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the bulkhead: it is logged, counted and shown
                if self._clock() - began_s >= STABLE_AFTER_S:
                    wait_s = MIN_RESTART_WAIT_S
                self.note_failure(name, error, again_in_s=wait_s)
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RESTART_WAIT_S)

    async def run_once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one round of what a timer repeats."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - likewise
            self.note_failure(name, error)

    def note_failure(self, name: str, error: Exception, **log_fields: float) -> None:
        """Log, count and show a failure of a task that goes on."""
        self._failed_s[name] = self._clock()
        metrics.TASK_FAILURES.labels(name).inc()
        log.error("background_task_failed", task=name, exc_info=error, **log_fields)
