"""Gives commands the addresses of a running `towntwin up` when no database or broker is configured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from deploy.embedded.server_environment import default_folder
from deploy.up import state_file

if TYPE_CHECKING:
    from deploy.settings import CommonSettings

# Not the platform's own processes: a second ingest or service would compete with those of `up`.
COMMANDS_USING_RUNNING_UP = frozenset(
    {"dashboards", "doctor", "edge", "enrol", "feedback", "key", "letters", "report"}
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
    return msgspec.structs.replace(common, dsn=running_state.dsn, broker=running_state.broker)


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
