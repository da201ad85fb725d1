"""Tests that a person of an OpenID provider is linked to a team's member by a verified e-mail address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.auth import member_links
from gateway.settings import Settings
from ingest_service.storage.contract.duty import Team, TeamMember
from ingest_service.storage.contract.incidents import HistoryEntry, Incident, IncidentUpdate
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request
from tests.support.gateway_access import gateway_app
from tests.support.neighbouring_town import HOME_AREA, OTHER_AREA, OTHER_TOWN
from tests.support.openid_provider import OidcProvider, running_provider
from tests.support.store_samples import DIRECTORY
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.support.throwaway_servers import NamedServer, PostgresServer

WANG = TeamMember(member_id="wang", name="王芳", email="Wang@Example.org")
TEAM = Team(team_id="water", area_id=HOME_AREA, en="Water", zh="水务队", members=[WANG])
ELSEWHERE = Team(team_id="roads", area_id=HOME_AREA, en="Roads", zh="道路队")
CLAIMS: dict[str, Any] = {
    "towntwin_role": "team_member",
    "towntwin_area": HOME_AREA,
    "email": "wang@example.ORG",
    "email_verified": True,
}


@pytest.fixture(scope="module")
def store(timescale_server: PostgresServer | NamedServer) -> Iterator[PostgresStore]:
    with fresh_database(timescale_server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        store.enrol(DIRECTORY)
        store.enrol(OTHER_TOWN)
        now_s = time.time()
        incident = Incident(
            area_id=HOME_AREA, area_ids=[HOME_AREA], main_site_id=DIRECTORY.sites[0].site_id, kind="water",
            cause="unknown", priority=2, state="dispatched", team_id="water",
            started_s=now_s, last_s=now_s, opened_s=now_s,
        )  # fmt: skip
        entry = HistoryEntry(machine="record", event="open", who="service", at_s=now_s)
        _store_teams(store, [TEAM, ELSEWHERE])
        Incidents(store).apply([IncidentUpdate(incident=incident, entries=[entry])])
        yield store
        store.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with running_provider() as one:
        yield one


@pytest.fixture
def app(store: PostgresStore, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(member_links, "KEPT_S", 0.0)
    _store_teams(store, [TEAM, ELSEWHERE])
    return gateway_app(store, settings=Settings(oidc_issuer=provider.issuer, requests_burst=10_000))


def _store_teams(store: PostgresStore, teams: list[Team]) -> None:
    for one in teams:
        DutyStore(store).replace_team(one)


def _team(*members: TeamMember, team: Team = TEAM) -> Team:
    return msgspec.structs.replace(team, members=list(members))


def _links(app: FastAPI, token: str) -> tuple[str | None, list[str], int]:
    """Return the team, the members, and the number of visible incidents of a token."""
    headers = {"Authorization": f"Bearer {token}"}
    me = send_request(app, "GET", "/v1/me", headers=headers)
    assert me.status_code == 200, me.text
    own = send_request(app, "GET", "/v1/me/preferences", headers=headers).json()
    incidents = send_request(app, "GET", "/v1/incidents", headers=headers).json()["items"]
    return me.json()["team_id"], [one["member_id"] for one in own], len(incidents)


LINKED = ("water", ["wang"], 1)
UNLINKED: tuple[None, list[str], int] = (None, [], 0)


def test_a_verified_address_links_to_the_only_member_who_has_it(app: FastAPI, provider: OidcProvider) -> None:
    assert _links(app, provider.token(**CLAIMS)) == LINKED


@pytest.mark.parametrize(
    "changed",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"email": None},
        {"email": ["wang@example.org"]},
        {"email": "wang@example.org "},
        {"email": "wang@example.or"},
        {"email": "%@example.org"},
        {"towntwin_area": OTHER_AREA},
    ],
)
def test_no_other_address_links(app: FastAPI, provider: OidcProvider, changed: dict[str, Any]) -> None:
    assert _links(app, provider.token(**CLAIMS | changed)) == UNLINKED


def test_a_character_that_becomes_an_ascii_letter_does_not_link(
    app: FastAPI, store: PostgresStore, provider: OidcProvider
) -> None:
    _store_teams(store, [_team(msgspec.structs.replace(WANG, email="kim@example.org"))])
    kelvin = "\N{KELVIN SIGN}im@example.org"
    assert kelvin.lower() == "kim@example.org", "so that a comparison in lower case alone would link"
    assert _links(app, provider.token(**CLAIMS | {"email": kelvin})) == UNLINKED
    assert _links(app, provider.token(**CLAIMS | {"email": "KIM@example.org"})) == LINKED


def test_an_address_of_two_members_links_to_neither(
    app: FastAPI, store: PostgresStore, provider: OidcProvider
) -> None:
    other = TeamMember(member_id="wang-2", name="王方", email="wang@example.org")
    _store_teams(store, [_team(other, team=ELSEWHERE)])
    assert _links(app, provider.token(**CLAIMS)) == UNLINKED
    of_another = msgspec.structs.replace(other, principal="key:0f3a5c9d2e71")
    _store_teams(store, [_team(of_another, team=ELSEWHERE)])
    assert _links(app, provider.token(**CLAIMS)) == UNLINKED
    in_another_town = msgspec.structs.replace(
        ELSEWHERE, team_id="roads-o", area_id=OTHER_AREA,
        members=[msgspec.structs.replace(other, member_id="wang-3")],
    )  # fmt: skip
    _store_teams(store, [ELSEWHERE, in_another_town])
    assert _links(app, provider.token(**CLAIMS)) == LINKED, "it is outside of the principal's areas"
    assert _links(app, provider.token(**CLAIMS | {"towntwin_area": "*"})) == UNLINKED


def test_an_explicit_link_wins(app: FastAPI, store: PostgresStore, provider: OidcProvider) -> None:
    explicit = TeamMember(member_id="wang-2", name="王芳", principal="oidc:u1")
    _store_teams(store, [_team(explicit, team=ELSEWHERE)])
    assert _links(app, provider.token(**CLAIMS)) == ("roads", ["wang-2"], 0)
    _store_teams(store, [_team(msgspec.structs.replace(WANG, principal="oidc:u2")), ELSEWHERE])
    assert _links(app, provider.token(**CLAIMS)) == UNLINKED, "the member is another person"
    claimed = provider.token(**CLAIMS, towntwin_team="roads")
    _store_teams(store, [TEAM])
    assert _links(app, claimed) == ("roads", ["wang"], 0), "the provider names the team"


def test_a_session_is_linked_as_long_as_its_member(
    app: FastAPI, store: PostgresStore, provider: OidcProvider
) -> None:
    opened = send_request(app, "POST", "/login", json={"key": provider.token(**CLAIMS)})
    session = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
    assert send_request(app, "GET", "/v1/me", headers=session).json()["team_id"] == "water"
    _store_teams(store, [_team()])
    assert send_request(app, "GET", "/v1/me", headers=session).json()["team_id"] is None
    assert send_request(app, "GET", "/v1/incidents", headers=session).json()["items"] == []


def test_the_setting_turns_links_by_address_off(store: PostgresStore, provider: OidcProvider) -> None:
    _store_teams(store, [TEAM])
    settings = Settings(oidc_issuer=provider.issuer, oidc_link_by_email=False)
    app = gateway_app(store, settings=settings)
    assert _links(app, provider.token(**CLAIMS)) == UNLINKED
    _store_teams(store, [_team(msgspec.structs.replace(WANG, principal="oidc:u1"))])
    assert _links(gateway_app(store, settings=settings), provider.token(**CLAIMS)) == LINKED


def test_other_roles_see_all_incidents_and_have_their_preferences(
    app: FastAPI, provider: OidcProvider
) -> None:
    operator = provider.token(**CLAIMS | {"towntwin_role": "operator"})
    assert _links(app, operator) == (None, ["wang"], 1)
