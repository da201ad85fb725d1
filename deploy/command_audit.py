"""Writes an audit line for each change that a command makes to the database."""

from __future__ import annotations

import getpass
import shlex
from typing import TYPE_CHECKING

from ingest_service.storage.postgres.api_keys import ApiKeyStore, AuditEntry

if TYPE_CHECKING:
    import argparse

    from ingest_service.storage.postgres.store import PostgresStore

STATUS_OK = 200
MAX_TARGET_CHARS = 2000  # characters of a target that the audit keeps


def record_command(store: PostgresStore, action: str, target: str) -> None:
    """Write an audit entry for a command's action. Raises as the store does."""
    line = AuditEntry(
        who=command_principal(),
        name=command_principal(),
        areas=None,
        action=action,
        target=target[:MAX_TARGET_CHARS],
        address="local",
        status=STATUS_OK,
    )
    ApiKeyStore(store).note(line)


def command_principal() -> str:
    """Return the audit name of the operating-system user that runs this process."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):
        return "command"


def command_arguments(args: argparse.Namespace, *names: str) -> str:
    """Return the given arguments among the named ones as text; arguments not named may be secret.

    >>> from argparse import Namespace
    >>> args = Namespace(ids=[3, 4], reason="no unit", all=False, dsn="secret")
    >>> command_arguments(args, "ids", "reason", "all")
    "ids=3,4 reason='no unit'"
    """
    named_values = ((name.rstrip("_"), getattr(args, name)) for name in names)
    return " ".join(
        name if value is True else f"{name}={_quoted(value)}"
        for name, value in named_values
        if value not in (None, "", []) and value is not False
    )


def _quoted(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return shlex.quote(",".join(map(str, parts)))
