"""Gives commands the addresses of a running `towntwin up` when no database or broker is configured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from deploy.embedded.server_environment import default_folder
from deploy.settings import BROKER_FILE_SETTINGS
from deploy.up import state_file

if TYPE_CHECKING:
    from deploy.settings import CommonSettings

# Not the platform's own processes: a second ingest or service would compete with those of `up`.
COMMANDS_USING_RUNNING_UP = frozenset(
    {
        "dashboards",
        "doctor",
        "edge",
        "enrol",
        "feedback",
        "key",
        "letters",
        "network",
        "probe",
        "report",
        "twin",
    }
)


def with_running_platform(common: CommonSettings, command: str) -> CommonSettings:
    """Return the settings with the addresses of a running `up`, if a command may use them and none is set."""
    if command not in COMMANDS_USING_RUNNING_UP or common.dsn is not None or common.broker is not None:
        return common
    folder = common.folder or default_folder()
    running_state = state_file.find_running_up(folder)
    if running_state is None:
        return common
    print(
        f"towntwin: using the running `towntwin up` (process {running_state.pid}, "
        f"{folder / state_file.STATE_FILE}):"
        f" database {without_password(running_state.dsn)}, broker {without_password(running_state.broker)}",
        file=sys.stderr,
    )
    files = {
        name: Path(path) for name, path in running_state.broker_files.items() if name in BROKER_FILE_SETTINGS
    }
    return msgspec.structs.replace(common, dsn=running_state.dsn, broker=running_state.broker, **files)


GRAFANA_SSLMODES = ("disable", "require", "verify-ca", "verify-full")


def grafana_login(dsn: str) -> dict[str, str]:
    """Return the settings of Grafana's database login that a URL contains; those it lacks are left out.

    The modes `prefer` and `allow` have no counterpart in Grafana, so they are left out, too.

    >>> grafana_login("postgresql://reader@127.0.0.1:5433/town?sslmode=disable")
    {'db_host': '127.0.0.1:5433', 'db_name': 'town', 'db_user': 'reader', 'db_sslmode': 'disable'}
    """
    parts = urlsplit(dsn)
    host = parts.hostname or ""
    sslmode = parse_qs(parts.query).get("sslmode", [""])[-1]
    found = {
        "db_host": f"{f'[{host}]' if ':' in host else host}:{parts.port or 5432}" if host else "",
        "db_name": unquote(parts.path.lstrip("/")),
        "db_user": unquote(parts.username or ""),
        "db_password": unquote(parts.password or ""),
        "db_sslmode": sslmode if sslmode in GRAFANA_SSLMODES else "",
    }
    return {name: value for name, value in found.items() if value}


def grafana_settings_of_platform(common: CommonSettings) -> dict[str, str]:
    """Return the settings of Grafana's database login that follow from a command's database.

    In the embedded database of a running `up` the login is the one that `up` created. Of a configured
    database only address, name and mode follow from its URL, since its user may write; user and password are
    the operator's to give. Empty where the database is not known.
    """
    if common.dsn is None:
        return {}
    state = state_file.find_running_up(common.folder or default_folder())
    if state is not None and state.dsn == common.dsn and state.grafana_dsn is not None:
        return grafana_login(state.grafana_dsn)
    login = grafana_login(common.dsn)
    return {name: login[name] for name in ("db_host", "db_name", "db_sslmode") if name in login}


def without_password(url: str) -> str:
    """Return a URL with its password masked.

    >>> without_password("postgresql://postgres:secret@127.0.0.1:5433/towntwin")
    'postgresql://postgres:***@127.0.0.1:5433/towntwin'
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    names, _, host_and_port = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{names.partition(':')[0]}:***@{host_and_port}").geturl()
