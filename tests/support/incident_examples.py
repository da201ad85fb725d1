"""Example requests of the incident routes, and incidents for them with fixed revisions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

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
from tests.support.area_incidents import tiny_photo

if TYPE_CHECKING:
    from ingest_service.storage.contract.incidents import IncidentState, MemberRole
    from ingest_service.storage.postgres.store import PostgresStore

SITE, AREA = "330483-d1-r04", "330483-d1"
ROLES: tuple[MemberRole, ...] = ("opened", "joined", "suppressed")
FIRST_REVISION = 9_000_000  # those of the database differ from run to run
STATES: tuple[IncidentState, ...] = ("new",) * 7 + ("in_hand",) * 3
READ, MOVED, COMMENTED, ASSIGNED, MERGED, CLOSED, SPLIT, DECIDED, REQUESTED, WITH_PHOTO = range(1, 11)


def _revision(incident_id: int) -> int:
    return FIRST_REVISION + incident_id


def _day() -> str:
    times = [time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(time.time() + one)) for one in (-86_400, 3_600)]
    return f"from={times[0]}&to={times[1]}"


INCIDENT_REQUESTS: dict[str, tuple[str, Any]] = {
    "GET /v1/incidents/performance": (f"/v1/incidents/performance?{_day()}&operators=2", None),
    "GET /v1/incidents/export": ("/v1/incidents/export?format=geojson&area=330483", None),
    "GET /v1/incidents/suppressed": (f"/v1/incidents/suppressed?{_day()}", None),
    "GET /v1/incidents/maintenance": ("/v1/incidents/maintenance", None),
    "POST /v1/incidents/maintenance": (
        "/v1/incidents/maintenance",
        {
            "site_id": SITE,
            "from": "2036-01-01T08:00:00+08:00",
            "to": "2036-01-01T12:00:00+08:00",
            "why": "更换探头",
        },
    ),
    "DELETE /v1/incidents/maintenance/{maintenance_id}": ("/v1/incidents/maintenance/1", None),
    "GET /v1/incidents/requests": ("/v1/incidents/requests?state=waiting", None),
    "GET /v1/incidents": ("/v1/incidents?area=330483&status=open&limit=2", None),
    "POST /v1/incidents": (
        "/v1/incidents",
        {"site_id": SITE, "kind": "water", "cause": "dead_fish", "summary": "堰下有死鱼"},
    ),
    "GET /v1/incidents/{incident_id}": (f"/v1/incidents/{READ}", None),
    "GET /v1/incidents/{incident_id}/anomalies": (f"/v1/incidents/{READ}/anomalies", None),
    "GET /v1/incidents/{incident_id}/history": (f"/v1/incidents/{READ}/history?after=0", None),
    "POST /v1/incidents/{incident_id}/transitions": (
        f"/v1/incidents/{MOVED}/transitions",
        {"event": "file", "revision": _revision(MOVED)},
    ),
    "POST /v1/incidents/{incident_id}/comments": (f"/v1/incidents/{COMMENTED}/comments", {"text": "已采样"}),
    "PUT /v1/incidents/{incident_id}/assignment": (
        f"/v1/incidents/{ASSIGNED}/assignment",
        {"priority": 1, "why": "upstream of the intake", "revision": _revision(ASSIGNED)},
    ),
    "POST /v1/incidents/{incident_id}/merge": (
        f"/v1/incidents/{MERGED}/merge",
        {"incident_ids": [CLOSED], "why": "the same truck", "revision": _revision(MERGED)},
    ),
    "POST /v1/incidents/{incident_id}/split": (
        f"/v1/incidents/{SPLIT}/split",
        {"anomaly_ids": [4], "why": "another event", "revision": _revision(SPLIT)},
    ),
    "GET /v1/incidents/{incident_id}/requests": (f"/v1/incidents/{DECIDED}/requests", None),
    "POST /v1/incidents/{incident_id}/requests": (
        f"/v1/incidents/{REQUESTED}/requests",
        {
            "kind": "extension",
            "why": "parts are missing",
            "until": "2036-12-31T00:00:00+08:00",
            "revision": _revision(REQUESTED),
        },
    ),
    "POST /v1/incidents/{incident_id}/requests/{request_id}/decision": (
        f"/v1/incidents/{DECIDED}/requests/1/decision",
        {"state": "approved", "revision": _revision(DECIDED)},
    ),
    "GET /v1/incidents/{incident_id}/photos": (f"/v1/incidents/{WITH_PHOTO}/photos", None),
    "POST /v1/incidents/{incident_id}/photos": (
        f"/v1/incidents/{WITH_PHOTO}/photos?caption=weir",
        tiny_photo(),
    ),
    "GET /v1/incidents/{incident_id}/photos/{photo_id}": (f"/v1/incidents/{WITH_PHOTO}/photos/1", None),
}


def add_example_incidents(store: PostgresStore) -> None:
    """Replace a store's incidents by ten, with anomalies, a request, a photo and maintenance."""
    with store.transaction() as connection:  # the examples name incidents by id
        connection.execute("ALTER TABLE incident_history DISABLE TRIGGER append_only")
        connection.execute("TRUNCATE incident RESTART IDENTITY CASCADE")
        connection.execute("ALTER TABLE incident_history ENABLE TRIGGER append_only")
    incidents, now_s = Incidents(store), time.time() - 3600
    updates = [_new_incident(k, state, now_s) for k, state in enumerate(STATES)]
    stored = incidents.apply(updates)
    assert [one.incident_id for one in stored] == list(range(1, 11))
    anomalies = sorted(store.anomalies(AnomalyQuery(limit=1000)), key=lambda one: one.anomaly_id)[:5]
    for incident_id, chosen in ((READ, anomalies[:2]), (SPLIT, anomalies[2:5])):
        incident = stored[incident_id - 1]
        members = [
            IncidentAnomaly(
                anomaly_id=one.anomaly_id,
                incident_id=incident_id,
                site_id=one.site_id,
                role=role,
                reason="first" if role == "opened" else "same_site" if role == "joined" else "chattering",
                reason_en="x",
                reason_zh="某",
                anomaly_revision=one.revision,
                state="closed",
                start_s=now_s,
                end_s=now_s + 600,
                detector=one.detector,
            )
            for one, role in zip(chosen, ROLES, strict=False)
        ]
        incidents.apply([IncidentUpdate(incident=incident, entries=[], members=members)])
    request = IncidentRequest(
        incident_id=DECIDED,
        kind="hold",
        requested_by="Li Qiang",
        requested_s=now_s,
        why="waits for the season",
        until_s=2e9,
        approver_role="supervisor",
    )
    incidents.add_request(request, IncidentUpdate(incident=stored[DECIDED - 1], entries=[]))
    photo = IncidentPhoto(
        incident_id=WITH_PHOTO, at_s=now_s, who="Li Qiang", media_type="image/png", width=1, height=1
    )
    incidents.add_photo(photo, tiny_photo(), IncidentUpdate(incident=stored[WITH_PHOTO - 1], entries=[]))
    incidents.add_maintenance(
        PlannedMaintenance(site_id=SITE, from_s=1.99e9, to_s=2e9, who="Li Qiang", why="new probe")
    )
    with store.transaction() as connection:
        connection.execute("UPDATE incident SET revision = %s + incident_id", (FIRST_REVISION,))


def _new_incident(k: int, state: IncidentState, now_s: float) -> IncidentUpdate:
    incident = Incident(
        area_id=AREA,
        area_ids=[AREA],
        main_site_id=SITE,
        kind="water",
        cause="sewage",
        priority=2,
        consequence="major",
        urgency="prompt",
        severity=2,
        state=state,
        alarm_state="normal",
        started_s=now_s + k,
        last_s=now_s + k,
        opened_s=now_s + k,
        team_id="d1-water" if state == "in_hand" else None,
    )
    sounded, entries = apply_event(incident, "annunciate", who="service", role="service", at_s=now_s + k)
    return IncidentUpdate(incident=sounded, entries=[record("open", who="service", at_s=now_s + k), *entries])
