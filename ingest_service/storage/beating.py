"""The thread that writes a process' heartbeat, and what the process notes for it as it works."""

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

EVERY_S = 2.0
GOODBYE_S = 2.0  # how long an ending process waits for its last beat
FAILED_TWICE = 2  # one beat fails where a connection broke; the next has a new one


class Look(NamedTuple):
    """What is seen at a beat: a fault by its key, more about it, and how long the oldest work waits [s]."""

    fault: str = ""
    detail: str = ""
    backlog_age_s: float = 0.0


class Pulse:
    """What the main loop of a process notes; all methods may be called from any thread.

    The heartbeat carries the age of what the *loop* noted, so that a loop that hangs shows, though the thread
    that writes heartbeats goes on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_s = clock()
        self._succeeded_s: float | None = None
        self._waits_for = ""
        self.role: Role = "starting"
        self.areas: list[str] = []
        self.look: Callable[[], Look] = Look
        """Called at each beat, on the heartbeat's thread."""

    def moved(self) -> None:
        """The main loop has come around: it waits for nothing."""
        self._moved_s = self._clock()
        self._waits_for = ""

    def succeeded(self) -> None:
        """The work was done once more."""
        self._succeeded_s = self._clock()

    def waits_for(self, fault: str) -> None:
        """The main loop tries something again and again, until it moves on."""
        self._waits_for = fault

    @property
    def success_age_s(self) -> float | None:
        """Time since the last success [s]; None before the first."""
        since_s = self._succeeded_s
        return None if since_s is None else self._clock() - since_s

    def report(self) -> Report:
        """What is to be written now."""
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
    """Writes heartbeats on a thread of its own; `writable` is whether the database takes them."""

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
        """Whether the database takes writes, as far as the last two heartbeats show."""
        return self._failed < FAILED_TWICE

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def stop(self, *, leaves: bool) -> None:
        """Beat no more; a process that ``leaves`` was asked to end, and its row goes with it."""
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
        """Write one; whatever goes wrong is logged, and the process goes on."""
        try:
            self._heartbeat.beat(self._pulse.report())
        except StoreUnavailable as error:
            self._failed += 1
            self._heartbeat.close()
            if self._failed == FAILED_TWICE:
                log.warning("heartbeat_not_written", error=str(error).strip())
        except Exception:
            self._heartbeat.close()
            if not self._has_logged:  # once: it would be the same every two seconds
                log.exception(
                    "heartbeat_failed", action="the process goes on; it is shown as absent meanwhile"
                )
            self._has_logged = True
        else:
            self._failed = 0


@contextmanager
def beating(store: Store, identity: Identity, limits: Limits, *, every_s: float = EVERY_S) -> Iterator[Pulse]:
    """Write heartbeats while the context lasts; an exception leaves the row, which shows as absent."""
    pulse = Pulse()
    heart = Heart(store.heartbeat(identity, limits), pulse, every_s=every_s)
    heart.start()
    try:
        yield pulse
    except BaseException:
        heart.stop(leaves=False)
        raise
    heart.stop(leaves=True)
