"""Writes the heartbeat of a process on a background thread, from the progress its main loop records."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from ingest_service.storage.contract.errors import StoreError, StoreReadOnlyError, StoreUnavailableError
from ingest_service.storage.health.processes import HeartbeatReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest_service.storage.contract.store import Store
    from ingest_service.storage.health.processes import (
        DatabaseCondition,
        HealthLimits,
        HeartbeatWriter,
        ProcessIdentity,
        ProcessRole,
    )

log = structlog.get_logger()

HEARTBEAT_INTERVAL_S = 2.0  # a quarter of `Limits.absent_s`
STOP_TIMEOUT_S = 2.0  # how long an ending process waits for the heartbeat thread
RETRY_INTERVAL_S = 0.5  # after a failure: a process must report soon after the database returns
FAILURES_UNTIL_UNWRITABLE = 2  # a single failure may be a broken connection; the next heartbeat has a new one
UNWRITTEN_UNTIL_AWAY_S = 3.0  # a heartbeat that takes longer, with its second attempt, counts as failed


class WorkStatus(NamedTuple):
    """Status of a process at a heartbeat: key of a fault, detail, and age of the oldest waiting work [s]."""

    fault: str = ""
    detail: str = ""
    backlog_age_s: float = 0.0


class ProgressRecorder:
    """Progress recorded by the main loop of a process; all methods may be called from any thread.

    The heartbeat contains the age of the last progress of the *loop*, so that a hanging loop is visible while
    the heartbeat thread still runs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._advanced_s = clock()
        self._succeeded_s: float | None = None
        self._waiting_for = ""
        self.role: ProcessRole = "starting"
        self.areas: list[str] = []
        self.read_work_status: Callable[[], WorkStatus] = WorkStatus
        """Called at each heartbeat, on the heartbeat thread."""

    def loop_advanced(self) -> None:
        """Record that the main loop completed an iteration and waits for nothing."""
        self._advanced_s = self._clock()
        self._waiting_for = ""

    def work_succeeded(self) -> None:
        """Record a successful unit of work."""
        self._succeeded_s = self._clock()

    def waiting_for(self, fault: str) -> None:
        """Record that the main loop is retrying because of a fault, until `loop_advanced` is called."""
        self._waiting_for = fault

    @property
    def success_age_s(self) -> float | None:
        """Time since the last success [s]; None before the first."""
        since_s = self._succeeded_s
        return None if since_s is None else self._clock() - since_s

    def report(self) -> HeartbeatReport:
        """Build the report of the current heartbeat."""
        work_status = self.read_work_status() if self.role == "owner" else WorkStatus()
        return HeartbeatReport(
            role=self.role,
            areas=self.areas,
            moved_age_s=self._clock() - self._advanced_s,
            success_age_s=self.success_age_s,
            backlog_age_s=work_status.backlog_age_s,
            fault=self._waiting_for or work_status.fault,
            detail=work_status.detail,
        )


class HeartbeatThread:
    """Thread that writes heartbeats; `database` is the database's condition by the newest one."""

    def __init__(
        self, heartbeat: HeartbeatWriter, progress: ProgressRecorder, *, every_s: float = HEARTBEAT_INTERVAL_S
    ) -> None:
        self._heartbeat = heartbeat
        self._progress = progress
        self._every_s = every_s
        self._failures = 0
        self._unwritten_since_s: float | None = None  # begin of the first attempt since the last success
        self._last_error: StoreUnavailableError | None = None
        self._stop = threading.Event()
        self._delete_row = False
        self._has_logged = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def database(self) -> DatabaseCondition:
        """Condition of the database: not writable once two attempts in a row failed, or they take too long.

        An attempt on a frozen database ends by its time limit only, so its age counts while it lasts.
        """
        since_s = self._unwritten_since_s
        if since_s is None or (
            self._failures < FAILURES_UNTIL_UNWRITABLE and time.monotonic() - since_s < UNWRITTEN_UNTIL_AWAY_S
        ):
            return "writable"
        return "read-only" if isinstance(self._last_error, StoreReadOnlyError) else "away"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, delete_row: bool) -> None:
        """Stop the thread, and with ``delete_row``, for a requested stop, delete the row."""
        self._delete_row = delete_row
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._write_heartbeat()
            self._stop.wait(min(self._every_s, RETRY_INTERVAL_S) if self._failures else self._every_s)
        with suppress(StoreError):
            if self._delete_row:
                self._heartbeat.end()
            else:
                self._heartbeat.close()

    def _write_heartbeat(self) -> None:
        """Write one heartbeat; errors are logged and do not end the process."""
        try:
            report = self._progress.report()
            if self._unwritten_since_s is None:
                self._unwritten_since_s = time.monotonic()
            self._heartbeat.beat(report)
        except StoreUnavailableError as error:
            self._last_error = error
            self._failures += 1
            self._heartbeat.close()
            if self._failures == FAILURES_UNTIL_UNWRITABLE:
                log.warning("heartbeat_not_written", error=str(error).strip())
        except Exception:
            # A defect of the heartbeat itself: the database is not away.
            self._unwritten_since_s = None
            self._heartbeat.close()
            if not self._has_logged:  # once, for the same error would be logged every two seconds
                log.exception(
                    "heartbeat_failed", action="the process goes on; it is shown as absent meanwhile"
                )
            self._has_logged = True
        else:
            self._failures, self._last_error = 0, None
            self._unwritten_since_s = None


@contextmanager
def sending_heartbeats(
    store: Store, identity: ProcessIdentity, limits: HealthLimits, *, every_s: float = HEARTBEAT_INTERVAL_S
) -> Iterator[ProgressRecorder]:
    """Write heartbeats within the context; after an exception the row stays and is shown as absent."""
    with writing_heartbeats(store.heartbeat(identity, limits), every_s=every_s) as progress:
        yield progress


@contextmanager
def writing_heartbeats(
    writer: HeartbeatWriter, *, every_s: float = HEARTBEAT_INTERVAL_S
) -> Iterator[ProgressRecorder]:
    """Write heartbeats by a writer within the context, as `sending_heartbeats`; the database may be away."""
    progress = ProgressRecorder()
    heartbeat_thread = HeartbeatThread(writer, progress, every_s=every_s)
    heartbeat_thread.start()
    try:
        yield progress
    except BaseException:
        heartbeat_thread.stop(delete_row=False)
        raise
    heartbeat_thread.stop(delete_row=True)
