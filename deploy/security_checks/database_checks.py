"""Checks a database: the user that a process connects as, authentication, rights, keys and backup."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from deploy.security_checks.file_checks import check_command_lines
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.security import read_database_security
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from deploy.security_checks.finding import SecurityReport
    from ingest_service.storage.postgres.api_keys import ApiKey
    from ingest_service.storage.settings import Settings

SCRAM = "scram-sha-256"
OLD_KEY_S = 2 * 365.25 * 86_400.0


def check_database(
    report: SecurityReport, dsn: str, settings: Settings, *, grafana_user: str | None = None
) -> None:
    """Check one database as the user of ``dsn``; what that user may not read is reported as unchecked."""
    try:
        found = read_database_security(dsn, settings, grafana_user=grafana_user)
    except StoreError as error:
        report.add_unchecked("database", str(error))
        return
    if found.is_unrestricted:
        report.add("database_superuser", found.user_name)
    report.add("database_superuser", *found.unrestricted_members)
    for kind, is_weak in (
        ("database_any_password", found.accepts_any_password),
        ("database_plain", found.is_over_network and not found.is_encrypted),
        ("database_md5", found.password_encryption != SCRAM),
        ("database_row_level_security", not found.has_row_level_security),
        ("no_backup", not found.has_backup),
    ):
        if is_weak:
            report.add(kind, found.address)
    report.add("grafana_rights", *found.grafana_rights)


def check_platform_rows(report: SecurityReport, dsn: str, settings: Settings) -> None:
    """Check the API keys, and the command lines of the processes that report to the database."""
    try:
        store = PostgresStore.open(dsn, settings=settings, wait_s=0.0)
    except StoreError as error:
        report.add_unchecked("keys", str(error))
        return
    try:
        _check_keys(report, ApiKeyStore(store).keys_in_areas(None))
        here = socket.gethostname()
        check_command_lines(report, [one.pid for one in store.processes() if one.host == here and one.pid])
    except StoreError as error:
        report.add_unchecked("keys", str(error))
    finally:
        store.close()


def _check_keys(report: SecurityReport, keys: list[ApiKey]) -> None:
    now_s = time.time()
    for one in keys:
        if one.revoked_s is not None or (one.expires_s or now_s) < now_s:
            continue
        name = f"{one.key_id} ({one.name}, {one.role})"
        if one.expires_s is None and not one.loopback:
            report.add("key_without_end", name)
        if now_s - one.created_s > OLD_KEY_S:
            report.add("key_old", name)
