"""Runs the periodic tasks in rounds, in one process at a time (by a lease), each task within a time slice.

A task that fails is deferred and does not stop the others; neither does one item within a task
(`analytics.service.item_backoff`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from analytics.service import device_silence, item_backoff, simultaneous_silence
from analytics.service.cross_border_incidents import join_incidents_of_towns
from analytics.service.dead_letter_quotas import report_letter_quotas
from analytics.service.detector_diagnostics import diagnose_detectors
from analytics.service.device_maintenance import device_maintenance
from analytics.service.forecast_snapshots import store_forecasts
from analytics.service.housekeeping import tidy
from analytics.service.incident_escalation import escalate
from analytics.service.incident_maintenance import maintain_incidents
from analytics.service.incident_traces import trace_incidents
from analytics.service.monthly_assessment import assess
from analytics.service.rejudge_late_data import rejudge
from analytics.service.self_watch import watch_platform
from analytics.service.send_notifications import send_notifications
from analytics.service.sensor_verdicts import verify_sensors
from analytics.service.service_state import ServiceState
from analytics.service.site_anomalies import judge_sites
from analytics.service.state_snapshots import store_states
from analytics.service.time_slice import UNLIMITED, TimeSlice
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies
from ingest_service.storage.health.heartbeat_thread import ProgressRecorder, WorkStatus, sending_heartbeats
from ingest_service.storage.health.processes import HealthLimits, ProcessIdentity

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Sequence

    from analytics.service.settings import Settings
    from ingest_service.storage.contract.store import Lease, Store
    from ingest_service.storage.health.processes import ProcessInfo

    Task = Callable[[Store, Settings, TimeSlice, ServiceState], None]

log = structlog.get_logger()

SERVICE_SHARD = "analytics"
STANDBY_POLL_S = 2.0
OUTAGE_MIN_S = 60.0  # an outage of ingest is reported as the cause of silence after it has lasted this long
MAX_ENDED_SILENCES = 200
"""Newest ended silences read; they include the platform's own one if it still matters."""
ROLLUP_SAMPLE = "some of what waits"
FAILURES_BEFORE_PAUSE = 10
"""Failures in a row after which rollups wait: a share of 2^-10 is about one time range."""
MAX_ROLLUP_DELAY_S = 60.0

TASK_FAILURES = Counter("towntwin_service_failures_total", "Tasks that failed", ["task"])
TASK_SECONDS = Histogram("towntwin_service_task_seconds", "Time a task took", ["task"])
ROLLED_UP_HOURS = Counter(
    "towntwin_service_rollup_hours_total", "Hours of series whose rollups were refreshed"
)
OWNER = Gauge("towntwin_service_owner", "1 while this process is the one that works")


def run(store: Store, settings: Settings, stop: threading.Event) -> None:
    """Run rounds until ``stop`` is set; stand by while another process holds the lease."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr="127.0.0.1")
    identity = ProcessIdentity(kind="service", instance=SERVICE_SHARD)
    with sending_heartbeats(
        store, identity, HealthLimits(stuck_s=settings.stuck_s, behind_s=settings.behind_s)
    ) as progress:
        service_state = ServiceState()
        while not stop.is_set():
            try:
                with store.shard(SERVICE_SHARD) as lease:
                    OWNER.set(int(lease is not None))
                    progress.role = "standby" if lease is None else "owner"
                    progress.loop_advanced()
                    if lease is not None:
                        log.info("service_started")
                        _run_rounds(
                            store, settings, lease, stop, progress=progress, service_state=service_state
                        )
            except StoreUnavailableError as error:
                progress.waiting_for("database")
                service_state.ingest_works_since_s = service_state.ingest_fails_since_s = None
                log.warning("store_unavailable", error=str(error).strip(), next_try_in_s=STANDBY_POLL_S)
            stop.wait(STANDBY_POLL_S)


def roll_up(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Refresh outdated rollups until the time slice is over.

    If a transaction fails, the next ones take smaller and smaller random shares of the outdated ranges, so
    that sound ranges get through between faulty ones. Queries use the readings where a rollup is outdated.
    """
    service_state = service_state or ServiceState()
    rollup_backoff = service_state.backoff("roll_up", longest_wait_s=MAX_ROLLUP_DELAY_S)
    while not time_slice.is_over and not (
        rollup_backoff.tries(ROLLUP_SAMPLE) >= FAILURES_BEFORE_PAUSE
        and rollup_backoff.is_deferred(ROLLUP_SAMPLE)
    ):
        share = 2.0 ** -min(rollup_backoff.tries(ROLLUP_SAMPLE), FAILURES_BEFORE_PAUSE)
        with rollup_backoff.isolate(ROLLUP_SAMPLE):
            done = store.refresh_rollups(limit=settings.rollup_readings, share=share)
            ROLLED_UP_HOURS.inc(done)
            if done == 0 and share == 1.0:
                service_state.watch.rolled_up_s = time.monotonic()
                return


