"""The periodic process: one owner, and rounds in which every task gets a share of time.

A task that fails is put off and stops no other; within a task, neither does one item
(`analytics.service.items`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from analytics.service import items, outages, silence
from analytics.service.assessing import assess
from analytics.service.detectors import diagnose_detectors
from analytics.service.letter_quotas import report_letter_quotas
from analytics.service.rejudge import rejudge
from analytics.service.several import judge_sites
from analytics.service.tidy import tidy
from analytics.service.turn import ENDLESS, Turn
from ingest_service.storage.beating import Look, Pulse, beating
from ingest_service.storage.errors import StoreUnavailable
from ingest_service.storage.model import AnomalyQuery
from ingest_service.storage.processes import Identity, Limits

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from analytics.service.settings import Settings
    from ingest_service.storage.store import Lease, Store

    Task = Callable[[Store, Settings, Turn], None]

log = structlog.get_logger()

SHARD = "analytics"
STANDBY_S = 2.0
MANY = 10_000
RECENT = 200  # of the silences that ended: the platform's own is among them if it matters still
TAKEN = "some of what waits"
PATIENCE = 10  # failures in a row after which rollups wait: a share of a thousandth is about one stretch
ROLL_UP_WAIT_S = 60.0

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


def roll_up(store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
    """Bring rollups up to date that are not, as many as the turn has time for.

    Where a transaction fails, the next ones take smaller and smaller shares of what waits, chosen by chance:
    all that is sound gets through between what is not. The readings answer for what is not rolled up.
    """
    stretches = items.of(store, "roll_up", longest_wait_s=ROLL_UP_WAIT_S)
    while not turn.over and not (stretches.tries(TAKEN) >= PATIENCE and stretches.is_put_off(TAKEN)):
        share = 2.0 ** -min(stretches.tries(TAKEN), PATIENCE)
        with stretches.isolated(TAKEN):
            done = store.refresh_rollups(limit=settings.rollup_readings, share=share)
            ROLLED_UP.inc(done)
            if done == 0 and share == 1.0:
                return


def look_for_silence(store: Store, settings: Settings, _turn: Turn = ENDLESS) -> None:
    """Record the devices that fell silent, and those that speak again."""
    devices = items.of(store, "look_for_silence")
    is_open = store.anomalies(AnomalyQuery(detectors=[outages.DETECTOR], states=["open"], limit=MANY))
    ended = store.anomalies(AnomalyQuery(detectors=[outages.DETECTOR], states=["closed"], limit=RECENT))
    activity = store.activity()
    found = silence.changes(
        activity,
        is_open,
        settings,
        now_s=time.time(),
        devices=devices,
        not_taken=outages.not_taken(store.processes(), {one.area_id for one in activity}),
        resumed_s=outages.resumed_s(ended),
    )
    items.record(store, devices, found)


class Seldom:
    """A task that is done once in ``tidy_s``, first at once; what a turn leaves goes on in the next."""

    def __init__(self, task: Task) -> None:
        self.__name__ = task.__name__
        self._task = task
        self._due_s = -math.inf

    def __call__(self, store: Store, settings: Settings, turn: Turn = ENDLESS) -> None:
        """Do it, if it is due."""
        if time.monotonic() >= self._due_s:
            self._task(store, settings, turn)
            if not turn.over:
                self._due_s = time.monotonic() + settings.tidy_s


TASKS: tuple[Task, ...] = (
    look_for_silence,
    report_letter_quotas,
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
            if not stop.is_set():
                failed += [] if _do(task, store, settings, Turn(stop, settings.task_s)) else [task.__name__]
        pulse.succeeded()
        pulse.look = _look(pulse, failed)
        stop.wait(settings.period_s)


def _look(pulse: Pulse, failed: list[str]) -> Callable[[], Look]:
    """What a heartbeat shows: the tasks that failed in the newest round, and how long the next one takes."""
    fault = "task" if failed else ""
    return lambda: Look(fault, ", ".join(failed), pulse.success_age_s or 0.0)


def _do(task: Task, store: Store, settings: Settings, turn: Turn) -> bool:
    """Give a task its turn; False where it failed as a whole, which puts it off.

    Raises `StoreUnavailable`.
    """
    name, tasks = task.__name__, items.of(store, "tasks")
    if tasks.is_put_off(name):
        return False
    with SECONDS.labels(name).time(), tasks.isolated(name):
        task(store, settings, turn)
    if tasks.failed(name):
        FAILURES.labels(name).inc()
        return False
    return True
