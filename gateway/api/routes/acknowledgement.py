"""Pages by which a person acknowledges an incident over a signed link, without signing in.

GET shows the incident and a button; POST acknowledges. Messengers and mail scanners follow links on their
own, and do not press buttons.
"""

from __future__ import annotations

import time
from html import escape
from typing import Annotated, Final

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from analytics.incidents import incident_text
from analytics.incidents.state_machine import IllegalTransitionError, apply_event
from analytics.notification.acknowledgement import MAX_LENGTH, AcknowledgementToken, verify_token
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import PUBLIC, requires
from gateway.auth.login import LOGIN_STYLE, csp_hash
from ingest_service.storage.contract.incidents import Incident, IncidentUpdate, RevisionConflictError
from ingest_service.storage.contract.store import Database
from ingest_service.storage.postgres.incidents import Incidents
from ingest_service.storage.postgres.notifications import NotificationStore

router = APIRouter(include_in_schema=False)

MAX_ATTEMPTS = 5  # against concurrent changes of the incident
ROLE: Final = "operator"
INVALID_LINK = "链接无效或已过期 · This link is not valid, or has expired"
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {csp_hash(LOGIN_STYLE)}; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is the right to acknowledge
    "X-Robots-Tag": "noindex",
}
TokenPath = Annotated[str, Path(max_length=MAX_LENGTH)]


@router.get("/acknowledge/{token}")
@requires(PUBLIC)
def acknowledgement_page(context: CurrentContext, token: TokenPath) -> HTMLResponse:
    """Show the incident of a link with the button that acknowledges it; changes nothing."""
    found = _incident_of(context, token)
    if found is None:
        return _page(INVALID_LINK, status=404)
    incident, _ = found
    if incident.acknowledged_s is not None or incident.is_over:
        return _incident_page(context, incident, f"已由{incident.acknowledged_by or '—'}确认 · acknowledged")
    return _incident_page(context, incident, button="确认 · Acknowledge")


@router.post("/acknowledge/{token}")
@requires(PUBLIC)
def acknowledge(context: CurrentContext, token: TokenPath) -> HTMLResponse:
    """Acknowledge the incident of a link, in the name of the reader that the link was sent to."""
    found = _incident_of(context, token)
    if found is None:
        return _page(INVALID_LINK, status=404)
    incident, link = found
    incidents = Incidents(_database(context))
    for _ in range(MAX_ATTEMPTS):
        now_s = time.time()
        try:
            changed, entries = apply_event(
                incident, "acknowledge", who=_who(link), role=ROLE, at_s=now_s, why="signed link"
            )
            incidents.apply([IncidentUpdate(incident=changed, entries=entries)])
        except IllegalTransitionError:
            return _incident_page(context, incident, "无需确认 · there is nothing to acknowledge any more")
        except RevisionConflictError:
            newest = incidents.incident(incident.incident_id)
            if newest is None:
                break
            incident = newest
            continue
        return _incident_page(context, incident, "已确认，谢谢 · acknowledged, thank you")
    return _page("请稍后再试 · Try again in a moment", status=503)


def _database(context: RequestContext) -> Database:
    """Return the database without restriction by area: the signature of the link is the right."""
    database = context.all_areas_store.database
    assert database is not None, "a gateway that serves people has a database"  # noqa: S101
    return database


def _incident_of(context: RequestContext, text: str) -> tuple[Incident, AcknowledgementToken] | None:
    if context.unscoped_store.database is None:
        return None
    database = _database(context)
    secret = NotificationStore(database).acknowledgement_secret()
    token = verify_token(text, secret, now_s=time.time())
    incident = None if token is None else Incidents(database).incident(token.incident_id)
    return None if token is None or incident is None else (incident, token)


def _who(link: AcknowledgementToken) -> str:
    kind, _, reader_id = link.reader.partition("/")
    if kind == "member":
        return f"{reader_id} (link)"
    return f"{reader_id} (link in a group)"


def _incident_page(
    context: RequestContext, incident: Incident, message: str = "", *, button: str = ""
) -> HTMLResponse:
    """Return the page of an incident, with a link to its page in the console, for those who are signed in."""
    sites = {one.site_id: one for one in context.directories.full_directory().sites}
    site = sites.get(incident.main_site_id)
    title_en, title_zh = incident_text.title(incident, None if site is None else (site.en, site.zh))
    pressed = f"<button>{escape(button)}</button>" if button else ""
    opened = f'<a href="../console/incidents/{incident.incident_id}">打开事件 · open the incident</a>'
    heading = f"#{incident.incident_id} {title_zh} · {title_en}"
    return _page(heading, message, more=f"{pressed}<p>{opened}</p>")


def _page(heading: str, message: str = "", *, more: str = "", status: int = 200) -> HTMLResponse:
    content = (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>towntwin</title>'
        f'<link rel="icon" href="data:,"><style>{LOGIN_STYLE}</style></head><body>'
        f'<form method="post"><h1>{escape(heading)}</h1><p>{escape(message)}</p>{more}</form>'
        "</body></html>"
    )
    return HTMLResponse(content, status, HEADERS)
