"""Tests the verification of API keys: wrong keys are cheap and lock nobody out; older hashes stay valid."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher

from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.area_scope import set_area_role
from tests.support.asgi import send_request, statuses_until_limited
from tests.support.gateway_access import HEADERS, KEY, MemoryApiKeyStore, gateway_app
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


def test_a_key_of_an_older_version_works_on_and_its_argon2_hash_is_replaced(
    store: PostgresStore, app: FastAPI
) -> None:
    headers = bearing(store, Role.VIEWER)
    key_id, secret = headers["Authorization"].split("_")[1:]
    set_hash(store, key_id, PasswordHasher().hash(secret))
    wrong = {"X-API-Key": f"tt_{key_id}_{'0' * 64}"}
    assert send_request(app, "GET", "/v1/me", headers=wrong).status_code == 401
    assert hash_of(store, key_id).startswith("$argon2")
    assert send_request(app, "GET", "/v1/me", headers=headers).status_code == 200
    assert hash_of(store, key_id) == "sha256$" + hashlib.sha256(secret.encode()).hexdigest()
    again = gateway_app(store, accounts=None)
    assert send_request(again, "GET", "/v1/me", headers=headers).status_code == 200
    assert send_request(again, "GET", "/v1/me", headers=wrong).status_code == 401


def test_the_hash_of_an_old_key_is_replaced_behind_row_level_security(store: PostgresStore) -> None:
    key_id, secret = bearing(store, Role.VIEWER)["Authorization"].split("_")[1:]
    set_hash(store, key_id, "old")
    with store.transaction() as connection:
        set_area_role(connection, "*")
        connection.execute(
            QUERIES["key_renew_hash"], {"key_id": key_id, "old": "old", "new": api_keys.hash_secret(secret)}
        )
    assert hash_of(store, key_id) == api_keys.hash_secret(secret)


def set_hash(store: PostgresStore, key_id: str, text: str) -> None:
    with store.transaction() as connection:
        connection.execute("UPDATE api_key SET hash = %s WHERE key_id = %s", (text, key_id))


def hash_of(store: PostgresStore, key_id: str) -> str:
    key = ApiKeyStore(store).key(key_id)
    assert key is not None
    return key.hash


def test_a_known_key_costs_no_query_for_two_seconds() -> None:
    class Counting(MemoryApiKeyStore):
        read = 0

        def keys_in_areas(self, areas: Any = None) -> Any:
            self.read += 1
            return super().keys_in_areas(areas)

    accounts = Counting()
    _, text = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="tests")
    app = gateway_app(MemoryStore(), accounts=accounts)
    began_s = time.monotonic()
    for _ in range(20):
        assert send_request(app, "GET", "/v1/me", headers={"X-API-Key": text}).status_code == 200
    assert accounts.read <= 1 + (time.monotonic() - began_s) / 2, "once, and again after two seconds"


def test_a_load_from_a_frozen_database_holds_back_no_request_for_minutes() -> None:
    """A load that took 30 s was followed by a pause of 300 s, in which no request with a key was answered."""
    accounts = MemoryApiKeyStore()
    key, _ = api_keys.create_key(accounts, name="a", role=Role.VIEWER, created_by="tests")

    async def scenario() -> str:
        cache = api_keys.ApiKeyCache(accounts)
        cache._refresh_started_s, cache._refresh_duration_s = time.monotonic() - 31.0, 30.0
        return (await asyncio.wait_for(cache.by_id(key.key_id), 5.0)).key_id

    assert asyncio.run(scenario()) == key.key_id


def test_one_client_with_wrong_keys_does_not_lock_out_its_address() -> None:
    key_id = KEY.split("_")[1]
    accounts = MemoryApiKeyStore()
    app, other_app = gateway_app(MemoryStore()), gateway_app(MemoryStore(), accounts=accounts)
    for one in (app, other_app):
        for guess in (f"tt_{'0' * 12}_{'0' * 64}", f"tt_{key_id}_{'1' * 64}"):
            assert_guesses_are_limited(one, guess, addresses=1)
    assert send_request(app, "GET", "/v1/me", headers=HEADERS).status_code == 200
    _, new = api_keys.create_key(accounts, name="new", role=Role.VIEWER, created_by="tests")
    assert send_request(other_app, "GET", "/v1/me", headers={"X-API-Key": new}).status_code == 200, (
        "made a moment ago"
    )
    assert send_request(other_app, "POST", "/login", json={"key": new}).status_code == 200


def assert_guesses_are_limited(app: FastAPI, guess: str, *, addresses: int) -> None:
    def send(number: int) -> int:
        client = (f"192.0.2.{number % addresses}", 1)
        return send_request(app, "GET", "/v1/me", headers={"X-API-Key": guess}, client=client).status_code

    assert statuses_until_limited(send)[-1] == 429


def test_guesses_of_one_key_from_many_addresses_are_limited() -> None:
    app = gateway_app(MemoryStore())
    assert_guesses_are_limited(app, f"tt_{'a' * 12}_{'1' * 64}", addresses=250)


def test_many_wrong_secrets_at_once_share_one_reading_of_the_keys() -> None:
    class Slow(MemoryApiKeyStore):
        read = 0

        def keys_in_areas(self, areas: Any = None) -> Any:
            self.read += 1
            time.sleep(0.02)
            return super().keys_in_areas(areas)

    accounts = Slow()
    key, _ = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="tests")

    async def guess(number: int, good: api_keys.ApiKeyCache) -> None:
        with pytest.raises(api_keys.AuthenticationError, match="not known"):
            await good.verify(f"tt_{key.key_id}_{number:064x}")

    async def all_at_once() -> None:
        good = api_keys.ApiKeyCache(accounts)
        await asyncio.gather(*(guess(number, good) for number in range(60)))

    asyncio.run(all_at_once())
    assert accounts.read <= 3


def test_an_unknown_key_id_takes_the_way_of_a_wrong_secret() -> None:
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def noted(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return original(one, other)

    accounts = MemoryApiKeyStore()
    key, _ = api_keys.create_key(accounts, name="n", role=Role.VIEWER, created_by="tests")

    async def tried(text: str) -> list[tuple[int, int]]:
        compared.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hmac, "compare_digest", noted)
            with pytest.raises(api_keys.AuthenticationError, match="not known"):
                await api_keys.ApiKeyCache(accounts).verify(text)
        return list(compared)

    known, unknown = (asyncio.run(tried(f"tt_{one}_{'0' * 64}")) for one in (key.key_id, "0" * 12))
    assert known == unknown
    assert known
