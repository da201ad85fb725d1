"""Tests that invalid cursors are refused: changed, forged, of another key, query or installation."""

from __future__ import annotations

import base64
import string
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from starlette.requests import Request

from gateway.api.pagination import SIGNATURE_BYTES, CursorSigner
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.postgres.api_keys import ApiKey, ApiKeyStore, AuditEntry
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.area_incidents import add_incident
from tests.support.asgi import send_request
from tests.support.four_areas import (
    ABROAD,
    AREA_NAMES,
    dead_letter_of,
    enrol,
    propose_devices,
    series_of_area,
)
from tests.support.gateway_access import gateway_app
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from tests.support.throwaway_servers import NamedServer, PostgresServer

WIDE = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}
PAGED_PATHS: dict[str, dict[str, str]] = {
    "/v1/anomalies": {},
    "/v1/readings": WIDE,
    "/v1/series/{series_id}/readings": WIDE,
    "/v1/dead-letters": {},
    "/v1/assessments": {},
    "/v1/audit": {},
    "/v1/enrolments": {},
    "/v1/incidents": {},
    "/v1/notifications": {},
    "/v1/handover-notes": {},
}
OTHER_QUERIES: dict[str, dict[str, Any]] = {
    "/v1/anomalies": {"state": "open"},
    "/v1/readings": {"quantity": "ph"},
    "/v1/series/{series_id}/readings": {"to": "2029-01-01T00:00:00Z"},
    "/v1/dead-letters": {"reason": "unit"},
    "/v1/assessments": {"to": "2029-01"},
    "/v1/audit": {"who": "key:a"},
    "/v1/enrolments": {"state": "proposed"},
    "/v1/incidents": {"status": "open"},
    "/v1/notifications": {"member": "wang"},
    "/v1/handover-notes": {"team": "water"},
}
CURSOR_CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


class PagedInstallation(NamedTuple):
    """A database that holds a page and more of everything, and somebody's key to all of it."""

    dsn: str
    store: PostgresStore
    app: FastAPI
    key: ApiKey
    headers: dict[str, str]

    def get(self, path: str, *, app: FastAPI | None = None, headers: Any = None, **params: Any) -> Response:
        """What is answered to a question about the page at a path, one row a page."""
        filled = path.format(series_id=series_of_area(self.store, ABROAD))
        parameters = {"limit": 1, **PAGED_PATHS[path], **params}
        return send_request(
            app or self.app, "GET", filled, headers=headers or self.headers, params=parameters
        )

    def cursor(self, path: str) -> str:
        """Where the second page begins."""
        return str(self.get(path).json()["next"])


@contextmanager
def create_installation(server: PostgresServer | NamedServer) -> Iterator[PagedInstallation]:
    """One installation more."""
    with fresh_database(server, is_empty=True) as dsn:  # migrated here, so that its secret is its own
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        store.commit(Batch(dead_letters=[dead_letter_of(place) for place in AREA_NAMES]))
        propose_devices(store)
        for area_name in AREA_NAMES:
            add_incident(store, area_name)
        accounts = ApiKeyStore(store)
        key, text = api_keys.create_key(accounts, name="all", role=Role.ADMINISTRATOR, created_by="tests")
        line: dict[str, Any] = {"name": "n", "areas": None, "action": "POST /x", "target": "/x"}
        for _ in range(3):
            accounts.note(AuditEntry(who="key:a", address="::1", status=200, **line))
        yield PagedInstallation(dsn, store, gateway_app(store, accounts=None), key, {"X-API-Key": text})
        store.close()


@pytest.fixture(scope="module")
def here(timescale_server: PostgresServer | NamedServer) -> Iterator[PagedInstallation]:
    with create_installation(timescale_server) as made:
        yield made


def is_rejected(answer: Response) -> bool:
    problem = answer.json()
    return answer.status_code == 422 and problem["where"] == "cursor" and "'next'" in problem["detail"]


def test_every_page_with_a_cursor_is_tried_here(here: PagedInstallation) -> None:
    paths = here.app.openapi()["paths"]
    found = {
        path
        for path, operations in paths.items()
        for one in operations.get("get", {}).get("parameters", ())
        if one["name"] == "cursor"
    }
    assert found == set(PAGED_PATHS) == set(OTHER_QUERIES)


