"""Table of the role and scope that each route requires; a route without an entry can't be reached."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.routing import compile_path

from gateway.auth.principal import Role

VIEWER, OPERATOR, ENGINEER, ADMINISTRATOR = Role


class RequiredRight(NamedTuple):
    """The lowest role (None: public) and the scope that a route requires.

    Attributes
    ----------
    requires_all_areas : only principals that are bound to no area
    audits_export : each response is audited as an export
    changes_nothing : read-only, whatever its method, so that no change is audited
    heavy : may take long, and waits in the queue of heavy requests

    """

    role: Role | None
    scope: str = ""
    requires_all_areas: bool = False
    audits_export: bool = False
    changes_nothing: bool = False
    heavy: bool = False


PUBLIC = RequiredRight(None)
CONSOLE = RequiredRight(VIEWER, "console")
DIRECTORY = RequiredRight(VIEWER, "directory")
READINGS = RequiredRight(VIEWER, "readings")
ANOMALIES = RequiredRight(VIEWER, "anomalies")
TWIN = RequiredRight(VIEWER, "twin")
DEAD_LETTERS = RequiredRight(VIEWER, "letters")
SENSORTHINGS = RequiredRight(VIEWER, "sensorthings", changes_nothing=True, heavy=True)
KEY_ADMINISTRATION = RequiredRight(ADMINISTRATOR, "keys")

RIGHTS_BY_ROUTE: dict[str, RequiredRight] = {
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs/{name}": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /login": PUBLIC,
    "POST /login": PUBLIC,
    "POST /logout": PUBLIC,
    "GET /metrics": RequiredRight(VIEWER, "platform", requires_all_areas=True),
    "GET /": CONSOLE,
    "GET /favicon.ico": CONSOLE,
    "GET /_nicegui/{path:path}": CONSOLE,
    "GET /_nicegui_ws/{path:path}": CONSOLE,
    "POST /_nicegui_ws/{path:path}": CONSOLE,
    "GET /v1/me": RequiredRight(VIEWER),
    "GET /v1/health": RequiredRight(VIEWER, "platform"),
    "GET /v1/areas": DIRECTORY,
    "GET /v1/sites": DIRECTORY,
    "GET /v1/sites/{site_id}": DIRECTORY,
    "GET /v1/devices": DIRECTORY,
    "GET /v1/series": DIRECTORY,
    "GET /v1/series/{series_id}": DIRECTORY,
    "GET /v1/quantities": DIRECTORY,
    "GET /v1/latest": READINGS,
    "GET /v1/readings": READINGS,
    "GET /v1/plot": RequiredRight(VIEWER, "readings", heavy=True),
    "GET /v1/series/{series_id}/readings": READINGS,
    "GET /v1/series/{series_id}/buckets": READINGS,
    "GET /v1/anomalies": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}/trace": ANOMALIES,
    "GET /v1/anomalies/{anomaly_id}/feedback": ANOMALIES,
    "POST /v1/anomalies/{anomaly_id}/feedback": RequiredRight(OPERATOR, "feedback"),
    "POST /v1/judge": RequiredRight(VIEWER, "judging", changes_nothing=True, heavy=True),
    "GET /v1/series/{series_id}/limits": RequiredRight(VIEWER, "judging"),
    "POST /v1/series/{series_id}/trial": RequiredRight(ENGINEER, "judging", heavy=True),
    "PUT /v1/series/{series_id}/limits": RequiredRight(ENGINEER, "judging"),
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
    "GET /v1/assessments": RequiredRight(VIEWER, "assessments"),
    "GET /v1/reports/{area}/{month}": RequiredRight(VIEWER, "assessments", audits_export=True, heavy=True),
    "GET /v1/live": RequiredRight(VIEWER, "live"),
    "GET /v1/dead-letters": DEAD_LETTERS,
    "GET /v1/dead-letters/{letter_id}": DEAD_LETTERS,
    "POST /v1/dead-letters/replay": RequiredRight(ENGINEER, "letters"),
    "POST /v1/dead-letters/purge": RequiredRight(ADMINISTRATOR, "letters"),
    "GET /v1/keys": KEY_ADMINISTRATION,
    "POST /v1/keys": KEY_ADMINISTRATION,
    "DELETE /v1/keys/{key_id}": KEY_ADMINISTRATION,
    "GET /v1/audit": RequiredRight(ADMINISTRATOR, "audit"),
}

ALL_SCOPES = sorted({right.scope for right in RIGHTS_BY_ROUTE.values()} - {""})


class MatchedRoute(NamedTuple):
    """The table entry of a request: path template, right, and whether the request is audited as a change."""

    path: str
    right: RequiredRight
    is_audited: bool


def _compile_rights() -> list[tuple[re.Pattern[str], str, str, RequiredRight]]:
    """Compile the table to patterns, sorted from the most to the least literal path."""
    compiled = []
    for entry, right in RIGHTS_BY_ROUTE.items():
        method, path = entry.split(" ")
        compiled.append((compile_path(path)[0], method, path, right))
    return sorted(
        compiled,
        key=lambda compiled_entry: (
            ":path}" in compiled_entry[2],
            compiled_entry[2].count("{"),
            -len(compiled_entry[2]),
        ),
    )


_COMPILED_RIGHTS = _compile_rights()


def match_route(method: str, path: str) -> MatchedRoute | None:
    """Return the table entry of a request, of HEAD that of GET; None where there is none.

    >>> match_route("GET", "/v1/series/7").path, match_route("PUT", "/v1/series/7")
    ('/v1/series/{series_id}', None)
    """
    for pattern, entry_method, template, right in _COMPILED_RIGHTS:
        if entry_method == ("GET" if method == "HEAD" else method) and pattern.match(path):
            is_audited_change = (
                entry_method != "GET"
                and right.role is not None
                and right is not CONSOLE
                and not right.changes_nothing
            )
            return MatchedRoute(template, right, is_audited_change)
    return None


def allowed_methods(path: str) -> list[str]:
    """Return the methods that a path accepts.

    >>> allowed_methods("/v1/dead-letters/purge")
    ['GET', 'POST']
    """
    return sorted({entry_method for pattern, entry_method, _, _ in _COMPILED_RIGHTS if pattern.match(path)})
