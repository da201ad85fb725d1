"""Lists what differs between the supported versions of Grafana, and reads a version from its text.

Sources: Grafana's pull requests 77444 (type of the data source, 10.2.3) and 83940 (`KeepLast`, 10.4.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

GrafanaVersion = tuple[int, int, int]
OLDEST_SUPPORTED: GrafanaVersion = (9, 4, 0)
NEWEST_SUPPORTED_MAJOR = 12
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, kw_only=True)
class GrafanaFeatures:
    """What a version of Grafana accepts; alert rules and data source are built for it.

    Attributes
    ----------
    data_source_type : type of the PostgreSQL data source; newer versions accept the older type as an alias
    keeps_last_state : whether a rule may keep its last state on an error (``KeepLast``)

    """

    data_source_type: Literal["postgres", "grafana-postgresql-datasource"]
    keeps_last_state: bool


COMMON_FEATURES = GrafanaFeatures(data_source_type="postgres", keeps_last_state=False)
"""What every supported version accepts."""


def parse_version(text: str) -> GrafanaVersion | None:
    """Return the version in a text such as ``12.3.3`` or ``11.6.0-pre``; None if it has none.

    >>> parse_version("9.4.7-1234pre")
    (9, 4, 7)
    """
    found = _VERSION.match(text.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def features_of(version: GrafanaVersion | None) -> GrafanaFeatures:
    """Return what a version accepts; an unknown version gets what every supported version accepts."""
    if version is None:
        return COMMON_FEATURES
    return GrafanaFeatures(
        data_source_type="postgres" if version < (10, 2, 3) else "grafana-postgresql-datasource",
        keeps_last_state=version >= (10, 4, 1),
    )


def is_supported(version: GrafanaVersion | None) -> bool:
    """Whether the project supports a version: 9.4 to 12."""
    return version is not None and version >= OLDEST_SUPPORTED and version[0] <= NEWEST_SUPPORTED_MAJOR
