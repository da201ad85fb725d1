"""The right that each route requires, as one table; a route without an entry can't be reached."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.routing import compile_path

from gateway.access.principal import Role

VIEWER, OPERATOR, ENGINEER, ADMINISTRATOR = Role


class Right(NamedTuple):
    """A role at least (None: anybody), and a scope.

    ``whole``: bound to no area; ``exports``: is audited; ``reads``: changes nothing, whatever its method;
    ``heavy``: may take long, and waits for a turn among the heavy ones.
    """

    role: Role | None
    scope: str = ""
    whole: bool = False
    exports: bool = False
    reads: bool = False
    heavy: bool = False


ANYBODY = Right(None)
CONSOLE = Right(VIEWER, "console")
DIRECTORY = Right(VIEWER, "directory")
READINGS = Right(VIEWER, "readings")
ANOMALIES = Right(VIEWER, "anomalies")
TWIN = Right(VIEWER, "twin")
LETTERS = Right(VIEWER, "letters")
SENSORTHINGS = Right(VIEWER, "sensorthings", reads=True, heavy=True)
KEYS = Right(ADMINISTRATOR, "keys")

RIGHTS: dict[str, Right] = {
    "GET /healthz": ANYBODY,
    "GET /readyz": ANYBODY,
    "GET /docs": ANYBODY,
    "GET /docs/{name}": ANYBODY,
    "GET /openapi.json": ANYBODY,
    "GET /login": ANYBODY,
    "POST /login": ANYBODY,
    "POST /logout": ANYBODY,
    "GET /metrics": Right(VIEWER, "platform", whole=True),
    "GET /": CONSOLE,
    "GET /favicon.ico": CONSOLE,
    "GET /_nicegui/{path:path}": CONSOLE,
    "GET /_nicegui_ws/{path:path}": CONSOLE,
    "POST /_nicegui_ws/{path:path}": CONSOLE,
    "GET /v1/me": Right(VIEWER),
    "GET /v1/health": Right(VIEWER, "platform"),
    "GET /v1/areas": DIRECTORY,
    "GET /v1/sites": DIRECTORY,
    "GET /v1/sites/{site_id}": DIRECTORY,
    "GET /v1/devices": DIRECTORY,
    "GET /v1/series": DIRECTORY,
    "GET /v1/series/{series_id}": DIRECTORY,
    "GET /v1/quantities": DIRECTORY,
    "GET /v1/latest": READINGS,
    "GET /v1/readings": READINGS,
    "GET /v1/plot": Right(VIEWER, "readings", heavy=True),
    "GET /v1/series/{series_id}/readings": READINGS,
    "GET /v1/series/{series_id}/buckets": READINGS,
    "GET /v1/anomalies": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}/trace": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}/feedback": ANOMALIES,
    "POST /v1/anomalies/{anomaly_id}/feedback": Right(OPERATOR, "feedback"),
    "POST /v1/judge": Right(VIEWER, "judging", reads=True, heavy=True),
    "GET /v1/series/{series_id}/limits": Right(VIEWER, "judging"),
    "POST /v1/series/{series_id}/trial": Right(ENGINEER, "judging", heavy=True),
    "PUT /v1/series/{series_id}/limits": Right(ENGINEER, "judging"),
    "GET /v1/twin/state": TWIN,
    "GET /v1/twin/network": TWIN,
    "GET /v1/ngsi-ld/entities": READINGS,
    "GET /sta/v1.1": SENSORTHINGS,
    "GET /sta/v1.1/": SENSORTHINGS,
    "GET /sta/v1.1/{path:path}": SENSORTHINGS,
    "POST /sta/v1.1/{path:path}": SENSORTHINGS,
    "PUT /sta/v1.1/{path:path}": SENSORTHINGS,
    "PATCH /sta/v1.1/{path:path}": SENSORTHINGS,
    "DELETE /sta/v1.1/{path:path}": SENSORTHINGS,
    "GET /v1/assessments": Right(VIEWER, "assessments"),
    "GET /v1/reports/{area}/{month}": Right(VIEWER, "assessments", exports=True, heavy=True),
    "GET /v1/live": Right(VIEWER, "live"),
    "GET /v1/dead-letters": LETTERS,
    "GET /v1/dead-letters/{letter_id}": LETTERS,
    "POST /v1/dead-letters/replay": Right(ENGINEER, "letters"),
    "POST /v1/dead-letters/purge": Right(ADMINISTRATOR, "letters"),
    "GET /v1/keys": KEYS,
    "POST /v1/keys": KEYS,
    "DELETE /v1/keys/{key_id}": KEYS,
    "GET /v1/audit": Right(ADMINISTRATOR, "audit"),
}

SCOPES = sorted({right.scope for right in RIGHTS.values()} - {""})


class Found(NamedTuple):
    """The entry of a request."""

    path: str
    right: Right
    audited: bool


def _compiled() -> list[tuple[re.Pattern[str], str, str, Right]]:
    """The table, the most literal paths first."""
    rows = []
    for entry, right in RIGHTS.items():
        method, path = entry.split(" ")
        rows.append((compile_path(path)[0], method, path, right))
    return sorted(rows, key=lambda row: (":path}" in row[2], row[2].count("{"), -len(row[2])))


_TABLE = _compiled()


def find(method: str, path: str) -> Found | None:
    """The entry of a request, HEAD as GET; None where there is none.

    >>> find("GET", "/v1/series/7").path, find("PUT", "/v1/series/7")
    ('/v1/series/{series_id}', None)
    """
    for pattern, of_method, template, right in _TABLE:
        if of_method == ("GET" if method == "HEAD" else method) and pattern.match(path):
            changes = (
                of_method != "GET" and right.role is not None and right is not CONSOLE and not right.reads
            )
            return Found(template, right, changes)
    return None


def methods(path: str) -> list[str]:
    """What a path can be asked with.

    >>> methods("/v1/dead-letters/purge")
    ['GET', 'POST']
    """
    return sorted({of_method for pattern, of_method, _, _ in _TABLE if pattern.match(path)})