def look_for_silence(
    store: Store,
    settings: Settings,
    _time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Record the devices that fell silent, and close the anomalies of those that send again."""
    working_since_s = -math.inf
    now_s = time.time()
    devices = (service_state or ServiceState()).backoff("look_for_silence")
    open_anomalies = all_anomalies(
        store, AnomalyQuery(detectors=[simultaneous_silence.DETECTOR], states=["open"])
    )
    ended = store.anomalies(
        AnomalyQuery(detectors=[simultaneous_silence.DETECTOR], states=["closed"], limit=MAX_ENDED_SILENCES)
    )
    activity = store.activity()
    without_ingest = simultaneous_silence.areas_without_ingest(
        processes := store.processes(), {one.area_id for one in activity}
    )
    if service_state is not None:
        working_since_s = _note_ingest(service_state, processes, now_s)
        fails_since_s = service_state.ingest_fails_since_s
        if fails_since_s is None or now_s - fails_since_s < OUTAGE_MIN_S:
            without_ingest = set()  # a short outage: the broker and the devices keep the readings
    found = device_silence.device_silence_changes(
        activity,
        open_anomalies,
        settings,
        now_s=now_s,
        devices=devices,
        areas_without_ingest=without_ingest,
        resumed_s=simultaneous_silence.resumed_s(ended),
        working_since_s=working_since_s,
        maintenance=device_maintenance(store.directory(), now_s),
    )
    item_backoff.record_or_defer(store, devices, found)


def _note_ingest(service_state: ServiceState, processes: Sequence[ProcessInfo], now_s: float) -> float:
    """Record whether ingest works in this round; return since when it does, now if it does not [Unix s]."""
    ingest = [one for one in processes if one.kind == "ingest" and one.role != "standby"]
    if ingest and all(one.works for one in ingest):
        service_state.ingest_fails_since_s = None
        if service_state.ingest_works_since_s is None:
            service_state.ingest_works_since_s = now_s
        return service_state.ingest_works_since_s
    service_state.ingest_works_since_s = None
    if service_state.ingest_fails_since_s is None:
        service_state.ingest_fails_since_s = now_s
    return now_s


def tidy_when_due(
    store: Store, settings: Settings, time_slice: TimeSlice, service_state: ServiceState
) -> None:
    """Delete and compress old data once in ``tidy_s``; an unfinished run goes on in the next round."""
    if time.monotonic() >= service_state.tidy_due_s:
        tidy(store, settings, time_slice, service_state)
        if not time_slice.is_over:
            service_state.tidy_due_s = time.monotonic() + settings.tidy_s


tidy_when_due.__name__ = "tidy"  # the label of its metrics and log events


TASKS: tuple[Task, ...] = (
    look_for_silence,
    report_letter_quotas,
    watch_platform,
    rejudge,
    roll_up,
    judge_sites,
    maintain_incidents,
    join_incidents_of_towns,
    escalate,
    send_notifications,
    trace_incidents,
    verify_sensors,
    store_states,
    store_forecasts,
    diagnose_detectors,
    assess,
    tidy_when_due,
)
PROMPT_TASKS: tuple[Task, ...] = (maintain_incidents, trace_incidents)
"""Tasks that have a turn between two others, too, so that they wait for a time slice and not for a round."""


def _run_rounds(
    store: Store,
    settings: Settings,
    lease: Lease,
    stop: threading.Event,
    *,
    progress: ProgressRecorder | None = None,
    service_state: ServiceState | None = None,
) -> None:
    """Run one round after another while the lease is held. Raises `StoreUnavailableError`."""
    progress = progress or ProgressRecorder()
    service_state = service_state or ServiceState()
    progress.work_succeeded()  # the first round begins
    while not stop.is_set() and lease.held():
        failed = dict[str, None]()
        prompt_due_s = time.monotonic() + settings.period_s
        for task in TASKS:
            between = PROMPT_TASKS if time.monotonic() >= prompt_due_s else ()
            for one in (*between, task):
                progress.loop_advanced()
                if not stop.is_set() and not _run_task(
                    one, store, settings, TimeSlice(stop, settings.task_s), service_state
                ):
                    failed[one.__name__] = None
            if between:
                prompt_due_s = time.monotonic() + settings.period_s
        progress.work_succeeded()
        progress.read_work_status = _work_status(progress, failed)
        stop.wait(settings.period_s)


def _work_status(progress: ProgressRecorder, failed: Collection[str]) -> Callable[[], WorkStatus]:
    """Return the source of a heartbeat's status: failed tasks of the newest round, age of its completion."""
    fault = "task" if failed else ""
    return lambda: WorkStatus(fault, ", ".join(failed), progress.success_age_s or 0.0)


def _run_task(
    task: Task, store: Store, settings: Settings, time_slice: TimeSlice, service_state: ServiceState
) -> bool:
    """Run a task's turn; return False if the task as a whole failed, which defers it.

    Raises `StoreUnavailableError`.
    """
    name, tasks = task.__name__, service_state.backoff("tasks")
    if tasks.is_deferred(name):
        return False
    with TASK_SECONDS.labels(name).time(), tasks.isolate(name):
        task(store, settings, time_slice, service_state)
    if tasks.failed(name):
        TASK_FAILURES.labels(name).inc()
        return False
    return True
