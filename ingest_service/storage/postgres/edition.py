"""Detects the database edition (TimescaleDB Community or Apache, or PostgreSQL); installs TimescaleDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from ingest_service.storage.postgres import named_queries

if TYPE_CHECKING:
    from psycopg import Connection

LICENCES = {"timescale": "Community", "apache": "Apache"}
MIN_POSTGRES_VERSION = 15


def install_extension_or_compat(connection: Connection[Any]) -> None:
    """Install the TimescaleDB extension if it is available, or else substitutes for its functions."""
    if has_timescale(connection):
        return
    if connection.execute(named_queries.QUERIES["timescale_available"]).fetchone():
        try:
            with connection.transaction():
                connection.execute(named_queries.QUERIES["timescale_create"])
        except psycopg.errors.Error:  # not preloaded, or no right to create it: use plain PostgreSQL
            pass
        else:
            return
    connection.execute(named_queries.read_sql_file("compat.sql"))


def has_timescale(connection: Connection[Any]) -> bool:
    """Whether the TimescaleDB extension is installed in this database."""
    return connection.execute(named_queries.QUERIES["timescale_version"]).fetchone() is not None


def edition_name(server_version: int, timescale_version: str | None, licence: str | None) -> str:
    """Return the name and version of the edition.

    Hosted editions that hide the licence setting count as Apache, whose features every edition has.

    >>> edition_name(170005, "2.19.3", "apache"), edition_name(180001, None, None)
    ('TimescaleDB Apache 2.19.3', 'PostgreSQL 18.1')
    """
    if timescale_version is None:
        return f"PostgreSQL {server_version // 10_000}.{server_version % 10_000}"
    return f"TimescaleDB {LICENCES.get(licence or '', 'Apache')} {timescale_version}"
