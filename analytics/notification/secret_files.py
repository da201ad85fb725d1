"""Reads the secrets of channels (addresses of robots, signing keys) from files or environment variables.

A channel names its secrets; their content never enters the database, a log or a response. A channel reads
the secrets of its own area alone: whoever administers one area cannot send through the robots of another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from analytics.notification.errors import NotificationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_BYTES: Final = 10_000
VARIABLE_PREFIX: Final = "TOWNTWIN_SECRET"
NAME_PATTERN: Final = "^[a-z0-9][a-z0-9_-]{0,62}$"
_NAME = re.compile(NAME_PATTERN)
_AREA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class SecretReader:
    """Secrets in ``<folder>/<area>/<name>``, else in ``TOWNTWIN_SECRET_<AREA>_<NAME>``.

    In the name of the variable, letters are upper case and hyphens are underscores.
    """

    def __init__(self, folder: Path | None, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def read(self, area_id: str, name: str) -> str:
        """Return a secret without the white space around it. Raises `NotificationError` if there is none.

        It is read each time, so that a changed file holds at once.
        """
        if not _NAME.fullmatch(name) or not _AREA.fullmatch(area_id):
            raise NotificationError(f"secret {name!r}: a name has a-z, 0-9, _ and -")
        variable = f"{VARIABLE_PREFIX}_{area_id}_{name}".upper().replace("-", "_")
        if self._folder is not None:
            path = self._folder / area_id / name
            try:
                if path.stat().st_size <= MAX_BYTES:
                    return path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                pass
        if variable in self._environment:
            return self._environment[variable].strip()
        where = f"{self._folder}/{area_id}/{name}" if self._folder is not None else "no folder is set"
        raise NotificationError(f"secret {name!r} of area {area_id}: no file ({where}) and no {variable}")
