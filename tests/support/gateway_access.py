"""Creates a gateway app with an in-memory API key store and an administrator's key."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from gateway.app import create_app
from gateway.auth import api_keys
from gateway.auth.principal import Role
from gateway.settings import Settings
from ingest_service.storage.postgres.api_keys import ApiKey, ApiKeyStore, AuditEntry, AuditQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from ingest_service.storage.contract.store import Store


class MemoryApiKeyStore(ApiKeyStore):
    """An in-memory `ApiKeyStore`."""

    def __init__(self) -> None:
        self.keys_by_id: dict[str, ApiKey] = {}
        self.lines: list[AuditEntry] = []
        self.secret = secrets.token_bytes(32)

    def create(self, key: ApiKey) -> None:
        self.keys_by_id[key.key_id] = msgspec.structs.replace(key, created_s=time.time())

    def key(self, key_id: str) -> ApiKey | None:
        return self.keys_by_id.get(key_id)

    def keys_in_areas(self, areas: Sequence[str] | None = None) -> list[ApiKey]:
        return [one for one in self.keys_by_id.values() if areas is None or one.area_id in areas]

    def revoke(self, key_id: str, *, by: str) -> bool:
        key = self.keys_by_id.get(key_id)
        if key is None or key.revoked_s is not None:
            return False
        self.keys_by_id[key_id] = msgspec.structs.replace(key, revoked_s=time.time(), revoked_by=by)
        return True

    def renew_hash(self, key_id: str, *, old: str, new: str) -> None:
        if self.keys_by_id[key_id].hash == old:
            self.keys_by_id[key_id] = msgspec.structs.replace(self.keys_by_id[key_id], hash=new)

    def mark_used(self, key_id: str) -> None:
        self.keys_by_id[key_id] = msgspec.structs.replace(self.keys_by_id[key_id], last_used_s=time.time())

    def note(self, line: AuditEntry) -> None:
        self.lines.append(msgspec.structs.replace(line, audit_id=len(self.lines) + 1))

    def audit(self, query: AuditQuery) -> list[AuditEntry]:
        return list(reversed(self.lines))[: query.limit]


ACCOUNTS = MemoryApiKeyStore()
_, KEY = api_keys.create_key(ACCOUNTS, name="Wang Fang", role=Role.ADMINISTRATOR, created_by="tests")
HEADERS = {"X-API-Key": KEY}
"""Headers with the key of an administrator of all areas."""


GATEWAY_LOGIN = "towntwin_gateway_of_tests"


def gateway_dsn(dsn: str) -> str:
    """Return the URL of a migrated database for a login with the gateway's privileges alone.

    Row-level security restricts it, as it does a deployed gateway; a superuser reads every row.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (GATEWAY_LOGIN,)).fetchone() is None:
            connection.execute(f"CREATE ROLE {GATEWAY_LOGIN} LOGIN IN ROLE towntwin_gateway")
    return make_conninfo(dsn, user=GATEWAY_LOGIN)


def gateway_app(store: Store, **changed: Any) -> FastAPI:
    """Return a gateway app on a store, by default without the console; `HEADERS` give access."""
    settings = Settings(
        heavy_burst_s=3600.0
    )  # many tests share one key on a slow machine: don't throttle them
    arguments: dict[str, Any] = {"console": False, "accounts": ACCOUNTS, "settings": settings} | changed
    return create_app(store, **arguments)
