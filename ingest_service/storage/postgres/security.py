"""Reads what a database reveals about its own security: rights of roles, passwords, encryption, backup."""

from __future__ import annotations

import os
import pwd
import secrets
from typing import TYPE_CHECKING

import msgspec
import psycopg
from psycopg import conninfo

from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from ingest_service.storage.settings import Settings


class DatabaseSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a database and the user that a process connects as.

    Attributes
    ----------
    address : host and port, and name of the database; without a credential
    user_name : of the connection
    is_unrestricted : whether the user is a superuser or bypasses row-level security
    is_over_network : whether the connection goes to another machine
    is_encrypted : whether it uses TLS
    accepts_any_password : whether the server accepts a random password over TCP
    password_encryption : how new passwords are stored
    has_backup : whether the log was archived within a day, or was received through a slot
    has_row_level_security : whether it is installed
    unrestricted_members : members of the platform's roles who bypass row-level security
    grafana_rights : rights of Grafana's roles beyond reading views

    """

    address: str
    user_name: str
    is_unrestricted: bool
    is_over_network: bool
    is_encrypted: bool
    accepts_any_password: bool
    password_encryption: str
    has_backup: bool
    has_row_level_security: bool
    unrestricted_members: list[str]
    grafana_rights: list[str]


def read_database_security(dsn: str, settings: Settings, *, grafana_user: str | None) -> DatabaseSecurity:
    """Connect once by ``dsn``, and once with a wrong password.

    Parameters
    ----------
    settings : limit of the time to connect and to answer
    grafana_user : as which Grafana logs in, if it is not a member of ``towntwin_grafana``

    Raises
    ------
    StoreError
        If the database can't be reached, or refuses this user.

    """
    with translated_errors(), psycopg.connect(dsn, connect_timeout=settings.connect_timeout_s) as connection:
        info = connection.info
        session = connection.execute(QUERIES["security_session"]).fetchone()
        members = connection.execute(QUERIES["security_unrestricted_members"]).fetchall()
        rights = connection.execute(
            QUERIES["security_grafana_rights"], {"grafana_user": grafana_user}
        ).fetchall()
        is_socket = info.host.startswith(("/", "@"))
        assert session is not None  # noqa: S101 - the user of the connection has a role
        return DatabaseSecurity(
            address=f"{info.dbname} at {info.host}"
            if is_socket
            else f"{info.host}:{info.port}/{info.dbname}",
            user_name=session[0],
            is_unrestricted=session[1],
            is_over_network=not is_socket and not info.hostaddr.startswith("127.") and info.hostaddr != "::1",
            is_encrypted=connection.pgconn.ssl_in_use,
            accepts_any_password=not is_socket and _accepts_any_password(dsn, settings),
            password_encryption=session[2],
            has_backup=session[3],
            has_row_level_security=session[4],
            unrestricted_members=[name for (name,) in members],
            grafana_rights=[
                f"{role}: {right} {example}" + (f" (+{tables - 1})" if tables > 1 else "")
                for role, right, example, tables in rights
            ],
        )


def is_login_of_another_user(dsn: str) -> bool:
    """Whether only another user of this machine can use an address: a unix socket, without a password.

    >>> is_login_of_another_user("postgresql://towntwin-ingest@/towntwin?host=/run/postgresql")
    True
    >>> is_login_of_another_user("postgresql://towntwin-ingest:password@127.0.0.1/towntwin")
    False
    """
    parts = conninfo.conninfo_to_dict(dsn)
    is_socket = str(parts.get("host", "")).startswith(("/", "@"))
    try:
        own_name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without an account
        own_name = ""
    return is_socket and "password" not in parts and parts.get("user", own_name) != own_name


def _accepts_any_password(dsn: str, settings: Settings) -> bool:
    """Whether a random password is accepted; with a client certificate no password counts."""
    if "sslcert" in conninfo.conninfo_to_dict(dsn):
        return False
    wrong = conninfo.make_conninfo(dsn, password=secrets.token_urlsafe(24))
    try:
        psycopg.connect(wrong, connect_timeout=settings.connect_timeout_s).close()
    except psycopg.OperationalError:
        return False
    return True
