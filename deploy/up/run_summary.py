"""Builds the summary of a run of `towntwin up`: counts, matched faults, losses and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from deploy.replay_summary import ReplaySummary
from ingest_service.storage.contract.incidents import IncidentQuery
from ingest_service.storage.contract.models import AnomalyQuery, DeadLetterQuery
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.agent_fleet import FleetProgress
    from edge.simulator.fault_plan import PlannedFault
    from ingest_service.storage.contract.models import Anomaly, Directory, StoreHealth
    from ingest_service.storage.contract.store import Store

EARLY_TOLERANCE_S = 900.0  # an anomaly may start slightly before its fault, as its start is that of a tick
REPLAY_FILE = "replay.json"
SHOWN_DEAD_LETTERS = 10
MAX_ROLLUPS_DUE = 1_000  # hours of series whose rollups may wait when a run ends


class FaultOutcome(msgspec.Struct, frozen=True):
    """A planned fault that is due, and the first anomaly that matches it."""

    fault: PlannedFault
    anomaly: Anomaly | None


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of a run, printed as JSON in its last line.

    ``incidents`` were opened; of the ``planned_incidents``, one for each planned fault that is due,
    ``found_incidents`` have an incident of their own. Of the faults that let something into the river and
    were found, ``traced_faults`` have their true outfall as the likeliest source of their incident.
    """

    readings: int
    anomalies: int
    planned_faults: int
    found_faults: int
    incidents: int = 0
    planned_incidents: int = 0
    found_incidents: int = 0
    traceable_faults: int = 0
    traced_faults: int = 0
    dead_letters: int
    lost: int
    edition: str
    healthy: bool
    replay: ReplaySummary | None = None
    replay_failed: bool = False


def match_faults(
    faults: Sequence[PlannedFault],
    anomalies: Sequence[Anomaly],
    directory: Directory,
    *,
    live_from_s: float,
    now_s: float,
) -> list[FaultOutcome]:
    """Match each fault that must have been detected by now with an anomaly at one of its sites, in time."""
    quantity_of = {one.series_id: one.quantity for one in directory.series}

    def matches_fault(fault: PlannedFault, anomaly: Anomaly) -> bool:
        start_s = live_from_s + fault.start_s
        in_time = start_s - EARLY_TOLERANCE_S <= anomaly.start_s <= start_s + fault.find_within_s
        if not in_time or anomaly.site_id not in fault.site_ids:
            return False
        if anomaly.device_id is not None:
            return fault.kind == "silent"
        if anomaly.series_id is None:
            return False  # an anomaly of a site follows those of its series, which count
        return fault.kind != "silent" and quantity_of[anomaly.series_id] in fault.quantities

    due = [fault for fault in faults if live_from_s + fault.start_s + fault.find_within_s <= now_s]
    oldest_first = sorted(anomalies, key=lambda anomaly: anomaly.start_s)
    return [
        FaultOutcome(fault, next((one for one in oldest_first if matches_fault(fault, one)), None))
        for fault in due
    ]


def read_replay(path: Path) -> ReplaySummary | None:
    """Return the summary file of a replay, or None where it ended before writing it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReplaySummary)
    except FileNotFoundError:
        return None


def summarise_run(
    store: Store,
    report: FleetProgress | None,
    fault_outcomes: Sequence[FaultOutcome],
    *,
    healthy: bool,
    has_end: bool = False,
    replay: ReplaySummary | None = None,
) -> RunSummary:
    """Return the summary of a run.

    ``lost`` counts readings that an agent accepted and that are neither stored nor dead-lettered; for a
    replay, it is the number of lost readings of the replay's own summary.
    """
    health = store.health()
    taken_readings = report.taken if report else 0
    failed = has_end and replay is None
    likeliest = likeliest_sources(store, fault_outcomes)
    return RunSummary(
        readings=health.readings,
        anomalies=store.count_anomalies(AnomalyQuery()),
        planned_faults=len(fault_outcomes),
        found_faults=sum(one.anomaly is not None for one in fault_outcomes),
        incidents=_count_incidents(store),
        planned_incidents=len(fault_outcomes),
        found_incidents=len(_incidents_of_faults(store, fault_outcomes)),
        traceable_faults=len(likeliest),
        traced_faults=sum(origin == found for origin, found in likeliest.values()),
        dead_letters=health.dead_letters,
        lost=sum(replay.lost.values()) if replay else _lost_readings(taken_readings, health, report),
        replay=replay,
        replay_failed=failed,
        edition=health.edition,
        healthy=healthy and health.rollups_due < MAX_ROLLUPS_DUE and not failed,
    )


def _count_incidents(store: Store) -> int:
    return 0 if store.database is None else Incidents(store.database).count(IncidentQuery())


def _incidents_of_faults(store: Store, fault_outcomes: Sequence[FaultOutcome]) -> set[int]:
    """Return the incidents of the first anomalies of planned faults; two faults may share one."""
    found = [one.anomaly.anomaly_id for one in fault_outcomes if one.anomaly is not None]
    if store.database is None:
        return set()
    members = Incidents(store.database).memberships(found)
    return {one.incident_id for one in members.values() if one.incident_id is not None}


def likeliest_sources(
    store: Store, fault_outcomes: Sequence[FaultOutcome]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the true and the likeliest source of each found release into the river, by fault.

    The likeliest is that of the trace of the fault's incident, None where there is none.
    """
    releases = {
        one.anomaly.anomaly_id: one.fault
        for one in fault_outcomes
        if one.anomaly is not None and one.fault.kind in {"slug", "discharge"}
    }
    if store.database is None or not releases:
        return {}
    incidents = Incidents(store.database)
    members = incidents.memberships(releases)
    incident_of = {one.anomaly_id: one.incident_id for one in members.values() if one.incident_id}
    traces = incidents.traces(set(incident_of.values()))
    found = {}
    for anomaly_id, fault in releases.items():
        trace = traces.get(incident_of.get(anomaly_id, 0))
        candidates = trace.posterior["candidates"] if trace is not None and trace.posterior else []
        found[fault.fault_id] = (fault.origin, candidates[0]["node_id"] if candidates else None)
    return found


def _lost_readings(taken_readings: int, health: StoreHealth, report: FleetProgress | None) -> int:
    if health.dead_letters == 0:
        return max(0, taken_readings - health.readings)
    return report.waiting if report else 0


def newest_dead_letters(store: Store) -> list[str]:
    """Return a line for each of the newest dead letters: its topic, its reason, and what was wrong."""
    newest = store.dead_letters(DeadLetterQuery(whole=False, limit=SHOWN_DEAD_LETTERS))
    return [f"dead letter ({one.topic}, {one.reason}): {one.detail}" for one in newest]


def is_as_expected(summary: RunSummary) -> bool:
    """Return whether readings, anomalies and health are as expected: decides the exit code."""
    if summary.replay_failed:
        return False
    if summary.replay is not None:
        return summary.healthy and summary.readings > 0 and summary.replay.good
    return (
        summary.healthy
        and summary.readings > 0
        and summary.found_faults == summary.planned_faults
        and (summary.planned_faults == 0 or summary.anomalies > 0)
        and summary.dead_letters == 0
        and summary.lost == 0
    )
