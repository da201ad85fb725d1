"""Tests that a new key never has more rights than its creator: role, area, scope, expiry, address."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth import api_keys
from gateway.auth.principal import ROLES_BY_NAME, Role
from gateway.settings import Settings
from ingest_service.storage.memory.store import MemoryStore
from tests.gateway.test_oidc import provider
from tests.support.asgi import send_request
from tests.support.gateway_access import MemoryApiKeyStore, gateway_app
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

    from tests.support.openid_provider import OidcProvider

__all__ = ["provider"]

TOWN = "330483-d1"
HOUR_S = 3600.0


@pytest.fixture
def accounts() -> MemoryApiKeyStore:
    return MemoryApiKeyStore()


def gateway(accounts: MemoryApiKeyStore, **settings: Any) -> FastAPI:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    return gateway_app(store, accounts=accounts, settings=Settings(**settings))


def headers_of_new_key(accounts: MemoryApiKeyStore, **more: Any) -> dict[str, str]:
    given: Any = {"name": "n", "role": Role.ADMINISTRATOR, "created_by": "tests"} | more
    return {"Authorization": f"Bearer {api_keys.create_key(accounts, **given)[1]}"}


def at(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def post_key(app: FastAPI, headers: dict[str, str], **new_key: Any) -> Response:
    return send_request(
        app, "POST", "/v1/keys", headers=headers, json={"name": "new", "role": "viewer"} | new_key
    )


def test_a_key_that_ends_makes_none_that_ends_later(accounts: MemoryApiKeyStore) -> None:
    ends_s = time.time() + HOUR_S
    app, boss = gateway(accounts), headers_of_new_key(accounts, expires_s=ends_s)
    for new_key in ({}, {"expires": None}, {"expires": at(ends_s + 1)}, {"expires": "9999-12-31T00:00:00Z"}):
        answer = post_key(app, boss, role="administrator", **new_key)
        assert (answer.status_code, answer.json()["where"]) == (403, "expires"), new_key
    made = post_key(app, boss, role="administrator", expires=at(ends_s - 1))
    assert made.status_code == 200
    child = {"X-API-Key": made.json()["key"]}
    assert post_key(app, child, expires=at(ends_s - 0.5)).status_code == 403, "nor does its child"
    assert post_key(app, headers_of_new_key(accounts)).status_code == 200, (
        "a key without an end makes such keys"
    )


def test_a_key_for_loopback_makes_none_that_is_good_elsewhere(accounts: MemoryApiKeyStore) -> None:
    app = gateway(accounts)
    made = post_key(app, headers_of_new_key(accounts, loopback=True)).json()
    theirs: Any = {"headers": {"X-API-Key": made["key"]}}
    assert send_request(app, "GET", "/v1/me", **theirs).status_code == 200
    assert send_request(app, "GET", "/v1/me", client=("192.0.2.7", 1), **theirs).status_code == 401
    assert accounts.keys_by_id[made["key_id"]].loopback


def test_a_key_makes_none_with_another_area_or_scope(accounts: MemoryApiKeyStore) -> None:
    app = gateway(accounts)
    town = headers_of_new_key(accounts, area_id=TOWN, scopes=["keys", "anomalies"])
    assert post_key(app, town, area=TOWN, scopes=["anomalies"]).status_code == 200
    for new_key in (
        {"area": TOWN},
        {"area": TOWN, "scopes": []},
        {"area": TOWN, "scopes": ["anomalies", "readings"]},
        {"scopes": ["anomalies"]},
        {"area": "330483", "scopes": ["anomalies"]},
    ):
        assert post_key(app, town, **new_key).status_code in {403, 404}, new_key


@pytest.mark.parametrize("role", ROLES_BY_NAME)
def test_no_role_below_administrator_makes_keys(accounts: MemoryApiKeyStore, role: str) -> None:
    status = post_key(gateway(accounts), headers_of_new_key(accounts, role=ROLES_BY_NAME[role])).status_code
    assert status == (200 if role == "administrator" else 403)


def test_a_token_makes_no_key_that_outlives_it(accounts: MemoryApiKeyStore, provider: OidcProvider) -> None:
    token: Any = {"towntwin_role": ["viewer", "administrator"], "towntwin_area": TOWN}
    boss = {"Authorization": f"Bearer {provider.token(**token)}"}  # good for 300 s
    app = gateway(accounts, oidc_issuer=provider.issuer)
    for new_key in ({}, {"expires": at(time.time() + HOUR_S)}):
        assert post_key(app, boss, area=TOWN, **new_key).status_code == 403
    assert post_key(app, boss, area=TOWN, expires=at(time.time() + 60)).status_code == 200
    assert post_key(app, boss, expires=at(time.time() + 60)).status_code == 403, "the whole, and it is bound"
    longer = gateway(accounts, oidc_issuer=provider.issuer, oidc_key_days=1.0)
    assert post_key(longer, boss, area=TOWN, expires=at(time.time() + HOUR_S)).status_code == 200
    for new_key in ({}, {"expires": at(time.time() + 48 * HOUR_S)}):
        assert post_key(longer, boss, area=TOWN, **new_key).status_code == 403
