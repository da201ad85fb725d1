"""Writes an audit line for each change that a command makes to the database."""

from __future__ import annotations

import getpass
import shlex
from typing import TYPE_CHECKING

from ingest_service.storage.accounts import Accounts, AuditLine

if TYPE_CHECKING:
    import argparse

    from ingest_service.storage.postgres import PostgresStore

DONE = 200
LONGEST = 2000  # characters of a target that the audit keeps


def note(store: PostgresStore, action: str, target: str) -> None:
    """Write that a command did something. Raises as the store does."""
    line = AuditLine(
        who=who(),
        name=who(),
        areas=None,
        action=action,
        target=target[:LONGEST],
        address="local",
        status=DONE,
    )
    Accounts(store).note(line)


def who() -> str:
    """Whoever runs this process."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):
        return "command"


def told(args: argparse.Namespace, *names: str) -> str:
    """Those arguments that were given, of the named ones alone: what is not named may be a secret.

    >>> from argparse import Namespace
    >>> told(Namespace(ids=[3, 4], reason="no unit", all=False, dsn="secret"), "ids", "reason", "all")
    "ids=3,4 reason='no unit'"
    """
    given = ((name.rstrip("_"), getattr(args, name)) for name in names)
    return " ".join(
        name if value is True else f"{name}={_written(value)}"
        for name, value in given
        if value not in (None, "", []) and value is not False
    )


def _written(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return shlex.quote(",".join(map(str, parts)))
