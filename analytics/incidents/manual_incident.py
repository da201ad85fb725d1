"""Opens an incident that a person reports (a patrol, a phone call), without any anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.incidents.edits import record
from analytics.incidents.priority_matrix import PlaceOfIncident
from analytics.incidents.state_machine import apply_event
from ingest_service.storage.contract.incidents import SERVICE, Incident, IncidentUpdate

if TYPE_CHECKING:
    from analytics.incidents.priority_matrix import PriorityMatrix
    from ingest_service.storage.contract.incidents import IncidentKind
    from ingest_service.storage.contract.models import Site


def report(
    site: Site,
    *,
    kind: IncidentKind,
    cause: str,
    summary: str,
    severity: int,
    who: str,
    at_s: float,
    matrix: PriorityMatrix,
) -> IncidentUpdate:
    """Return the incident that a person reports at a site; it annunciates once, as any other does."""
    priority = matrix.priority_of(
        PlaceOfIncident(kind, cause, severity, [site.site_id], [site.kind], site.target_class)
    )
    incident = Incident(
        area_id=site.area_id,
        area_ids=[site.area_id],
        main_site_id=site.site_id,
        kind=kind,
        cause=cause,
        priority=priority.priority,
        consequence=priority.consequence,
        urgency=priority.urgency,
        severity=severity,
        started_s=at_s,
        last_s=at_s,
        opened_s=at_s,
        alarm_state="normal",
        summary=summary,
        opened_by=who,
    )
    incident, sounded = apply_event(incident, "annunciate", who=SERVICE, role="service", at_s=at_s)
    entries = [record("open", who=who, at_s=at_s, why=summary), *sounded]
    return IncidentUpdate(incident=incident, entries=entries)
