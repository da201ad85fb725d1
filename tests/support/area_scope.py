"""Sets the area scope of row-level security on a connection, for tests that send their own SQL."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.row_level_security import signed_scope

if TYPE_CHECKING:
    from psycopg import Connection


def scope_key_of(connection: Connection[Any]) -> bytes:
    """Return the scope key of a session; register one where it has none (a rollback would undo that)."""
    key: bytes | None = getattr(connection, "scope_key", None)
    if key is None:
        key = secrets.token_bytes(32)
        connection.execute(QUERIES["register_scope_key"], (key,))
        connection.scope_key = key  # type: ignore[attr-defined]
    return key


def set_area_role(connection: Connection[Any], area: str, name: str = "set_area_role") -> None:
    """Restrict the session to an area's rows until the end of the transaction."""
    connection.execute(QUERIES[name], signed_scope(area, scope_key_of(connection)))
