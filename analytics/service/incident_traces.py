"""Periodic task that computes where the water of severe incidents came from, and stores it with the incident.

Each open incident on the river has one trace, the posterior of `analytics.service.source_posterior` from the
readings of all its sites and those upstream. It is computed anew when the incident's anomalies change, and
when readings of a further stage (`STAGES_S`) are there; an unchanged incident costs one query. The work is
bounded: by the sizes of `source_posterior`, by one trace at a time within the task's time slice, and by a
pause before the trace of the same incident is revised.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from prometheus_client import Histogram

from analytics.service import missing_results, source_posterior
from analytics.service.missing_results import MissingResult
from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.contract.incidents import IncidentTrace
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics.service.settings import Settings
    from analytics.service.source_posterior import SourcePosteriorAnswer
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.incidents import IncidentToTrace
    from ingest_service.storage.contract.models import Anomaly, Directory
    from ingest_service.storage.contract.store import Store

log = structlog.get_logger()

MAX_INCIDENTS: Final = 50  # of one round
MAX_READINGS: Final = 10_000  # of each series; 48 h at one every 17 s
KEPT_S: Final = 3 * 86_400.0  # an incident without news for so long is not traced any more
WINDOW_S, AFTER_S = 86_400.0, 86_400.0  # before and after the first anomaly
STAGES_S: Final = (3_600.0, 3 * 3_600.0, 6 * 3_600.0, 12 * 3_600.0, AFTER_S)
CHECK_AGAIN_S: Final = 60.0  # for a further stage, of an incident whose anomalies are the same
VERSION: Final = "7"  # of the computation: another one computes all open incidents anew

TRACE_SECONDS = Histogram("towntwin_service_trace_seconds", "Time that the trace of an incident took")


def trace_incidents(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
) -> None:
    """Trace the incidents on the river that have no trace of their anomalies. A store in memory has none."""
    if store.database is None:
        return
    service_state = service_state or ServiceState()
    if time.monotonic() < service_state.traces_due_s:
        return
    incidents, failing = Incidents(store.database), service_state.backoff("trace_incidents")
    waiting = incidents.to_trace(settings.trace_severity, KEPT_S, limit=MAX_INCIDENTS)
    checked, now_s = service_state.traces_checked, time.monotonic()
    for one in waiting:
        if time_slice.is_over:
            return  # the rest is traced in the next round
        is_early = one.age_s is not None and one.age_s < settings.trace_again_s
        anomaly_ids, checked_s = checked.get(one.incident_id, ([], now_s))
        is_checked = anomaly_ids == one.anomaly_ids and now_s - checked_s < CHECK_AGAIN_S
        if is_early or is_checked or failing.is_deferred(str(one.incident_id)):
            continue
        with failing.isolate(str(one.incident_id)):
            _trace(store, incidents, service_state.directory_of(store), one)
            checked[one.incident_id] = (one.anomaly_ids, now_s)
    for gone in checked.keys() - {one.incident_id for one in waiting}:
        del checked[gone]
    service_state.traces_due_s = time.monotonic() + settings.trace_every_s


def _trace(store: Store, incidents: Incidents, directory: Directory, one: IncidentToTrace) -> None:
    """Compute and store the trace of an incident, if its inputs are others than those of its last trace."""
    anomalies = incidents.anomalies(one.anomaly_ids)
    members = [anomalies[number] for number in one.anomaly_ids if number in anomalies]
    traced = _traced_members(directory, members)
    inputs = f"{VERSION} {_stage(store, directory, traced)} {','.join(map(str, one.anomaly_ids))}"
    if inputs == one.inputs:
        return
    began_s = time.monotonic()
    answer = _infer(store, directory, traced)
    computing_s, is_missing = time.monotonic() - began_s, isinstance(answer, MissingResult)
    TRACE_SECONDS.observe(computing_s)
    incidents.replace_trace(
        IncidentTrace(
            incident_id=one.incident_id,
            inputs=inputs,
            computing_s=computing_s,
            posterior=None if is_missing else msgspec.to_builtins(answer),
            missing=msgspec.to_builtins(answer) if is_missing else None,
        )
    )
    log.info(
        "incident_traced",
        incident_id=one.incident_id,
        likeliest=None if isinstance(answer, MissingResult) else answer.candidates[0].node_id,
        computing_s=round(computing_s, 2),
    )


def _traced_members(directory: Directory, members: Sequence[Anomaly]) -> list[Anomaly]:
    """Return the anomalies at sites that measure what is let out, by start, each as one of its whole site."""
    measuring = {
        one.site_id for one in directory.series if one.quantity in source_posterior.TRACED_QUANTITIES
    }
    return [msgspec.structs.replace(one, series_id=None) for one in members if one.site_id in measuring]


def _stage(store: Store, directory: Directory, traced: Sequence[Anomaly]) -> int:
    """Return how many of `STAGES_S` the newest reading of the sites is behind the first anomaly."""
    sites = {one.site_id for one in traced}
    series = [one.series_id for one in directory.series if one.site_id in sites]
    newest_s = max((one.time_s for one in store.latest(series)), default=0.0) if series else 0.0
    return sum(newest_s >= traced[0].start_s + after_s for after_s in STAGES_S) if traced else 0


def _infer(
    store: Store, directory: Directory, traced: Sequence[Anomaly]
) -> SourcePosteriorAnswer | MissingResult:
    if not traced:
        return missing_results.NO_TRACED_QUANTITY
    return source_posterior.infer_sources(
        directory.valid_at(traced[0].start_s),
        traced[0],
        lambda series_id, from_s, to_s: store.readings(series_id, from_s, to_s, limit=MAX_READINGS),
        window_s=WINDOW_S,
        after_s=AFTER_S,
        other_sites=sorted({one.site_id for one in traced[1:]}),
        is_whole_event=True,
    )
