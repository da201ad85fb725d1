"""The periodic process: one owner, a round of tasks, and a task that fails stops no other."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from analytics.service import silence
from analytics.service.assessing import assess
from analytics.service.rejudge import rejudge
from analytics.service.tidy import tidy
from ingest_service.storage.errors import StoreUnavailable
from ingest_service.storage.model import AnomalyQuery

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
    while not stop.is_set():
        try:
            with store.shard(SHARD) as lease:
                OWNER.set(int(lease is not None))
                if lease is not None:
                    log.info("service_started")
                    _rounds(store, settings, lease, stop)
        except StoreUnavailable as error:
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
    assess,
    Seldom(tidy),
)


def _rounds(store: Store, settings: Settings, lease: Lease, stop: threading.Event) -> None:
    """One round after another, as long as the lease is held. Raises `StoreUnavailable`."""
    while not stop.is_set() and lease.held():
        for task in TASKS:
            _do(task, store, settings)
        stop.wait(settings.period_s)


def _do(task: Callable[[Store, Settings], None], store: Store, settings: Settings) -> None:
    name = task.__name__
    try:
        with SECONDS.labels(name).time():
            task(store, settings)
    except StoreUnavailable:
        raise
    except Exception:
        FAILURES.labels(name).inc()
        log.exception("task_failed", task=name)
