"""Serves the first page of settings: who one is, and the keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Path
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from gateway.api.models import key_models
from gateway.api.problems import ProblemError
from gateway.api.routes import duty, keys_and_audit
from gateway.auth.authorization import CONSOLE, KEY_ADMINISTRATION, requires
from gateway.auth.principal import Role
from gateway.console.form_refusals import FORBIDDEN, Refusal, refusal_of
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

KEYS_BY_SESSION = KEY_ADMINISTRATION._replace(by_session=True)
MAX_DAYS = 3650


@router.get("/console/settings")
@requires(CONSOLE)
async def settings_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve the settings."""
    return await _page(visitor, state)


@router.post("/console/settings/keys")
@requires(KEYS_BY_SESSION)
async def create_key(
    visitor: CurrentVisitor,
    state: CurrentState,
    name: Annotated[str, Form(max_length=200)],
    role: Annotated[str, Form(max_length=20)],
    area: Annotated[str, Form(max_length=200)] = "",
    team_id: Annotated[str, Form(max_length=200)] = "",
    member_id: Annotated[str, Form(max_length=64)] = "",
    days: Annotated[int, Form(ge=1, le=MAX_DAYS)] = 365,
) -> Response:
    """Create a key, which the response shows once; nobody gets more rights than its creator has."""
    fields: dict[str, Any] = {
        "name": name,
        "role": role,
        "area": area or None,
        "expires": datetime.now(UTC) + timedelta(days=days),
    }
    fields |= {key: value for key, value in (("team_id", team_id), ("member_id", member_id)) if value}
    try:
        requested = key_models.NewKeyRequest(**fields)
        created = await run_in_threadpool(keys_and_audit.create, visitor.context, requested)
    except (ValidationError, ProblemError) as error:
        if isinstance(error, ProblemError) and error.status == FORBIDDEN:
            refusal = Refusal(visitor.text("refused_grant"), str(error))
        else:
            refusal = refusal_of(error, visitor)
        return await _page(visitor, state, refusal=refusal, status=422)
    return await _page(visitor, state, new_key=created.key)


@router.post("/console/settings/keys/{key_id}/revoke")
@requires(KEYS_BY_SESSION)
async def revoke_key(
    visitor: CurrentVisitor, key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
) -> RedirectResponse:
    """Revoke a key of one's areas."""
    await run_in_threadpool(keys_and_audit.revoke, visitor.context, key_id)
    return RedirectResponse("/console/settings", 303)


def _members(visitor: Visitor) -> list[tuple[str, str]]:
    """Return id and name of the members of teams, to whom a key may belong."""
    context = visitor.context
    if context.unscoped_store.database is None or not visitor.may(duty.DUTY):
        return []
    return [
        (member.member_id, f"{member.name} · {visitor.name(team)}")
        for team in duty.teams(context)
        for member in team.members
    ]


async def _page(
    visitor: Visitor,
    state: PlatformState,
    *,
    new_key: str = "",
    refusal: Refusal | None = None,
    status: int = 200,
) -> HTMLResponse:
    may_manage = visitor.may(KEYS_BY_SESSION)
    principal = visitor.context.principal
    index = state.directory_index
    return page_response(
        visitor,
        "settings.html",
        http_status=status,
        parts=PageParts(visitor, state),
        principal=principal,
        areas=[one for one in index.directory.areas if one.area_id in index.visible_area_ids],
        is_unrestricted=principal.areas is None,
        keys=await run_in_threadpool(keys_and_audit.keys, visitor.context) if may_manage else [],
        may_manage=may_manage,
        members=await run_in_threadpool(_members, visitor) if may_manage else [],
        roles=[one.role_name for one in Role if one <= principal.role],
        new_key=new_key,
        refusal=refusal,
    )
