"""Tests the routes of duty and notification: areas, conflicts, validation, and acknowledgement by link."""

from __future__ import annotations

import re
import shlex
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest

from analytics.notification.acknowledgement import AcknowledgementToken, sign_token
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.incidents import HistoryEntry, Incident, IncidentUpdate
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.notifications import NotificationStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.duty_samples import duty_requests, enrol_duty
from tests.support.gateway_access import MemoryApiKeyStore, gateway_app
from tests.support.howto_pages import indented_commands
from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN
from tests.support.store_samples import DIRECTORY
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.support.throwaway_servers import NamedServer, PostgresServer

REQUESTS = duty_requests(HOME_AREA, "-h")
FOREIGN_REQUESTS = duty_requests(OTHER_AREA, "-o")
LOWEST_ROLES = {
    "GET /v1/cells": Role.VIEWER,
    "PUT /v1/cells": Role.ENGINEER,
    "PUT /v1/teams/{team_id}": Role.ENGINEER,
    "PUT /v1/rosters/{roster_id}": Role.ENGINEER,
    "PUT /v1/channels/{channel_id}": Role.ADMINISTRATOR,
    "POST /v1/channels/{channel_id}/test": Role.SUPERVISOR,
    "GET /v1/preferences/{member_id}": Role.SUPERVISOR,
    "PUT /v1/preferences/{member_id}": Role.SUPERVISOR,
    "GET /v1/me/preferences": Role.TEAM_MEMBER,
    "PUT /v1/me/preferences": Role.TEAM_MEMBER,
}
OWN_PATHS = {"/v1/me/preferences"}