@pytest.mark.parametrize("path", PAGED_PATHS)
def test_processes_on_one_database_go_on_with_each_others_cursors(here: PagedInstallation, path: str) -> None:
    whole = here.get(path, limit=100).json()
    assert whole["next"] is None
    found: list[Any] = []
    cursor = None
    while cursor is not None or not found:
        other = PostgresStore.open(here.dsn)  # as after a restart: nothing of the one before is left
        page = here.get(path, app=gateway_app(other, accounts=None), **({"cursor": cursor} if cursor else {}))
        other.close()
        found += page.json()["items"]
        cursor = page.json()["next"]
    assert len(found) > 1
    assert found == whole["items"]


@pytest.mark.parametrize("path", PAGED_PATHS)
def test_a_cursor_that_was_changed_is_refused(here: PagedInstallation, path: str) -> None:
    cursor = here.cursor(path)
    places = [(at, at % 6) for at in range(len(cursor))] + [(len(cursor) - 1, bit) for bit in range(6)]
    for at, bit in places:
        flipped = CURSOR_CHARACTERS[CURSOR_CHARACTERS.index(cursor[at]) ^ 1 << bit]
        changed = f"{cursor[:at]}{flipped}{cursor[at + 1 :]}"
        assert is_rejected(here.get(path, cursor=changed)), (at, bit)
    for changed in (cursor[:-1], cursor[4:], f"{cursor}AAAA", f"{cursor}=", f" {cursor}", f"{cursor}\n", "é"):
        assert is_rejected(here.get(path, cursor=changed)), changed
    assert here.get(path, cursor=cursor).status_code == 200


@pytest.mark.parametrize("path", PAGED_PATHS)
def test_a_cursor_that_was_made_by_hand_is_refused(here: PagedInstallation, path: str) -> None:
    signed = base64.urlsafe_b64decode(here.cursor(path) + "==")
    place = signed[:-SIGNATURE_BYTES]
    filled = path.format(series_id=series_of_area(here.store, ABROAD))
    request = Request({"type": "http", "path": filled, "query_string": b"", "headers": []})
    guessed = CursorSigner(bytes(32), f"key:{here.key.key_id}", request)
    for made in (place, place + bytes(SIGNATURE_BYTES), b"\xff" * len(signed)):
        word = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        assert is_rejected(here.get(path, cursor=word)), made
    assert is_rejected(here.get(path, cursor=guessed.encode(*[1] * (len(place) // 8))))


@pytest.mark.parametrize("path", PAGED_PATHS)
def test_a_cursor_of_another_question_is_refused(here: PagedInstallation, path: str) -> None:
    cursor = here.cursor(path)
    assert is_rejected(here.get(path, cursor=cursor, **OTHER_QUERIES[path]))
    for other in PAGED_PATHS.keys() - {path}:
        assert is_rejected(here.get(other, cursor=cursor)), other
    assert here.get(path, cursor=cursor, limit=2).status_code == 200


@pytest.mark.parametrize("path", PAGED_PATHS)
def test_a_cursor_that_was_stolen_is_refused(here: PagedInstallation, path: str) -> None:
    mine = here.cursor(path)
    alike = api_keys.create_key(
        ApiKeyStore(here.store), name="all", role=Role.ADMINISTRATOR, created_by="tests"
    )[1]
    headers = {"X-API-Key": alike}
    assert is_rejected(here.get(path, headers=headers, cursor=mine))
    theirs = here.get(path, headers=headers).json()["next"]
    assert is_rejected(here.get(path, cursor=theirs))
    assert here.get(path, headers=headers, cursor=theirs).status_code == 200


def test_a_cursor_of_another_installation_is_refused(
    here: PagedInstallation, timescale_server: PostgresServer | NamedServer
) -> None:
    with create_installation(timescale_server) as there:
        ApiKeyStore(there.store).create(here.key)  # the very same principal
        for path in PAGED_PATHS:
            cursor = here.cursor(path)
            assert there.get(path, headers=here.headers).status_code == 200
            assert is_rejected(there.get(path, headers=here.headers, cursor=cursor)), path
