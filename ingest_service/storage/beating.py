"""Writes the heartbeat of a process on a background thread, from the progress its main loop records."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from ingest_service.storage.errors import StoreError, StoreUnavailable
from ingest_service.storage.processes import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest_service.storage.processes import Heartbeat, Identity, Limits, Role
    from ingest_service.storage.store import Store

log = structlog.get_logger()

EVERY_S = 2.0  # a quarter of `Limits.absent_s`
GOODBYE_S = 2.0  # how long an ending process waits for the heartbeat thread
FAILED_TWICE = 2  # a single failure may be a broken connection; the next heartbeat has a new one


class Look(NamedTuple):
    """Status of a process at a heartbeat: key of a fault, detail, and age of the oldest waiting work [s]."""

    fault: str = ""
    detail: str = ""
    backlog_age_s: float = 0.0


class Pulse:
    """Progress recorded by the main loop of a process; all methods may be called from any thread.

    The heartbeat contains the age of the last progress of the *loop*, so that a hanging loop is visible while
    the heartbeat thread still runs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_s = clock()
        self._succeeded_s: float | None = None
        self._waits_for = ""
        self.role: Role = "starting"
        self.areas: list[str] = []
        self.look: Callable[[], Look] = Look
        """Called at each heartbeat, on the heartbeat thread."""

    def moved(self) -> None:
        """Record that the main loop completed an iteration and waits for nothing."""
        self._moved_s = self._clock()
        self._waits_for = ""

    def succeeded(self) -> None:
        """Record a successful unit of work."""
        self._succeeded_s = self._clock()

    def waits_for(self, fault: str) -> None:
        """Record that the main loop is retrying because of a fault, until `moved` is called."""
        self._waits_for = fault

    @property
    def success_age_s(self) -> float | None:
        """Time since the last success [s]; None before the first."""
        since_s = self._succeeded_s
        return None if since_s is None else self._clock() - since_s

    def report(self) -> Report:
        """Build the report of the current heartbeat."""
        seen = self.look() if self.role == "owner" else Look()
        return Report(
            role=self.role,
            areas=self.areas,
            moved_age_s=self._clock() - self._moved_s,
            success_age_s=self.success_age_s,
            backlog_age_s=seen.backlog_age_s,
            fault=self._waits_for or seen.fault,
            detail=seen.detail,
        )


class Heart:
    """Thread that writes heartbeats; `writable` is whether the database accepts them."""

    def __init__(self, heartbeat: Heartbeat, pulse: Pulse, *, every_s: float = EVERY_S) -> None:
        self._heartbeat = heartbeat
        self._pulse = pulse
        self._every_s = every_s
        self._failed = 0
        self._stop = threading.Event()
        self._leaves = False
        self._has_logged = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def writable(self) -> bool:
        """Whether the database accepts writes: not both of the last two heartbeats failed."""
        return self._failed < FAILED_TWICE

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, leaves: bool) -> None:
        """Stop the thread; ``leaves`` for a requested stop, after which the row is deleted."""
        self._leaves = leaves
        self._stop.set()
        self._thread.join(GOODBYE_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._beat()
            self._stop.wait(self._every_s)
        with suppress(StoreError):
            if self._leaves:
                self._heartbeat.end()
            else:
                self._heartbeat.close()

    def _beat(self) -> None:
        """Write one heartbeat; errors are logged and do not end the process."""
        try:
            self._heartbeat.beat(self._pulse.report())
        except StoreUnavailable as error:
            self._failed += 1
            self._heartbeat.close()
            if self._failed == FAILED_TWICE:
                log.warning("heartbeat_not_written", error=str(error).strip())
        except Exception:
            self._heartbeat.close()
            if not self._has_logged:  # once, for the same error would be logged every two seconds
                log.exception(
                    "heartbeat_failed", action="the process goes on; it is shown as absent meanwhile"
                )
            self._has_logged = True
        else:
            self._failed = 0


@contextmanager
def beating(store: Store, identity: Identity, limits: Limits, *, every_s: float = EVERY_S) -> Iterator[Pulse]:
    """Write heartbeats within the context; after an exception the row stays and is shown as absent."""
    pulse = Pulse()
    heart = Heart(store.heartbeat(identity, limits), pulse, every_s=every_s)
    heart.start()
    try:
        yield pulse
    except BaseException:
        heart.stop(leaves=False)
        raise
    heart.stop(leaves=True)
