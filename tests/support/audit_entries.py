"""Reads the audit entries that commands wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditQuery

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore


def audited_actions(store: PostgresStore, action: str) -> list[tuple[str, str]]:
    """Return actions with a prefix and their targets, oldest first; asserts that commands did them."""
    lines = [one for one in ApiKeyStore(store).audit(AuditQuery(limit=1000)) if one.action.startswith(action)]
    assert all(one.who.startswith("command") and one.address == "local" for one in lines)
    assert {one.status for one in lines} <= {200}
    return [(one.action, one.target) for one in reversed(lines)]
