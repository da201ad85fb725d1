"""Periodic task that records anomalies of the platform itself, which become incidents like any other.

A condition has to last before it is an anomaly, and to be over for a while before the anomaly is closed; the
limit below which it is over is lower than that above which it begins. Decision 0069 has the reasons.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import msgspec
from prometheus_client import Gauge

from analytics.service import item_backoff
from analytics.service.self_watch_checks import watched_conditions
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.contract.paging import all_anomalies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics.service.self_watch_checks import WatchedCondition
    from analytics.service.service_state import WatchState
    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.store import Store

DETECTOR = "self_watch"
VERSION = "1"
PROBLEMS = Gauge(
    "towntwin_service_watched_problem",
    "1 while a condition of the platform is beyond its limit, else 0",
    ["cause", "subject"],
)

Phase = Literal["bad", "good", "between"]


def watch_platform(
    store: Store,
    settings: Settings,
    _time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
    *,
    now_s: float | None = None,
) -> None:
    """Look at the platform once in ``watch_every_s``, and record what began or ended."""
    state = service_state or ServiceState()
    if store.database is None or time.monotonic() < state.watch.due_s:
        return
    state.watch.due_s = time.monotonic() + settings.watch_every_s
    now_s = time.time() if now_s is None else now_s
    sites = [one.site_id for one in state.directory_of(store).sites]
    if not sites:
        return  # an anomaly has a site, and without one there is nothing to watch yet
    conditions = watched_conditions(store, store.database, settings, state, now_s=now_s)
    _export(conditions)
    open_anomalies = all_anomalies(store, AnomalyQuery(detectors=[DETECTOR], states=["open"]))
    item_backoff.record_or_defer(
        store,
        state.backoff("watch_platform"),
        watch_changes(conditions, open_anomalies, state.watch, settings, now_s=now_s, site_id=min(sites)),
    )


def _export(conditions: Iterable[WatchedCondition]) -> None:
    """Set the metric, without conditions of devices: their number has no bound."""
    PROBLEMS.clear()
    for one in conditions:
        if one.device_id is None:
            PROBLEMS.labels(one.cause, one.subject).set(one.is_bad)


def watch_changes(
    conditions: Sequence[WatchedCondition],
    open_anomalies: Iterable[Anomaly],
    state: WatchState,
    settings: Settings,
    *,
    now_s: float,
    site_id: str,
) -> list[Anomaly]:
    """Return the anomalies that begin, get graver or end.

    Parameters
    ----------
    conditions : as they are now
    open_anomalies : of this detector
    state : since when each condition has been as it is; it is updated
    now_s : Unix time [s]
    site_id : of conditions that are about no site

    """
    open_by_subject = {one.subject: one for one in open_anomalies}
    changes = []
    for one in conditions:
        since_s = state.since(one.subject, _phase(one), now_s)
        old = open_by_subject.pop(one.subject, None)
        if old is None and one.is_bad and now_s - since_s >= one.after_s:
            changes.append(_anomaly(one, since_s, site_id))
        elif old is not None and one.is_good and now_s - since_s >= settings.watch_clear_s:
            changes.append(_closed(old, since_s))
        elif old is not None and one.is_bad and one.severity > old.severity:
            changes.append(_anomaly(one, old.start_s, old.site_id or site_id))
    # What is watched no longer: a device, a certificate or a kind of process that is gone.
    return changes + [_closed(one, now_s) for one in open_by_subject.values()]


def _phase(condition: WatchedCondition) -> Phase:
    return "bad" if condition.is_bad else "good" if condition.is_good else "between"


def _closed(anomaly: Anomaly, end_s: float) -> Anomaly:
    return msgspec.structs.replace(anomaly, state="closed", end_s=max(end_s, anomaly.start_s))


def _anomaly(condition: WatchedCondition, start_s: float, site_id: str) -> Anomaly:
    return Anomaly(
        subject=condition.subject,
        site_id=condition.site_id or site_id,
        device_id=condition.device_id,
        detector=DETECTOR,
        version=VERSION,
        start_s=start_s,
        peak_s=start_s,
        score=condition.value,
        severity=condition.severity,
        n_readings=0,
        state="open",
        reason_en=condition.reason_en,
        reason_zh=condition.reason_zh,
        evidence={"cause": condition.cause, "value": condition.value},
    )
