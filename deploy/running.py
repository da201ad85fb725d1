"""Commands that find a running `towntwin up` by themselves where neither database nor broker is named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from deploy.embedded.folder import default_folder
from deploy.up import state

if TYPE_CHECKING:
    from deploy.settings import Common

# Not the platform's own processes: a second ingest or service would compete with those of `up`.
FINDING = frozenset({"dashboards", "doctor", "edge", "enrol", "feedback", "key", "letters", "report"})


def completed(common: Common, command: str) -> Common:
    """The settings with the addresses of a running `up`, where a command may use them and none is named."""
    if command not in FINDING or common.dsn is not None or common.broker is not None:
        return common
    folder = common.folder or default_folder()
    found = state.find(folder)
    if found is None:
        return common
    print(
        f"towntwin: using the running `towntwin up` (process {found.pid}, {folder / state.NAME}):"
        f" database {without_password(found.dsn)}, broker {without_password(found.broker)}",
        file=sys.stderr,
    )
    return msgspec.structs.replace(common, dsn=found.dsn, broker=found.broker)


def without_password(url: str) -> str:
    """An address without its password.

    >>> without_password("postgresql://postgres:secret@127.0.0.1:5433/towntwin")
    'postgresql://postgres:***@127.0.0.1:5433/towntwin'
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    names, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{names.partition(':')[0]}:***@{place}").geturl()
