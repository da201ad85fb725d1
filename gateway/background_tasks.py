"""Runs the gateway's background tasks and restarts them after an exception, which is logged and counted."""

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
STABLE_AFTER_S = 60.0  # a run of this length resets the wait; older failures are not listed


class BackgroundTasks:
    """Runs background tasks and keeps the names of those that failed recently."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failure_times_s: dict[str, float] = {}

    @property
    def failing(self) -> list[str]:
        """Names of the tasks that failed within the last minute."""
        now_s = self._clock()
        return sorted(
            name
            for name, failed_at_s in list(self._failure_times_s.items())
            if now_s - failed_at_s < STABLE_AFTER_S
        )

    async def run_restarting(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` until it returns; after an exception restart it, each time after twice the wait."""
        wait_s = MIN_RESTART_WAIT_S
        while True:
            started_at_s = self._clock()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - no task may end the gateway; it is logged and counted
                if self._clock() - started_at_s >= STABLE_AFTER_S:
                    wait_s = MIN_RESTART_WAIT_S
                self.note_failure(name, error, again_in_s=wait_s)
            else:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_RESTART_WAIT_S)

    async def run_once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` once, as a timer does; an exception is logged and counted."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - as above
            self.note_failure(name, error)

    def note_failure(self, name: str, error: Exception, **log_fields: float) -> None:
        """Log and count the failure of a task that goes on, and list it in `failing` for a minute."""
        self._failure_times_s[name] = self._clock()
        metrics.TASK_FAILURES.labels(name).inc()
        log.error("background_task_failed", task=name, exc_info=error, **log_fields)
