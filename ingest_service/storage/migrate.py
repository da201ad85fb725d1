"""Applies numbered schema migrations, each in one transaction, under a lock; checks the schema version."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import psycopg

from ingest_service.storage import edition, sql
from ingest_service.storage.classify import classified
from ingest_service.storage.errors import StoreRefused

if TYPE_CHECKING:
    from psycopg import Connection

_FILE = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


def names() -> list[str]:
    """Return the file names of the migrations of this version, in order."""
    folder = files("ingest_service.storage").joinpath("migrations")
    return sorted(entry.name for entry in folder.iterdir() if _FILE.fullmatch(entry.name))


def newest() -> int:
    """Return the number of the newest migration of this version."""
    return _number(names()[-1])


def version(connection: Connection[Any]) -> int:
    """Return the number of the newest migration applied to a database; 0 before the first."""
    if connection.execute(sql.QUERIES["migration_table_exists"]).fetchone() != (True,):
        return 0
    (number,) = connection.execute(sql.QUERIES["migration_version"]).fetchone() or (0,)
    return int(number)


def check(connection: Connection[Any]) -> None:
    """Raise `StoreRefused` unless the database has exactly the schema of this version."""
    found = version(connection)
    if found < newest():
        raise StoreRefused(
            f"the database has schema {found}, this version wants {newest()}: run `towntwin db migrate`"
        )
    _refuse_newer(found)


def migrate(dsn: str) -> list[str]:
    """Apply the missing migrations; returns their names.

    Raises
    ------
    StoreUnavailable, StoreRefused
        The latter also if the database is newer than this version.

    """
    with classified(), psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.QUERIES["migration_lock"])
        connection.execute(sql.QUERIES["migration_table"])
        found = version(connection)
        _refuse_newer(found)
        if found == 0:
            edition.prepare(connection)
        missing = [name for name in names() if _number(name) > found]
        for name in missing:
            with connection.transaction():
                connection.execute(sql.text(f"migrations/{name}"))
                if _number(name) == 1 and edition.has_timescale(connection):
                    connection.execute(sql.text("timescale.sql"))
                connection.execute(sql.QUERIES["migration_done"], (_number(name), name))
        return missing


def _number(name: str) -> int:
    return int(name[:4])


def _refuse_newer(found: int) -> None:
    if found > newest():
        raise StoreRefused(
            f"the database has schema {found}, this version knows {newest()}: install a newer towntwin"
        )
