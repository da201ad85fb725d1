"""Stores the gateway's API keys, its audit log and its signing secret in PostgreSQL."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.postgres import read_rows, row_level_security
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.store import Database


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, as a hash of its secret.

    ``area_id`` None means all areas; empty ``scopes`` mean every right of the role; ``team_id`` is the team
    of a team member.
    """

    key_id: str
    name: str
    hash: str
    role: str
    scopes: list[str] = []
    area_id: str | None = None
    loopback: bool = False
    created_s: float = 0.0
    created_by: str = ""
    expires_s: float | None = None
    revoked_s: float | None = None
    revoked_by: str | None = None
    last_used_s: float | None = None
    team_id: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Audit entry: principal, its area scope (``areas``, None: all), action, target, address, HTTP status."""

    audit_id: int = 0
    at_s: float = 0.0
    who: str
    name: str
    areas: list[str] | None
    action: str
    target: str
    address: str
    status: int
    detail: dict[str, Any] = {}


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of audit entries, newest first; ``areas`` must contain the area scope of the principal."""

    areas: list[str] | None = None
    who: str | None = None
    before_id: int | None = None
    limit: int = 100


class ApiKeyStore:
    """API keys, audit log and signing secret in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database.for_area(row_level_security.ALL_AREAS)

    @cached_property
    def secret(self) -> bytes:
        """Signing secret shared by all gateway processes on this database, 32 bytes; do not disclose it."""
        with self._database.transaction() as connection:
            secret_row: tuple[bytes] | None = connection.execute(QUERIES["gateway_secret"]).fetchone()
        if secret_row is None:
            raise StoreRefusedError("the table gateway_secret is empty: it was filled by migration 0017")
        return secret_row[0]

    def create(self, key: ApiKey) -> None:
        """Insert a key. Raises `StoreRefusedError` if its area is not enrolled."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["key_insert"], msgspec.structs.asdict(key))

    def key(self, key_id: str) -> ApiKey | None:
        """Return a key by id; None if there is no such key."""
        return next(iter(self._keys(key_id, None)), None)

    def keys_in_areas(self, areas: Sequence[str] | None = None) -> list[ApiKey]:
        """Return the keys of some areas, newest first; of all areas if ``areas`` is None."""
        return self._keys(None, areas)

    def revoke(self, key_id: str, *, by: str) -> bool:
        """Revoke a key; returns False if it was not valid."""
        with self._database.transaction() as connection:
            update = connection.execute(QUERIES["key_revoke"], {"key_id": key_id, "by": by})
            return bool(update.rowcount == 1)

    def renew_hash(self, key_id: str, *, old: str, new: str) -> None:
        """Replace the hash of a key's secret, if it is still ``old``."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["key_renew_hash"], {"key_id": key_id, "old": old, "new": new})

    def mark_used(self, key_id: str) -> None:
        """Update the last use of a key, to the minute."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["key_used"], (key_id,))

    def note(self, line: AuditEntry) -> None:
        """Insert an audit entry."""
        row = msgspec.structs.asdict(line) | {"detail": Jsonb(line.detail)}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["audit_insert"], row)

    def audit(self, query: AuditQuery) -> list[AuditEntry]:
        """Return audit entries, newest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "audit", msgspec.structs.asdict(query), AuditEntry)

    def _keys(self, key_id: str | None, areas: Sequence[str] | None) -> list[ApiKey]:
        parameters = {"key_id": key_id, "areas": None if areas is None else list(areas)}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "keys", parameters, ApiKey)
