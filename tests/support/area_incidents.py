"""Adds an incident with anomalies, request, photo and maintenance to one of the four areas."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
from PIL import Image

from analytics.incidents.edits import record
from analytics.incidents.state_machine import apply_event
from ingest_service.storage.contract.incidents import (
    Incident,
    IncidentAnomaly,
    IncidentPhoto,
    IncidentRequest,
    IncidentUpdate,
    PlannedMaintenance,
)
from ingest_service.storage.contract.models import AnomalyQuery
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

AT_S = 1_789_400_000.0  # in September 2026
TEAM = "team"


def tiny_photo() -> bytes:
    """Return a photo of one pixel."""
    text = io.BytesIO()
    Image.new("RGB", (1, 1)).save(text, "PNG")
    return text.getvalue()


def add_incident(store: PostgresStore, area: str, requested_by: str = "somebody") -> dict[str, Any]:
    """Store an incident that is in hand, and one more; return the ids that routes need."""
    incidents, site = Incidents(store), f"site-{area}"
    rows = _three_anomalies(store, area)
    fresh = Incident(
        area_id=area,
        area_ids=[area],
        main_site_id=site,
        kind="water",
        cause="sewage",
        priority=2,
        state="in_hand",
        alarm_state="normal",
        started_s=AT_S,
        last_s=AT_S,
        opened_s=AT_S,
        team_id=TEAM,
    )
    sounded, entries = apply_event(fresh, "annunciate", who="service", role="service", at_s=AT_S)
    other = IncidentUpdate(incident=fresh, entries=[record("open", who="service", at_s=AT_S)])
    update = IncidentUpdate(incident=sounded, entries=entries, members=rows)
    stored, second = incidents.apply([update, other])
    request = incidents.add_request(
        IncidentRequest(
            incident_id=stored.incident_id,
            kind="hold",
            requested_by=requested_by,
            requested_s=AT_S,
            why=area,
            until_s=2e9,
            approver_role="supervisor",
        ),
        IncidentUpdate(incident=stored, entries=[]),
    )
    now = incidents.incident(stored.incident_id)
    assert request is not None
    assert now is not None
    photo = incidents.add_photo(
        IncidentPhoto(
            incident_id=now.incident_id, at_s=AT_S, who="x", media_type="image/png", width=1, height=1
        ),
        tiny_photo(),
        IncidentUpdate(incident=now, entries=[]),
    )
    now = incidents.incident(stored.incident_id)
    assert now is not None
    work = incidents.add_maintenance(
        PlannedMaintenance(site_id=site, from_s=1.9e9, to_s=2e9, who="x", why=area)
    )
    return {
        "incident_id": now.incident_id,
        "revision": now.revision,
        "other_id": second.incident_id,
        "request_id": request.request_id,
        "photo_id": photo.photo_id,
        "maintenance_id": work.maintenance_id,
        "member_id": rows[1].anomaly_id,
    }


def _three_anomalies(store: PostgresStore, area: str) -> list[IncidentAnomaly]:
    site = f"site-{area}"
    found = store.anomalies(AnomalyQuery(site_ids=[site]))
    if len(found) < 3:
        newest = max(one.start_s for one in found)
        more = [
            msgspec.structs.replace(
                found[0],
                subject=f"{area}/{k}",
                state="closed",
                start_s=newest + k,
                end_s=newest + k,
                anomaly_id=0,
            )
            for k in (1, 2)
        ]
        store.record_anomalies(more)
        found = store.anomalies(AnomalyQuery(site_ids=[site]))
    base = IncidentAnomaly(
        anomaly_id=0,
        incident_id=None,
        site_id=site,
        role="opened",
        reason="first",
        reason_en="x",
        reason_zh="x",
        anomaly_revision=1,
        state="closed",
        start_s=AT_S,
        end_s=AT_S,
    )
    roles: Any = ("opened", "joined", "suppressed")
    return [
        msgspec.structs.replace(base, anomaly_id=one.anomaly_id, role=role)
        for one, role in zip(found[:3], roles, strict=True)
    ]
