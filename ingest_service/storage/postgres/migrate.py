"""Applies numbered schema migrations, each in one transaction, under a lock; checks the schema version."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import psycopg

from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.postgres import edition, named_queries
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from psycopg import Connection

_FILE_NAME_PATTERN = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


def migration_names() -> list[str]:
    """Return the file names of the migrations of this version, in order."""
    folder = files("ingest_service.storage.postgres").joinpath("migrations")
    return sorted(entry.name for entry in folder.iterdir() if _FILE_NAME_PATTERN.fullmatch(entry.name))


def newest_migration() -> int:
    """Return the number of the newest migration of this version."""
    return _number(migration_names()[-1])


def schema_version(connection: Connection[Any]) -> int:
    """Return the number of the newest migration applied to a database; 0 before the first."""
    if connection.execute(named_queries.QUERIES["migration_table_exists"]).fetchone() != (True,):
        return 0
    (number,) = connection.execute(named_queries.QUERIES["migration_version"]).fetchone() or (0,)
    return int(number)


def check_schema_version(connection: Connection[Any]) -> None:
    """Raise `StoreRefusedError` unless the database has exactly the schema of this version."""
    current_version = schema_version(connection)
    if current_version < newest_migration():
        raise StoreRefusedError(
            f"the database has schema {current_version}, this version wants {newest_migration()}: run "
            "`towntwin db migrate`"
        )
    _raise_if_newer(current_version)


def migrate(dsn: str) -> list[str]:
    """Apply the missing migrations; returns their names.

    Raises
    ------
    StoreUnavailableError, StoreRefusedError
        The latter also if the database is newer than this version.

    """
    with translated_errors(), psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(named_queries.QUERIES["migration_lock"])
        connection.execute(named_queries.QUERIES["migration_table"])
        current_version = schema_version(connection)
        _raise_if_newer(current_version)
        if current_version == 0:
            edition.install_extension_or_compat(connection)
        missing = [name for name in migration_names() if _number(name) > current_version]
        for name in missing:
            with connection.transaction():
                connection.execute(named_queries.read_sql_file(f"migrations/{name}"))
                if _number(name) == 1 and edition.has_timescale(connection):
                    connection.execute(named_queries.read_sql_file("timescale.sql"))
                connection.execute(named_queries.QUERIES["migration_done"], (_number(name), name))
        return missing


def _number(name: str) -> int:
    return int(name[:4])


def _raise_if_newer(current_version: int) -> None:
    if current_version > newest_migration():
        raise StoreRefusedError(
            f"the database has schema {current_version}, this version knows {newest_migration()}: install "
            "a newer towntwin"
        )
