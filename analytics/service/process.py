"""The periodic process: one owner, a round of tasks, and a task that fails stops no other."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from analytics.service import silence
from analytics.service.assessing import assess
from analytics.service.detectors import diagnose_detectors
from analytics.service.rejudge import rejudge
from analytics.service.several import judge_sites
from analytics.service.tidy import tidy
from ingest_service.storage.beating import Look, Pulse, beating
from ingest_service.storage.errors import StoreUnavailable
from ingest_service.storage.model import AnomalyQuery
from ingest_service.storage.processes import Identity, Limits

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from analytics.service.settings import Settings
    from ingest_service.storage.store import Lease, Store

log = structlog.get_logger()

SHARD = "analytics"
STANDBY_S = 2.0
MANY = 10_000

FAILURES = Counter("towntwin_service_failures_total", "Tasks that failed", ["task"])
SECONDS = Histogram("towntwin_service_task_seconds", "Time a task took", ["task"])
ROLLED_UP = Counter("towntwin_service_rollup_hours_total", "Hours of series whose rollups were refreshed")
OWNER = Gauge("towntwin_service_owner", "1 while this process is the one that works")


def run(store: Store, settings: Settings, stop: threading.Event) -> None:
    """Work until ``stop`` is set; stand by while another process does."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    identity = Identity(kind="service", instance=SHARD)
    with beating(store, identity, Limits(stuck_s=settings.stuck_s, behind_s=settings.behind_s)) as pulse:
        while not stop.is_set():
            try:
                with store.shard(SHARD) as lease:
                    OWNER.set(int(lease is not None))
                    pulse.role = "standby" if lease is None else "owner"
                    pulse.moved()
                    if lease is not None:
                        log.info("service_started")
                        _rounds(store, settings, lease, stop, pulse)
            except StoreUnavailable as error:
                pulse.waits_for("database")
                log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=STANDBY_S)
            stop.wait(STANDBY_S)


def roll_up(store: Store, settings: Settings) -> None:
    """Bring every rollup up to date that is not."""
    while done := store.refresh_rollups(limit=settings.rollup_readings):
        ROLLED_UP.inc(done)


def look_for_silence(store: Store, settings: Settings) -> None:
    """Record the devices that fell silent, and those that speak again."""
    is_open = store.anomalies(AnomalyQuery(detectors=[silence.DETECTOR], states=["open"], limit=MANY))
    store.record(silence.changes(store.activity(), is_open, settings, now_s=time.time()))


class Seldom:
    """A task that is done once in ``tidy_s``, first at once."""

    def __init__(self, task: Callable[[Store, Settings], None]) -> None:
        self.__name__ = task.__name__
        self._task = task
        self._due_s = -math.inf

    def __call__(self, store: Store, settings: Settings) -> None:
        """Do it, if it is due."""
        if time.monotonic() >= self._due_s:
            self._task(store, settings)
            self._due_s = time.monotonic() + settings.tidy_s


TASKS: tuple[Callable[[Store, Settings], None], ...] = (
    look_for_silence,
    rejudge,
    roll_up,
    judge_sites,
    diagnose_detectors,
    assess,
    Seldom(tidy),
)


def _rounds(
    store: Store, settings: Settings, lease: Lease, stop: threading.Event, pulse: Pulse | None = None
) -> None:
    """One round after another, as long as the lease is held. Raises `StoreUnavailable`."""
    pulse = pulse or Pulse()
    pulse.succeeded()  # the first round begins
    while not stop.is_set() and lease.held():
        failed = []
        for task in TASKS:
            pulse.moved()
            failed += [] if _do(task, store, settings) else [task.__name__]
        pulse.succeeded()
        pulse.look = _look(pulse, failed)
        stop.wait(settings.period_s)


def _look(pulse: Pulse, failed: list[str]) -> Callable[[], Look]:
    """What a heartbeat shows: the tasks that failed in the newest round, and how long the next one takes."""
    fault = "task" if failed else ""
    return lambda: Look(fault, ", ".join(failed), pulse.success_age_s or 0.0)


def _do(task: Callable[[Store, Settings], None], store: Store, settings: Settings) -> bool:
    """Do a task; False where it failed. Raises `StoreUnavailable`."""
    name = task.__name__
    try:
        with SECONDS.labels(name).time():
            task(store, settings)
    except StoreUnavailable:
        raise
    except Exception:
        FAILURES.labels(name).inc()
        log.exception("task_failed", task=name)
        return False
    return True
