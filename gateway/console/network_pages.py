"""Serves the page of the networks: export, import by files with a dry run first, and what can't be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from analytics.service import network_checks
from gateway.api import network_imports
from gateway.api.problems import ProblemError
from gateway.api.routes import network_files
from gateway.auth.authorization import TWIN, requires
from gateway.console.form_refusals import Refusal, refusal_of
from gateway.console.incident_pages import local_form_time
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from gateway.network_exchange import NetworkImportOptions

if TYPE_CHECKING:
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from gateway.network_exchange import NetworkAnswer

router = APIRouter(include_in_schema=False)

ADDRESS = "/console/settings/networks"
IMPORT = network_files.IMPORT._replace(by_session=True)
MAX_SHOWN = 200  # of findings, changes and problems: a browser draws more rows slowly
FORMATS = ("geojson", "csv", "gpkg", "swmm", "gmns")


@router.get(ADDRESS)
@requires(TWIN)
async def networks_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve links for the export, what can't be right, and for administrators the form of an import."""
    return await _page(visitor, state)


@router.post(ADDRESS)
@requires(IMPORT)
async def import_files(
    visitor: CurrentVisitor,
    state: CurrentState,
    files: list[UploadFile],
    area: Annotated[str, Form(max_length=200)] = "",
    network: Annotated[Literal["", "river", "road"], Form()] = "",
    speed_m_s: Annotated[str, Form(max_length=20)] = "",
    id_prefix: Annotated[str, Form(max_length=50)] = "",
    valid_from: Annotated[str, Form(max_length=40)] = "",
    replace: Annotated[str, Form(max_length=1)] = "",
    confirmed: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Read files: without ``confirmed`` only to show what would change; with its digest, to change it."""
    contents = [(one.filename or "", await one.read()) for one in files]
    try:
        options = NetworkImportOptions(
            area_id=area or None,
            network=network or None,
            speed_m_s=_speed(speed_m_s),
            id_prefix=id_prefix or None,
            valid_from_s=_time_s(valid_from, visitor),
            replaces=bool(replace),
        )
        answer = await run_in_threadpool(
            network_imports.import_networks,
            visitor.context,
            contents,
            options,
            is_dry_run=not confirmed,
            expected=confirmed or None,
        )
    except ProblemError as error:
        return await _page(visitor, state, refusal=refusal_of(error, visitor), status=422)
    is_done = bool(confirmed) and network_imports.change_digest(answer) == confirmed
    return await _page(visitor, state, answer=answer, is_done=is_done)


async def _page(
    visitor: Visitor,
    state: PlatformState,
    *,
    answer: NetworkAnswer | None = None,
    is_done: bool = False,
    refusal: Refusal | None = None,
    status: int = 200,
) -> HTMLResponse:
    require(visitor, TWIN)
    index = state.directory_index
    findings = await run_in_threadpool(network_checks.check_networks, index.directory)
    return page_response(
        visitor,
        "settings_networks.html",
        http_status=status,
        parts=PageParts(visitor, state),
        refusal=refusal,
        notice=visitor.text("networks_done") if is_done else "",
        may_import=visitor.may(IMPORT) and visitor.context.unscoped_store.database is not None,
        areas=[(one.area_id, visitor.name(one)) for one in index.directory.areas],
        formats=FORMATS,
        n_nodes=len(index.directory.nodes),
        n_links=len(index.directory.links),
        findings=[_finding_row(one, visitor) for one in findings[:MAX_SHOWN]],
        n_findings=len(findings),
        max_shown=MAX_SHOWN,
        outcome=None if answer is None else _outcome(answer, visitor, is_done=is_done),
    )


def _outcome(answer: NetworkAnswer, visitor: Visitor, *, is_done: bool) -> dict[str, Any]:
    """Return what a reading of files found, for the template."""
    return {
        "problems": answer.problems[:MAX_SHOWN],
        "notes": answer.notes[:MAX_SHOWN],
        "changes": answer.differences[:MAX_SHOWN],
        "n_changes": len(answer.differences),
        "findings": [_finding_row(one, visitor) for one in answer.findings[:MAX_SHOWN]],
        "digest": "" if is_done or not answer.differences else network_imports.change_digest(answer),
        "is_done": is_done,
    }


def _finding_row(one: network_checks.NetworkFinding, visitor: Visitor) -> dict[str, Any]:
    return {
        "check": visitor.text(f"check_{one.check}"),
        "feature": visitor.text(f"feature_{one.feature}"),
        "id": one.feature_id,
        "name": visitor.name(one),
        "place": f"{one.lon:.5f}, {one.lat:.5f}",
        "explanation": one.explanation_zh if visitor.language == "zh" else one.explanation_en,
    }


def _speed(text: str) -> float | None:
    """Return a speed [m/s]. Raises `ProblemError` 422 for what is none."""
    if not text:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1e-3 <= speed <= 60:
        raise ProblemError(422, "speed_m_s: lies between 0.001 and 60", where="speed_m_s")
    return speed


def _time_s(text: str, visitor: Visitor) -> float | None:
    time = local_form_time(text, visitor)
    return None if time is None else time.timestamp()
