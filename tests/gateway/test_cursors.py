"""Cursors that nobody gave for this: changed, forged, stolen, of another question or another installation."""

from __future__ import annotations

import base64
import string
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from starlette.requests import Request

from gateway.access import keys
from gateway.access.principal import Role
from gateway.cursors import SIGNATURE_BYTES, Cursors
from ingest_service.storage.accounts import Accounts, ApiKey, AuditLine
from ingest_service.storage.batch import Batch
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from tests.support.access import opened
from tests.support.asgi import ask
from tests.support.services import fresh_database
from tests.support.world import ABROAD, PLACES, enrol, letter, series_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from httpx import Response

    from tests.support.services import NamedServer, PostgresServer

WIDE = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}
PAGED: dict[str, dict[str, str]] = {
    "/v1/anomalies": {},
    "/v1/readings": WIDE,
    "/v1/series/{series_id}/readings": WIDE,
    "/v1/dead-letters": {},
    "/v1/assessments": {},
    "/v1/audit": {},
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "/v1/anomalies": {"state": "open"},
    "/v1/readings": {"quantity": "ph"},
    "/v1/series/{series_id}/readings": {"to": "2029-01-01T00:00:00Z"},
    "/v1/dead-letters": {"reason": "unit"},
    "/v1/assessments": {"to": "2029-01"},
    "/v1/audit": {"who": "key:a"},
}
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


class Installation(NamedTuple):
    """A database that holds a page and more of everything, and somebody's key to all of it."""

    dsn: str
    store: PostgresStore
    app: FastAPI
    key: ApiKey
    headers: dict[str, str]

    def get(self, path: str, *, app: FastAPI | None = None, headers: Any = None, **params: Any) -> Response:
        """What is answered to a question about the page at a path, one row a page."""
        filled = path.format(series_id=series_at(self.store, ABROAD))
        asked = {"limit": 1, **PAGED[path], **params}
        return ask(app or self.app, "GET", filled, headers=headers or self.headers, params=asked)

    def cursor(self, path: str) -> str:
        """Where the second page begins."""
        return str(self.get(path).json()["next"])


@contextmanager
def installed(server: PostgresServer | NamedServer) -> Iterator[Installation]:
    """One installation more."""
    with fresh_database(server) as dsn:
        migrate(dsn)
        store = PostgresStore.open(dsn)
        enrol(store)
        store.commit(Batch(letters=[letter(place) for place in PLACES]))
        accounts = Accounts(store)
        key, text = keys.mint(accounts, name="all", role=Role.ADMINISTRATOR, created_by="tests")
        line: dict[str, Any] = {"name": "n", "areas": None, "action": "POST /x", "target": "/x"}
        for _ in range(3):
            accounts.note(AuditLine(who="key:a", address="::1", status=200, **line))
        yield Installation(dsn, store, opened(store, accounts=None), key, {"X-API-Key": text})
        store.close()


@pytest.fixture(scope="module")
def here(timescale_server: PostgresServer | NamedServer) -> Iterator[Installation]:
    with installed(timescale_server) as made:
        yield made


def refused(answer: Response) -> bool:
    problem = answer.json()
    return answer.status_code == 422 and problem["where"] == "cursor" and "'next'" in problem["detail"]


def test_every_page_with_a_cursor_is_tried_here(here: Installation) -> None:
    paths = here.app.openapi()["paths"]
    found = {
        path
        for path, operations in paths.items()
        for one in operations.get("get", {}).get("parameters", ())
        if one["name"] == "cursor"
    }
    assert found == set(PAGED) == set(OTHERWISE)


@pytest.mark.parametrize("path", PAGED)
def test_processes_on_one_database_go_on_with_each_others_cursors(here: Installation, path: str) -> None:
    whole = here.get(path, limit=100).json()
    assert whole["next"] is None
    found: list[Any] = []
    cursor = None
    while cursor is not None or not found:
        other = PostgresStore.open(here.dsn)  # as after a restart: nothing of the one before is left
        page = here.get(path, app=opened(other, accounts=None), **({"cursor": cursor} if cursor else {}))
        other.close()
        found += page.json()["items"]
        cursor = page.json()["next"]
    assert len(found) > 1
    assert found == whole["items"]


@pytest.mark.parametrize("path", PAGED)
def test_a_cursor_that_was_changed_is_refused(here: Installation, path: str) -> None:
    cursor = here.cursor(path)
    places = [(at, at % 6) for at in range(len(cursor))] + [(len(cursor) - 1, bit) for bit in range(6)]
    for at, bit in places:
        flipped = LETTERS[LETTERS.index(cursor[at]) ^ 1 << bit]
        changed = f"{cursor[:at]}{flipped}{cursor[at + 1 :]}"
        assert refused(here.get(path, cursor=changed)), (at, bit)
    for changed in (cursor[:-1], cursor[4:], f"{cursor}AAAA", f"{cursor}=", f" {cursor}", f"{cursor}\n", "é"):
        assert refused(here.get(path, cursor=changed)), changed
    assert here.get(path, cursor=cursor).status_code == 200


@pytest.mark.parametrize("path", PAGED)
def test_a_cursor_that_was_made_by_hand_is_refused(here: Installation, path: str) -> None:
    signed = base64.urlsafe_b64decode(here.cursor(path) + "==")
    place = signed[:-SIGNATURE_BYTES]
    filled = path.format(series_id=series_at(here.store, ABROAD))
    request = Request({"type": "http", "path": filled, "query_string": b"", "headers": []})
    guessed = Cursors(bytes(32), f"key:{here.key.key_id}", request)
    for made in (place, place + bytes(SIGNATURE_BYTES), b"\xff" * len(signed)):
        word = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        assert refused(here.get(path, cursor=word)), made
    assert refused(here.get(path, cursor=guessed.encode(*[1] * (len(place) // 8))))


@pytest.mark.parametrize("path", PAGED)
def test_a_cursor_of_another_question_is_refused(here: Installation, path: str) -> None:
    cursor = here.cursor(path)
    assert refused(here.get(path, cursor=cursor, **OTHERWISE[path]))
    for other in PAGED.keys() - {path}:
        assert refused(here.get(other, cursor=cursor)), other
    assert here.get(path, cursor=cursor, limit=2).status_code == 200


@pytest.mark.parametrize("path", PAGED)
def test_a_cursor_that_was_stolen_is_refused(here: Installation, path: str) -> None:
    mine = here.cursor(path)
    alike = keys.mint(Accounts(here.store), name="all", role=Role.ADMINISTRATOR, created_by="tests")[1]
    headers = {"X-API-Key": alike}
    assert refused(here.get(path, headers=headers, cursor=mine))
    theirs = here.get(path, headers=headers).json()["next"]
    assert refused(here.get(path, cursor=theirs))
    assert here.get(path, headers=headers, cursor=theirs).status_code == 200


def test_a_cursor_of_another_installation_is_refused(
    here: Installation, timescale_server: PostgresServer | NamedServer
) -> None:
    with installed(timescale_server) as there:
        Accounts(there.store).create(here.key)  # the very same principal
        for path in PAGED:
            cursor = here.cursor(path)
            assert there.get(path, headers=here.headers).status_code == 200
            assert refused(there.get(path, headers=here.headers, cursor=cursor)), path
