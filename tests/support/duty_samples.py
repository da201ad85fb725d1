"""Sample cells, teams, rosters and channels of an area, and requests of the routes about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest_service.storage.contract.duty import (
    Coverage,
    GridCell,
    HandoverNote,
    Roster,
    Rotation,
    Team,
    TeamMember,
)
from ingest_service.storage.contract.notifications import Deadline, Notification, NotificationChannel
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.notifications import NotificationStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest_service.storage.postgres.store import PostgresStore

SQUARE = [[[120.5, 30.6], [120.6, 30.6], [120.6, 30.7], [120.5, 30.7], [120.5, 30.6]]]
STARTS = "2026-11-23T08:00:00+08:00"
CELL = {"type": "Polygon", "coordinates": SQUARE}


def enrol_duty(
    store: PostgresStore, area_id: str, *, principals: Mapping[str, str] | None = None, suffix: str = ""
) -> None:
    """Store a cell, a team, a roster, a note, a channel and a notification of an area.

    Parameters
    ----------
    principals : further members by id, each with its principal
    suffix : of the ids, ``-AREA`` without one

    """
    suffix = suffix or f"-{area_id}"
    duty, outbox = DutyStore(store), NotificationStore(store)
    members = [
        TeamMember(member_id=f"member{suffix}", name="王芳", role="leader", email="wang@example.org"),
        *(
            TeamMember(member_id=name, name=name, principal=principal)
            for name, principal in (principals or {}).items()
        ),
    ]
    names: Any = {"area_id": area_id, "en": f"water{suffix}", "zh": "水务队"}
    duty.replace_cells([GridCell(cell_id=f"cell{suffix}", geometry=CELL, **names)])
    outbox.replace_channel(
        NotificationChannel(channel_id=f"channel{suffix}", kind="wecom", url_secret="robot", **names)  # noqa: S106 - its name
    )
    duty.replace_team(
        Team(team_id=f"team{suffix}", coverage=[Coverage(kind="water")], members=members, **names)
    )
    rotation = Rotation(members=[members[0].member_id], starts=STARTS, shift_hours=12.0)
    duty.replace_roster(
        Roster(roster_id=f"roster{suffix}", team_id=f"team{suffix}", rotations=[rotation], **names)
    )
    duty.add_handover_note(
        HandoverNote(area_id=area_id, team_id=f"team{suffix}", who="wang", text="北港泵站检修至周五")
    )
    outbox.record(
        [
            Notification(
                kind="test",
                area_id=area_id,
                step=f"test{suffix}",
                member_id=members[0].member_id,
                channel_id=f"channel{suffix}",
                priority=4,
                text_en="This is a test.",
                text_zh="这是测试消息。",
                due_s=4e9,
            )
        ]
    )


def add_deadline(store: PostgresStore, incident_id: int, area_id: str) -> None:
    """Store the deadline of handling an incident."""
    deadline = Deadline(incident_id=incident_id, area_id=area_id, phase="handle", due_s=1_795_000_000.0)
    NotificationStore(store).record([], [deadline])


def duty_bodies(area_id: str, suffix: str, principals: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the body of each route that takes one, for the ids and members of `enrol_duty`."""
    others = [
        {"member_id": name, "name": name, "principal": principal}
        for name, principal in (principals or {}).items()
    ]
    names = {"en": "Water team", "zh": "水务队"}
    team = f"team{suffix}"
    member = f"member{suffix}"
    preference = {"priority": 3, "channels": ["console"], "quiet_from": "22:00", "quiet_to": "07:00"}
    return {
        "PUT /v1/cells": {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": CELL,
                    "properties": {
                        "cell_id": f"cell{suffix}",
                        "area_id": area_id,
                        **names,
                        "setting": "town",
                    },
                }
            ],
        },
        "PUT /v1/teams/{team_id}": {
            "area_id": area_id,
            **names,
            "coverage": [{"kind": "water"}],
            "members": [
                {"member_id": member, "name": "王芳", "role": "leader", "email": "wang@example.org"},
                *others,
            ],
            "channels": [f"channel{suffix}"],
        },
        "PUT /v1/rosters/{roster_id}": {
            "team_id": team,
            **names,
            "rotations": [{"members": [member], "starts": STARTS, "shift_hours": 12}],
        },
        "POST /v1/rosters/{roster_id}/overrides": {
            "member_id": member,
            "from": "2036-12-01T08:00:00+08:00",
            "to": "2036-12-02T08:00:00+08:00",
            "note": "换班",
        },
        "POST /v1/handover-notes": {"team_id": team, "text": "北港泵站检修至周五", "incidents": []},
        "PUT /v1/channels/{channel_id}": {
            "area_id": area_id,
            "kind": "wecom",
            "en": "WeCom group",
            "zh": "企业微信群",
            "url_secret": "water-robot-url",
        },
        "PUT /v1/preferences/{member_id}": {"preferences": [preference]},
        "PUT /v1/me/preferences": {"preferences": [preference]},
    }


def duty_requests(
    area_id: str, suffix: str, principals: Mapping[str, str] | None = None
) -> dict[str, tuple[str, Any]]:
    """Return an example request of each route: its path with query, and its body."""
    bodies = duty_bodies(area_id, suffix, principals)
    paths = {
        "GET /v1/cells": f"/v1/cells?area={area_id}",
        "PUT /v1/cells": "/v1/cells",
        "GET /v1/teams": f"/v1/teams?area={area_id}",
        "PUT /v1/teams/{team_id}": f"/v1/teams/team{suffix}",
        "GET /v1/rosters": f"/v1/rosters?area={area_id}",
        "PUT /v1/rosters/{roster_id}": f"/v1/rosters/roster{suffix}",
        "POST /v1/rosters/{roster_id}/overrides": f"/v1/rosters/roster{suffix}/overrides",
        "GET /v1/duty": f"/v1/duty?area={area_id}",
        "GET /v1/handover-notes": f"/v1/handover-notes?area={area_id}&limit=2",
        "POST /v1/handover-notes": "/v1/handover-notes",
        "GET /v1/channels": f"/v1/channels?area={area_id}",
        "PUT /v1/channels/{channel_id}": f"/v1/channels/channel{suffix}",
        "POST /v1/channels/{channel_id}/test": f"/v1/channels/channel{suffix}/test",
        "GET /v1/preferences/{member_id}": f"/v1/preferences/member{suffix}",
        "PUT /v1/preferences/{member_id}": f"/v1/preferences/member{suffix}",
        "GET /v1/me/preferences": "/v1/me/preferences",
        "PUT /v1/me/preferences": "/v1/me/preferences",
        "GET /v1/notifications": f"/v1/notifications?area={area_id}&limit=2",
    }
    return {name: (path, bodies.get(name)) for name, path in paths.items()}
