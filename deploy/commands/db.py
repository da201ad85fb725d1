"""Migrate the database's schema to this version: `towntwin db migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.command_resources import open_store
from deploy.settings import CommonSettings, SettingsError

if TYPE_CHECKING:
    import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", choices=["migrate"])


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Apply the missing migrations and print their names."""
    from deploy import command_audit
    from ingest_service.storage.postgres.migrate import migrate

    if common.dsn is None:
        raise SettingsError(
            "TOWNTWIN_DSN names no database: give --dsn postgresql://user:password@host:port/name"
        )
    applied = migrate(common.dsn)
    if applied:
        store = open_store(common, args)
        try:
            command_audit.record_command(store, "db migrate", " ".join(applied))
        finally:
            store.close()
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the schema is up to date")
    return 0
