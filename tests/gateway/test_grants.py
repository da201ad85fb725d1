"""A key never grants more than whoever makes it has: role, area, scope, end, address."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.access import keys
from gateway.access.principal import ROLES, Role
from gateway.settings import Settings
from ingest_service.storage.memory import MemoryStore
from tests.gateway.test_oidc import Provider, provider
from tests.support.access import MemoryAccounts, opened
from tests.support.asgi import ask
from tests.support.kept import DIRECTORY

if TYPE_CHECKING:
    from fastapi import FastAPI
    from httpx import Response

__all__ = ["provider"]

TOWN = "330483-d1"
HOUR_S = 3600.0


@pytest.fixture
def accounts() -> MemoryAccounts:
    return MemoryAccounts()


def gateway(accounts: MemoryAccounts, **settings: Any) -> FastAPI:
    store = MemoryStore()
    store.enrol(DIRECTORY)
    return opened(store, accounts=accounts, settings=Settings(**settings))


def bearer(accounts: MemoryAccounts, **more: Any) -> dict[str, str]:
    given: Any = {"name": "n", "role": Role.ADMINISTRATOR, "created_by": "tests"} | more
    return {"Authorization": f"Bearer {keys.mint(accounts, **given)[1]}"}


def at(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def make(app: FastAPI, headers: dict[str, str], **wanted: Any) -> Response:
    return ask(app, "POST", "/v1/keys", headers=headers, json={"name": "new", "role": "viewer"} | wanted)


def test_a_key_that_ends_makes_none_that_ends_later(accounts: MemoryAccounts) -> None:
    ends_s = time.time() + HOUR_S
    app, boss = gateway(accounts), bearer(accounts, expires_s=ends_s)
    for wanted in ({}, {"expires": None}, {"expires": at(ends_s + 1)}, {"expires": "9999-12-31T00:00:00Z"}):
        answer = make(app, boss, role="administrator", **wanted)
        assert (answer.status_code, answer.json()["where"]) == (403, "expires"), wanted
    made = make(app, boss, role="administrator", expires=at(ends_s - 1))
    assert made.status_code == 200
    child = {"X-API-Key": made.json()["key"]}
    assert make(app, child, expires=at(ends_s - 0.5)).status_code == 403, "nor does its child"
    assert make(app, bearer(accounts)).status_code == 200, "a key without an end makes such keys"


def test_a_key_for_loopback_makes_none_that_is_good_elsewhere(accounts: MemoryAccounts) -> None:
    app = gateway(accounts)
    made = make(app, bearer(accounts, loopback=True)).json()
    theirs: Any = {"headers": {"X-API-Key": made["key"]}}
    assert ask(app, "GET", "/v1/me", **theirs).status_code == 200
    assert ask(app, "GET", "/v1/me", client=("192.0.2.7", 1), **theirs).status_code == 401
    assert accounts.kept[made["key_id"]].loopback


def test_a_key_makes_none_with_another_area_or_scope(accounts: MemoryAccounts) -> None:
    app = gateway(accounts)
    town = bearer(accounts, area_id=TOWN, scopes=["keys", "anomalies"])
    assert make(app, town, area=TOWN, scopes=["anomalies"]).status_code == 200
    for wanted in (
        {"area": TOWN},
        {"area": TOWN, "scopes": []},
        {"area": TOWN, "scopes": ["anomalies", "readings"]},
        {"scopes": ["anomalies"]},
        {"area": "330483", "scopes": ["anomalies"]},
    ):
        assert make(app, town, **wanted).status_code in {403, 404}, wanted


@pytest.mark.parametrize("role", ROLES)
def test_nobody_below_an_administrator_makes_keys(accounts: MemoryAccounts, role: str) -> None:
    status = make(gateway(accounts), bearer(accounts, role=ROLES[role])).status_code
    assert status == (200 if role == "administrator" else 403)


def test_a_token_makes_no_key_that_outlives_it(accounts: MemoryAccounts, provider: Provider) -> None:
    token: Any = {"towntwin_role": ["viewer", "administrator"], "towntwin_area": TOWN}
    boss = {"Authorization": f"Bearer {provider.token(**token)}"}  # good for 300 s
    app = gateway(accounts, oidc_issuer=provider.issuer)
    for wanted in ({}, {"expires": at(time.time() + HOUR_S)}):
        assert make(app, boss, area=TOWN, **wanted).status_code == 403
    assert make(app, boss, area=TOWN, expires=at(time.time() + 60)).status_code == 200
    assert make(app, boss, expires=at(time.time() + 60)).status_code == 403, "the whole, and it is bound"
    longer = gateway(accounts, oidc_issuer=provider.issuer, oidc_key_days=1.0)
    assert make(longer, boss, area=TOWN, expires=at(time.time() + HOUR_S)).status_code == 200
    for wanted in ({}, {"expires": at(time.time() + 48 * HOUR_S)}):
        assert make(longer, boss, area=TOWN, **wanted).status_code == 403