class DutyPlatform:
    """A gateway on two towns, with a key of the home town for each role."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.accounts = MemoryApiKeyStore()
        self.headers: dict[Role, dict[str, str]] = {}
        principals = {}
        for role in Role:
            key, text = api_keys.create_key(
                self.accounts, name=role.role_name, role=role, area_id=HOME_AREA, created_by="tests"
            )
            self.headers[role] = {"X-API-Key": text}
            principals[f"person-{role.role_name}"] = f"key:{key.key_id}"
        enrol_duty(store, HOME_AREA, principals=principals, suffix="-h")
        enrol_duty(store, OTHER_AREA, suffix="-o")
        self.app: FastAPI = gateway_app(
            store, accounts=self.accounts, settings=Settings(requests_burst=10_000)
        )

    def send(self, name: str, path: str, body: Any = None, role: Role = Role.ADMINISTRATOR) -> Any:
        """Send the request of a route."""
        return send_request(self.app, name.partition(" ")[0], path, headers=self.headers[role], json=body)


@pytest.fixture(scope="module")
def store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(DIRECTORY)
        store.enrol(OTHER_TOWN)
        yield store
        store.close()


@pytest.fixture(scope="module")
def world(store: PostgresStore) -> DutyPlatform:
    return DutyPlatform(store)


@pytest.mark.parametrize("role", Role)
def test_each_role_may_what_its_right_allows(world: DutyPlatform, role: Role) -> None:
    for name, (path, body) in REQUESTS.items():
        if name == "PUT /v1/teams/{team_id}":
            continue  # it would replace the members that the other requests are about
        answer = world.send(name, path, body, role)
        lowest = LOWEST_ROLES.get(name, Role.OPERATOR)
        assert answer.status_code == (200 if role >= lowest else 403), (name, answer.text)
        assert OTHER_AREA not in answer.text
        assert '-o"' not in answer.text


def test_another_area_is_not_there(world: DutyPlatform) -> None:
    for name, (path, body) in FOREIGN_REQUESTS.items():
        if path not in OWN_PATHS:
            answer = world.send(name, path, body)
            assert answer.status_code == 404, (name, answer.text)


def test_an_id_of_another_area_is_taken_and_its_row_stays(world: DutyPlatform) -> None:
    for name in (
        "PUT /v1/teams/{team_id}", "PUT /v1/rosters/{roster_id}", "PUT /v1/channels/{channel_id}",
    ):  # fmt: skip
        _, body = REQUESTS[name]
        answer = world.send(name, FOREIGN_REQUESTS[name][0], body)
        assert (answer.status_code, "belongs to another area" in answer.text) == (409, True), answer.text
    _, cells = REQUESTS["PUT /v1/cells"]
    cells["features"][0]["properties"] |= {"cell_id": "cell-o"}
    assert world.send("PUT /v1/cells", "/v1/cells", cells).status_code == 409
    cells["features"][0]["properties"] |= {"cell_id": "cell-h"}


@pytest.mark.parametrize(
    ("coordinates", "sentence"),
    [
        ([[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]], "Self-intersection"),
        ([[[120, 95], [121, 95], [121, 96], [120, 95]]], "longitude, latitude"),
        ([[[120, 30], [120, 30], [120, 30], [120, 30]]], "mend the boundary"),
        ([[[120, 30], [121, 30]]], "at least 4"),
    ],
)
def test_a_cell_that_is_no_polygon_is_refused_with_the_reason(
    world: DutyPlatform, coordinates: Any, sentence: str
) -> None:
    properties = {"cell_id": "bad", "area_id": HOME_AREA, "en": "x", "zh": "x"}
    geometry = {"type": "Polygon", "coordinates": coordinates}
    answer = world.send("PUT", "/v1/cells", {"features": [{"geometry": geometry, "properties": properties}]})
    assert (answer.status_code, sentence in answer.text) == (422, True), answer.text


def test_a_cell_survives_the_way_through_geojson(world: DutyPlatform) -> None:
    sent = REQUESTS["PUT /v1/cells"][1]
    world.send("PUT", "/v1/cells", sent)
    received = world.send("GET", f"/v1/cells?area={HOME_AREA}").json()
    assert received["features"][0]["geometry"] == sent["features"][0]["geometry"]


def test_rosters_and_overrides_are_checked_and_hold(world: DutyPlatform) -> None:
    body = REQUESTS["PUT /v1/rosters/{roster_id}"][1]
    stranger = body | {"rotations": [{"members": ["nobody"], "starts": "2026-01-01T00:00:00+08:00"}]}
    answer = world.send("PUT", "/v1/rosters/roster-h", stranger)
    assert (answer.status_code, "no member of the team" in answer.text) == (422, True)
    assert world.send("PUT", "/v1/rosters/roster-h", body).status_code == 200
    duty = world.send("GET", "/v1/duty?site=s1&kind=water").json()
    assert [(one["team_id"], one["on_duty"][0]["member_id"]) for one in duty] == [("team-h", "member-h")]
    override = {"member_id": "person-viewer", "from": "2036-01-01T00:00:00Z", "to": "2036-01-02T00:00:00Z"}
    assert world.send("POST", "/v1/rosters/roster-h/overrides", override).status_code == 200
    (shift,) = world.send("GET", "/v1/duty?at=2036-01-01T12:00:00Z").json()[0]["on_duty"]
    assert (shift["member_id"], shift["is_override"]) == ("person-viewer", True)
    wrong = override | {"to": "2035-01-02T00:00:00Z"}
    assert world.send("POST", "/v1/rosters/roster-h/overrides", wrong).status_code == 422


def test_secrets_are_named_and_never_shown(world: DutyPlatform) -> None:
    body = REQUESTS["PUT /v1/channels/{channel_id}"][1]
    for wrong in ({"url_secret": "../x"}, {"url_secret": None}, {"url": "file:///etc/passwd"}):
        assert world.send("PUT", "/v1/channels/channel-x", body | wrong).status_code == 422
    assert world.send("PUT", "/v1/channels/console", body).status_code == 422


def new_incident(store: PostgresStore) -> Incident:
    """Open an unacknowledged incident."""
    now_s = time.time()
    incident = Incident(
        area_id=HOME_AREA, area_ids=[HOME_AREA], main_site_id="s1", kind="water", cause="sewage", priority=1,
        started_s=now_s, last_s=now_s, opened_s=now_s,
    )  # fmt: skip
    entry = HistoryEntry(machine="record", event="open", who="service", at_s=now_s)
    return Incidents(store).apply([IncidentUpdate(incident=incident, entries=[entry])])[0]


def test_a_link_acknowledges_by_its_button_alone(world: DutyPlatform) -> None:
    incident = new_incident(world.store)
    secret = NotificationStore(world.store).acknowledgement_secret()
    link = AcknowledgementToken(incident.incident_id, "member/wang", round(time.time()) + 60)
    path = f"/acknowledge/{sign_token(link, secret)}"
    page = send_request(world.app, "GET", path)  # as link previews and mail scanners do
    assert (page.status_code, "确认 · Acknowledge</button>" in page.text) == (200, True)
    assert f'href="../console/incidents/{incident.incident_id}"' in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert send_request(world.app, "HEAD", path).status_code == 200
    stored = Incidents(world.store).incident(incident.incident_id)
    assert stored is not None
    assert stored.acknowledged_s is None
    pressed = send_request(world.app, "POST", path)
    assert (pressed.status_code, "已确认" in pressed.text) == (200, True)
    stored = Incidents(world.store).incident(incident.incident_id)
    assert stored is not None
    assert (stored.alarm_state, stored.acknowledged_by) == ("acknowledged", "wang (link)")
    again = send_request(world.app, "POST", path)
    assert (again.status_code, "nothing to acknowledge" in again.text) == (200, True)


def test_a_link_that_is_forged_or_over_shows_and_changes_nothing(world: DutyPlatform) -> None:
    incident = new_incident(world.store)
    secret = NotificationStore(world.store).acknowledgement_secret()
    good = sign_token(AcknowledgementToken(incident.incident_id, "member/wang", 4_000_000_000), secret)
    over = sign_token(AcknowledgementToken(incident.incident_id, "member/wang", 1), secret)
    other = sign_token(AcknowledgementToken(incident.incident_id, "member/wang", 4_000_000_000), b"k" * 32)
    content, _, signature = good.partition(".")
    forged = [over, other, content, f"{content}.", f"x{content}.{signature}", f"{content}.{signature[:-2]}AA",
              "%20.%20", "a" * 390, "é.é", f"{good}."]  # fmt: skip
    for text in forged:
        for method in ("GET", "POST"):
            answer = send_request(world.app, method, f"/acknowledge/{text}")
            assert (answer.status_code, "污水" in answer.text) == (404, False), (text, answer.text)
    stored = Incidents(world.store).incident(incident.incident_id)
    assert stored is not None
    assert stored.acknowledged_s is None


def test_deadlines_of_an_incident_are_shown(world: DutyPlatform) -> None:
    from ingest_service.storage.contract.notifications import Deadline  # noqa: PLC0415

    incident = new_incident(world.store)
    deadline = Deadline(incident_id=incident.incident_id, area_id=HOME_AREA, phase="file", due_s=1.0)
    NotificationStore(world.store).record([], [deadline])
    (shown,) = world.send("GET", f"/v1/incidents/{incident.incident_id}/deadlines").json()
    assert (shown["phase"], shown["met"], shown["late"]) == ("file", None, True)


def test_every_command_of_the_howtos_works(world: DutyPlatform) -> None:
    key_id = next(one.key_id for one in world.accounts.keys_by_id.values() if one.role == "administrator")
    headers = world.headers[Role.ADMINISTRATOR] | {"Content-Type": "application/json"}
    count = 0
    for page in ("set-up-dingtalk-wecom-feishu", "define-grid-cells-and-rosters", "run-a-shift"):
        for command in indented_commands(f"{page}.md", "curl"):
            words = shlex.split(command)
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            url = next(one for one in words if one.startswith("$GATEWAY")).removeprefix("$GATEWAY")
            body = words[words.index("-d") + 1] if "-d" in words else ""
            path, _, query = url.partition("?")
            answer = send_request(
                world.app,
                method,
                path,
                headers=headers,
                params=dict(urllib.parse.parse_qsl(query)) or None,
                content=re.sub("key:[0-9a-f]{12}", f"key:{key_id}", body).encode() or None,
            )
            assert answer.status_code == 200, (page, command, answer.text)
            count += 1
    assert count == 9
