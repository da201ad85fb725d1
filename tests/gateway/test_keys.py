"""Tests API keys in use: shown once, rate-limited, expiring, revoked within seconds, and refusal messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.contract.errors import StoreUnavailableError
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.asgi import send_request, statuses_until_limited
from tests.support.gateway_access import HEADERS, KEY, MemoryApiKeyStore, gateway_app
from tests.support.processes import wait_until
from tests.support.store_samples import DIRECTORY, anomaly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

COUNTY, TOWN = "330483", "330483-d1"
FEEDBACK = "/v1/anomalies/1/feedback"


@pytest.fixture
def store(timescale_dsn: str) -> Iterator[PostgresStore]:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    store.enrol(DIRECTORY)
    store.record_anomalies([anomaly()])
    yield store
    store.close()


@pytest.fixture
def app(store: PostgresStore) -> FastAPI:
    return gateway_app(store, accounts=None)


def bearing(store: PostgresStore, role: Role, **more: Any) -> dict[str, str]:
    return {
        "Authorization": "Bearer "
        + api_keys.create_key(ApiKeyStore(store), name="n", role=role, created_by="tests", **more)[1]
    }


def test_an_administrator_makes_keys_within_their_area(store: PostgresStore, app: FastAPI) -> None:
    boss = bearing(store, Role.ADMINISTRATOR, area_id=COUNTY)
    new_key: dict[str, Any] = {
        "name": "Li",
        "role": "operator",
        "area": TOWN,
        "scopes": ["anomalies", "feedback"],
    }
    made = send_request(app, "POST", "/v1/keys", headers=boss, json=new_key).json()
    theirs = {"X-API-Key": made["key"]}
    assert send_request(app, "GET", "/v1/me", headers=theirs).json() == {
        "who": f"key:{made['key_id']}",
        "name": "Li",
        "role": "operator",
        "areas": [TOWN],
        "scopes": ["anomalies", "feedback"],
        "team_id": None,
    }
    assert (
        send_request(app, "POST", FEEDBACK, headers=theirs, json={"verdict": "confirmed"}).status_code == 200
    )
    refused = send_request(app, "GET", "/v1/sites", headers=theirs)
    assert (refused.status_code, "asks for the scope directory" in refused.text) == (403, True)
    listed = send_request(app, "GET", "/v1/keys", headers=boss).json()
    assert {one["area"] for one in listed} == {COUNTY, TOWN}
    assert made["key"].split("_")[2] not in str(listed)
    assert "argon2" not in str(listed)
    assert next(one for one in listed if one["area"] == TOWN)["last_used"] is not None
    too_much: list[tuple[dict[str, Any], int]] = [
        ({"area": None}, 403),
        ({"area": "330400"}, 404),
        ({"area": "nowhere"}, 404),
        ({"scopes": ["x"]}, 422),
        ({"expires": "2020-01-01T00:00:00Z"}, 422),
        ({"role": "king"}, 422),
    ]
    for changed, status in too_much:
        answer = send_request(app, "POST", "/v1/keys", headers=boss, json=new_key | changed)
        assert answer.status_code == status, (changed, answer.text)


def test_a_revoked_key_is_good_no_longer_within_seconds(store: PostgresStore, app: FastAPI) -> None:
    boss, theirs = bearing(store, Role.ADMINISTRATOR), bearing(store, Role.VIEWER, area_id=TOWN)
    assert send_request(app, "GET", "/v1/me", headers=theirs).status_code == 200
    key_id = theirs["Authorization"].split("_")[1]
    assert send_request(app, "DELETE", f"/v1/keys/{key_id}", headers=boss).json()["revoked"] is not None
    wait_until(
        lambda: "was revoked at" in send_request(app, "GET", "/v1/me", headers=theirs).text,
        within_s=30,
        what="the key is refused",
    )
    assert send_request(app, "DELETE", f"/v1/keys/{key_id}", headers=boss).status_code == 409
    assert send_request(app, "DELETE", "/v1/keys/000000000000", headers=boss).status_code == 404


def test_an_expired_key_is_reported_as_expired(store: PostgresStore, app: FastAPI) -> None:
    theirs = bearing(store, Role.VIEWER, expires_s=time.time() - 1)
    answer = send_request(app, "GET", "/v1/me", headers=theirs)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert "expired at" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer tt_000000000000_" + "0" * 64},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": KEY.upper()},
        {"X-API-Key": KEY + "'; DROP TABLE api_key; --"},
        {"X-API-Key": "x" * 20_000},
        {"X-API-Key": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."},
        {"Cookie": "towntwin_session=" + "y" * 500},
        {"Cookie": "towntwin_session=tts_" + "A" * 100},
        {"Cookie": "=;;;towntwin_session"},
    ],
)
def test_a_request_without_a_valid_key_gets_the_reason(headers: dict[str, str]) -> None:
    app = gateway_app(MemoryStore())
    answer = send_request(app, "GET", "/v1/sites", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    for value in headers.values():
        assert len(value) < 10 or value not in answer.text


def test_a_cookie_reads_and_never_writes() -> None:
    app = gateway_app(MemoryStore())
    entered = send_request(app, "POST", "/login", json={"key": KEY})
    cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    assert send_request(app, "GET", "/v1/sites", headers=cookie).status_code == 200
    answer = send_request(app, "POST", "/v1/dead-letters/purge", headers=cookie, json={"reason": "unit"})
    assert (answer.status_code, "a cookie only reads" in answer.text) == (401, True)
    flags = entered.headers["set-cookie"].lower()
    assert all(flag in flags for flag in ("httponly", "samesite=strict", "path=/"))
    assert send_request(app, "POST", "/login", json={"key": "tt_x"}).status_code == 401


def test_a_key_for_loopback_is_good_there_alone() -> None:
    accounts = MemoryApiKeyStore()
    _, text = api_keys.create_key(accounts, name="up", role=Role.VIEWER, created_by="up", loopback=True)
    app = gateway_app(MemoryStore(), accounts=accounts)
    near = {"X-API-Key": text}
    for address in ("127.0.0.1", "::1"):
        assert send_request(app, "GET", "/v1/me", headers=near, client=(address, 1)).status_code == 200
    for address, more in (
        ("192.0.2.7", {}),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}),
        ("127.0.0.1.example.com", {}),
    ):
        answer = send_request(app, "GET", "/v1/me", headers=near | more, client=(address, 1))
        assert (answer.status_code, "on this machine alone" in answer.text) == (401, True), address


def test_everything_that_is_changed_is_written_down(store: PostgresStore, app: FastAPI) -> None:
    boss = bearing(store, Role.ADMINISTRATOR)
    theirs = bearing(store, Role.OPERATOR, area_id=TOWN)
    key_id = theirs["Authorization"].split("_")[1]
    send_request(
        app, "POST", FEEDBACK, headers=theirs, json={"verdict": "confirmed"}, client=("192.0.2.7", 1)
    )
    send_request(app, "GET", "/v1/sites", headers=theirs)
    send_request(app, "POST", "/v1/anomalies/99/feedback", headers=theirs, json={"verdict": "confirmed"})
    send_request(app, "POST", "/v1/dead-letters/purge", headers=boss, json={"reason": "unit"})
    lines = send_request(app, "GET", "/v1/audit", headers=boss).json()["items"]
    assert [(one["who"], one["areas"], one["target"], one["status"]) for one in lines[1:]] == [
        (f"key:{key_id}", [TOWN], "/v1/anomalies/99/feedback", 404),
        (f"key:{key_id}", [TOWN], FEEDBACK, 200),
    ]
    assert (lines[0]["action"], lines[0]["detail"]) == ("POST /v1/dead-letters/purge", {"letters": 0})
    assert (lines[2]["address"], lines[2]["detail"]) == ("192.0.2.7", {"verdict": "confirmed"})
    town = bearing(store, Role.ADMINISTRATOR, area_id=TOWN)
    assert len(send_request(app, "GET", "/v1/audit", headers=town).json()["items"]) == 2
    (page,) = (send_request(app, "GET", "/v1/audit", headers=boss, params={"limit": 1}).json(),)
    rest = send_request(app, "GET", "/v1/audit", headers=boss, params={"cursor": page["next"]}).json()[
        "items"
    ]
    assert rest == lines[1:]
    assert store.feedback(anomaly_id=1)[0].who == f"n (key:{key_id})"


def test_everything_that_is_exported_is_written_down(store: PostgresStore, app: FastAPI) -> None:
    boss, theirs = bearing(store, Role.ADMINISTRATOR), bearing(store, Role.VIEWER, area_id=TOWN)
    before = len(send_request(app, "GET", "/v1/audit", headers=boss).json()["items"])
    for quiet in ("/v1/anomalies", "/v1/readings?limit=5", "/v1/latest"):
        assert send_request(app, "GET", quiet, headers=theirs).status_code == 200
    exports = [
        "/v1/latest?format=csv",
        "/v1/readings?format=csv",
        "/v1/anomalies?format=parquet",
        "/v1/anomalies?limit=5&format=ndjson",
    ]
    for path in exports:
        assert send_request(app, "GET", path, headers=theirs).status_code == 200
    assert (
        send_request(app, "GET", "/v1/readings", headers=theirs | {"Accept": "text/csv"}).status_code == 200
    )
    lines = send_request(app, "GET", "/v1/audit", headers=boss).json()["items"]
    new = lines[: len(lines) - before][::-1]
    assert [one["target"] for one in new] == [*exports, "/v1/readings"]
    assert {(one["status"], *one["areas"]) for one in new} == {(200, TOWN)}


def test_what_cannot_be_written_down_is_not_answered() -> None:
    class Away(MemoryApiKeyStore):
        def note(self, line: Any) -> None:
            raise StoreUnavailableError(f"the secret host, of {line.who}")

    accounts = Away()
    _, text = api_keys.create_key(accounts, name="n", role=Role.ADMINISTRATOR, created_by="tests")
    with capture_logs() as logs:
        app = gateway_app(MemoryStore(), accounts=accounts)
        answer = send_request(
            app, "POST", "/v1/dead-letters/purge", headers={"X-API-Key": text}, json={"reason": "u"}
        )
    assert (answer.status_code, "secret" in answer.text) == (503, False)
    assert any(
        one["event"] == "audit_not_written" and one["target"] == "/v1/dead-letters/purge" for one in logs
    )


def test_no_secret_is_logged_or_returned(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    app = gateway_app(MemoryStore())
    secret = KEY.split("_")[2]
    with capture_logs() as logs, caplog.at_level("DEBUG"):
        answers = [
            send_request(app, "GET", "/v1/sites", headers=HEADERS),
            send_request(app, "GET", "/v1/nothing", headers=HEADERS),
            send_request(app, "POST", "/v1/dead-letters/purge", headers=HEADERS, json={}),
            send_request(app, "GET", "/v1/sites", headers={"X-API-Key": KEY.replace("tt_", "tt-")}),
            send_request(app, "POST", "/login", json={"key": KEY[:-2]}),
            send_request(app, "POST", "/login", json={"key": [KEY]}),
        ]
    exposed = str(logs) + caplog.text + "".join(capfd.readouterr()) + "".join(one.text for one in answers)
    assert secret[:-2] not in exposed


def test_too_many_requests_wait_and_too_many_failed_logins_are_refused() -> None:
    app = gateway_app(MemoryStore(), settings=Settings(requests_per_s=0.01, requests_burst=3))
    answers = [send_request(app, "GET", "/v1/me", headers=HEADERS) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    wrong = {"X-API-Key": "tt_x"}
    strange = statuses_until_limited(
        lambda _: send_request(app, "GET", "/v1/me", headers=wrong, client=("192.0.2.7", 1)).status_code
    )
    assert set(strange) == {401, 429}
    other = send_request(app, "GET", "/v1/me", headers=wrong, client=("192.0.2.8", 1))
    assert other.status_code == 401


def test_cors_is_closed_unless_an_origin_is_named() -> None:
    origin = {"Origin": "https://maps.example.org"}
    preflight = origin | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    shut = gateway_app(MemoryStore())
    assert (
        "access-control-allow-origin"
        not in send_request(shut, "GET", "/v1/me", headers=HEADERS | origin).headers
    )
    assert send_request(shut, "OPTIONS", "/v1/me", headers=preflight).status_code == 405
    app = gateway_app(MemoryStore(), settings=Settings(cors_origins=["https://maps.example.org"]))
    for headers in (HEADERS | origin, preflight):
        method = "OPTIONS" if headers is preflight else "GET"
        answer = send_request(app, method, "/v1/me", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin["Origin"])
    exposed = send_request(app, "GET", "/v1/me", headers=HEADERS | origin).headers[
        "access-control-expose-headers"
    ]
    assert {"Towntwin-Reproduce", "Link", "ETag"} <= set(exposed.split(", ")), "a page may read them"
    foreign = send_request(
        app, "OPTIONS", "/v1/me", headers=preflight | {"Origin": "https://evil.example.org"}
    )
    assert "access-control-allow-origin" not in foreign.headers
