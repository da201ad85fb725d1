"""Serves the page of the shift: who is on duty, notes, suppressed alarms, alarm performance."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from analytics.incidents import incident_text
from analytics.quality.detector_names import DETECTORS
from gateway.api.models import duty_models as models
from gateway.api.routes import duty, incident_reports
from gateway.auth.authorization import CONSOLE, requires
from gateway.console.duty_pages import refused, saved
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.postgres.duty import DutyStore

if TYPE_CHECKING:
    from gateway.api.models.incident_models import IncidentAnomalyResponse, PerformanceResponse
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/shift"
NOTE = duty.DUTY._replace(by_session=True)
NOTES_SHOWN = 20
PERFORMANCE_DAYS = 7
OPERATORS = 2
"""People on duty at a time, until another number is chosen: the default of the service's setting."""
SUPPRESSED_HOURS, SUPPRESSED_SHOWN = 24, 50
Operators = Annotated[int, Query(ge=1, le=1000)]


@router.get(ADDRESS)
@requires(CONSOLE)
async def shift_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    operators: Operators = OPERATORS,
    done: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """Serve who is on duty, notes, suppressed alarms, and the alarm performance of the last days."""
    notice = visitor.text("saved") if done == "saved" else ""
    return await _shift_page(visitor, state, operators=operators, notice=notice)


@router.post(f"{ADDRESS}/notes")
@requires(NOTE)
async def add_note(
    visitor: CurrentVisitor,
    state: CurrentState,
    team_id: Annotated[str, Form(max_length=64)] = "",
    text: Annotated[str, Form(max_length=10_000)] = "",
    incidents: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Leave a note to the next shift of a team."""

    def save() -> None:
        numbers = [one for one in re.split(r"[\s,;#，、；]+", incidents) if one]
        values = {"team_id": team_id, "text": text.strip(), "incidents": numbers}
        duty.add_handover_note(visitor.context, models.NoteRequest.model_validate(values))

    refusal = await refused(visitor, save)
    if refusal is None:
        return saved(ADDRESS)
    return await _shift_page(visitor, state, refusal=refusal, text=text)


async def _shift_page(
    visitor: Visitor,
    state: PlatformState,
    *,
    operators: int = OPERATORS,
    notice: str = "",
    refusal: Refusal | None = None,
    text: str = "",
) -> HTMLResponse:
    require(visitor, duty.DUTY)
    context = visitor.context

    def read() -> dict[str, Any]:
        now = datetime.now(UTC)
        suppressed_from = now - timedelta(hours=SUPPRESSED_HOURS)
        return {
            "suppressed": incident_reports.suppressed(
                context, from_=suppressed_from, to=now, limit=SUPPRESSED_SHOWN
            )
            if visitor.may(incident_reports.SUPPRESSED)
            else [],
            "teams": {one.team_id: one for one in duty.teams(context)},
            "on_duty": [one for one in duty.duty(context) if one.on_duty],
            "notes": DutyStore(context.scoped_database).handover_notes(
                duty.area_ids(context, None), limit=NOTES_SHOWN
            ),
            "performance": incident_reports.performance(
                context, from_=now - timedelta(days=PERFORMANCE_DAYS), to=now, operators=operators
            ),
        }

    found = await run_in_threadpool(read)
    return page_response(
        visitor,
        "shift.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        notice=notice,
        refusal=refusal,
        text=text,
        days=PERFORMANCE_DAYS,
        hours=SUPPRESSED_HOURS,
        shown=SUPPRESSED_SHOWN,
        suppressed_rows=[_suppressed_row(one, visitor, state) for one in found["suppressed"]],
        performance_rows=_performance_rows(found["performance"], visitor),
        top=[_top_row(one, visitor, state) for one in found["performance"].top],
        **found,
    )


def _performance_rows(found: PerformanceResponse, visitor: Visitor) -> list[tuple[str, str, str]]:
    """Return the name, the value and the target of each figure; no target is an empty text."""

    def share(value: float) -> str:
        return f"{100 * value:.1f}%"

    def times(pair: tuple[float | None, float | None]) -> str:
        return " / ".join("–" if one is None else visitor.duration(one) for one in pair)

    measured = [
        ("per_operator_day", f"{found.per_operator_day:.1f}", "≤ 150"),
        ("per_operator_hour", f"{found.per_operator_hour:.1f}", "≤ 6"),
        ("peak_10min", f"{found.peak_10min:.1f}", "≤ 10"),
        ("periods_above_10", share(found.periods_above_10), "< 1%"),
        ("flood_share", share(found.flood_share), "< 1%"),
        ("chattering_alarms", str(found.chattering), "0"),
        ("stale_alarms", str(found.stale), "< 5"),
        ("standing_alarms", str(found.standing), "< 5"),
        ("top_share", share(found.top_share), "≤ 5%"),
        ("time_to_acknowledge", times(found.acknowledge_s), ""),
        ("time_to_close", times(found.close_s), ""),
    ]
    shares = [
        (visitor.text("priority_share", one), share(found.priorities.get(str(one), 0.0)), "")
        for one in range(1, 5)
    ]
    return [(visitor.text(key), value, target) for key, value, target in measured] + shares


def _suppressed_row(one: IncidentAnomalyResponse, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    site = state.directory_index.sites.get(one.site_id)
    return {
        "anomaly_id": one.anomaly_id,
        "start_s": one.start.timestamp(),
        "site": one.site_id if site is None else visitor.site_name(site, one.site_id),
        "detector": DETECTORS.get(one.detector, (one.detector,) * 2)[visitor.language == "zh"],
        "reason": one.reason_zh if visitor.language == "zh" else one.reason_en,
    }


def _top_row(one: Any, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    site = state.directory_index.sites.get(one.site_id)
    return {
        "site": one.site_id if site is None else visitor.site_name(site, one.site_id),
        "cause": incident_text.cause_name(one.cause)[visitor.language == "zh"],
        "annunciations": one.annunciations,
        "share": f"{100 * one.share:.1f}%",
    }
