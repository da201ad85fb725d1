"""Verifying keys: wrong ones cost little and lock nobody out; those of older versions work on."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher

from gateway.access import keys
from gateway.access.principal import Role
from ingest_service.storage.accounts import Accounts
from ingest_service.storage.memory import MemoryStore
from ingest_service.storage.migrate import migrate
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.sql import QUERIES
from tests.support.access import HEADERS, KEY, MemoryAccounts, opened
from tests.support.asgi import ask
from tests.support.kept import DIRECTORY, anomaly
from tests.support.walled import step_behind

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
    store.record([anomaly()])
    yield store
    store.close()


@pytest.fixture
def app(store: PostgresStore) -> FastAPI:
    return opened(store, accounts=None)


def bearing(store: PostgresStore, role: Role, **more: Any) -> dict[str, str]:
    return {
        "Authorization": "Bearer "
        + keys.mint(Accounts(store), name="n", role=role, created_by="tests", **more)[1]
    }


def test_a_key_of_an_older_version_works_on_and_its_argon2_hash_is_replaced(
    store: PostgresStore, app: FastAPI
) -> None:
    headers = bearing(store, Role.VIEWER)
    key_id, secret = headers["Authorization"].split("_")[1:]
    set_hash(store, key_id, PasswordHasher().hash(secret))
    wrong = {"X-API-Key": f"tt_{key_id}_{'0' * 64}"}
    assert ask(app, "GET", "/v1/me", headers=wrong).status_code == 401
    assert hash_of(store, key_id).startswith("$argon2")
    assert ask(app, "GET", "/v1/me", headers=headers).status_code == 200
    assert hash_of(store, key_id) == "sha256$" + hashlib.sha256(secret.encode()).hexdigest()
    again = opened(store, accounts=None)
    assert ask(again, "GET", "/v1/me", headers=headers).status_code == 200
    assert ask(again, "GET", "/v1/me", headers=wrong).status_code == 401


def test_the_hash_of_an_old_key_is_replaced_behind_the_wall(store: PostgresStore) -> None:
    key_id, secret = bearing(store, Role.VIEWER)["Authorization"].split("_")[1:]
    set_hash(store, key_id, "old")
    with store.transaction() as connection:
        step_behind(connection, "*")
        connection.execute(
            QUERIES["key_renew_hash"], {"key_id": key_id, "old": "old", "new": keys.hashed(secret)}
        )
    assert hash_of(store, key_id) == keys.hashed(secret)


def set_hash(store: PostgresStore, key_id: str, text: str) -> None:
    with store.transaction() as connection:
        connection.execute("UPDATE api_key SET hash = %s WHERE key_id = %s", (text, key_id))


def hash_of(store: PostgresStore, key_id: str) -> str:
    key = Accounts(store).key(key_id)
    assert key is not None
    return key.hash


def test_a_known_key_costs_no_query_for_two_seconds() -> None:
    class Counting(MemoryAccounts):
        read = 0

        def within(self, areas: Any = None) -> Any:
            self.read += 1
            return super().within(areas)

    accounts = Counting()
    _, text = keys.mint(accounts, name="n", role=Role.VIEWER, created_by="tests")
    app = opened(MemoryStore(), accounts=accounts)
    for _ in range(20):
        assert ask(app, "GET", "/v1/me", headers={"X-API-Key": text}).status_code == 200
    assert accounts.read == 1


def test_one_client_with_wrong_keys_does_not_lock_out_its_address() -> None:
    app = opened(MemoryStore())
    key_id = KEY.split("_")[1]
    guesses = [f"tt_{number:012x}_{'0' * 64}" for number in range(30)] + [f"tt_{key_id}_{'1' * 64}"] * 30
    told = [ask(app, "GET", "/v1/me", headers={"X-API-Key": one}).status_code for one in guesses]
    assert set(told) == {401, 429}
    assert told[-1] == 429
    assert ask(app, "GET", "/v1/me", headers=HEADERS).status_code == 200
    accounts = MemoryAccounts()
    app = opened(MemoryStore(), accounts=accounts)
    for one in guesses:
        ask(app, "GET", "/v1/me", headers={"X-API-Key": one})
    _, new = keys.mint(accounts, name="new", role=Role.VIEWER, created_by="tests")
    assert ask(app, "GET", "/v1/me", headers={"X-API-Key": new}).status_code == 200, "made a moment ago"
    assert ask(app, "POST", "/login", json={"key": new}).status_code == 200


def test_guesses_of_one_key_from_many_addresses_are_limited() -> None:
    app = opened(MemoryStore())
    guess = {"X-API-Key": f"tt_{'a' * 12}_{'1' * 64}"}
    told = [
        ask(app, "GET", "/v1/me", headers=guess, client=(f"192.0.2.{number}", 1)).status_code
        for number in range(30)
    ]
    assert (told[0], told[-1]) == (401, 429)


def test_many_wrong_secrets_at_once_share_one_reading_of_the_keys() -> None:
    class Slow(MemoryAccounts):
        read = 0

        def within(self, areas: Any = None) -> Any:
            self.read += 1
            time.sleep(0.02)
            return super().within(areas)

    accounts = Slow()
    key, _ = keys.mint(accounts, name="n", role=Role.VIEWER, created_by="tests")

    async def guess(number: int, good: keys.Keys) -> None:
        with pytest.raises(keys.RefusedError, match="not known"):
            await good.verify(f"tt_{key.key_id}_{number:064x}")

    async def all_at_once() -> None:
        good = keys.Keys(accounts)
        await asyncio.gather(*(guess(number, good) for number in range(60)))

    asyncio.run(all_at_once())
    assert accounts.read <= 3


def test_an_unknown_key_id_takes_the_way_of_a_wrong_secret() -> None:
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def noted(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return original(one, other)

    accounts = MemoryAccounts()
    key, _ = keys.mint(accounts, name="n", role=Role.VIEWER, created_by="tests")

    async def tried(text: str) -> list[tuple[int, int]]:
        compared.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hmac, "compare_digest", noted)
            with pytest.raises(keys.RefusedError, match="not known"):
                await keys.Keys(accounts).verify(text)
        return list(compared)

    known, unknown = (asyncio.run(tried(f"tt_{one}_{'0' * 64}")) for one in (key.key_id, "0" * 12))
    assert known == unknown
    assert known
