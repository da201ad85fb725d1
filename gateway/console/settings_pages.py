"""Serves the page of settings: who one is, teams and who is on duty, channels of notification, keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Path, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from gateway.api.models import key_models
from gateway.api.models.duty_models import ID_PATTERN
from gateway.api.problems import ProblemError
from gateway.api.routes import duty, keys_and_audit, notifications
from gateway.auth.authorization import CONSOLE, KEY_ADMINISTRATION, requires
from gateway.auth.principal import Role
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor

router = APIRouter(include_in_schema=False)

KEYS_BY_SESSION = KEY_ADMINISTRATION._replace(by_session=True)
TEST_BY_SESSION = notifications.SUPERVISION._replace(by_session=True)
MAX_DAYS = 3650


@router.get("/console/settings")
@requires(CONSOLE)
async def settings_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the settings."""
    return await _page(visitor, state, notice=visitor.text("test_is_sent") if done == "test" else "")


@router.post("/console/settings/keys")
@requires(KEYS_BY_SESSION)
async def create_key(
    visitor: CurrentVisitor,
    state: CurrentState,
    name: Annotated[str, Form(max_length=200)],
    role: Annotated[str, Form(max_length=20)],
    area: Annotated[str, Form(max_length=200)] = "",
    team_id: Annotated[str, Form(max_length=200)] = "",
    days: Annotated[int, Form(ge=1, le=MAX_DAYS)] = 365,
) -> Response:
    """Create a key, which the response shows once; nobody gets more rights than its creator has."""
    fields: dict[str, Any] = {
        "name": name,
        "role": role,
        "area": area or None,
        "expires": datetime.now(UTC) + timedelta(days=days),
    }
    if team_id:
        fields["team_id"] = team_id
    try:
        requested = key_models.NewKeyRequest(**fields)
        created = await run_in_threadpool(keys_and_audit.create, visitor.context, requested)
    except ValidationError:
        return await _page(visitor, state, refusal=visitor.text("refused_missing"), status=422)
    except ProblemError as error:
        if error.status != 403:
            raise
        return await _page(visitor, state, refusal=visitor.text("refused_grant"), status=403)
    return await _page(visitor, state, new_key=created.key)


@router.post("/console/settings/keys/{key_id}/revoke")
@requires(KEYS_BY_SESSION)
async def revoke_key(
    visitor: CurrentVisitor, key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
) -> RedirectResponse:
    """Revoke a key of one's areas."""
    await run_in_threadpool(keys_and_audit.revoke, visitor.context, key_id)
    return RedirectResponse("/console/settings", 303)


@router.post("/console/settings/channels/{channel_id}/test")
@requires(TEST_BY_SESSION)
async def send_test_message(
    visitor: CurrentVisitor, state: CurrentState, channel_id: Annotated[str, Path(pattern=ID_PATTERN)]
) -> Response:
    """Send a test message over a channel."""
    try:
        await run_in_threadpool(notifications.send_test, visitor.context, channel_id)
    except ProblemError as error:
        return await _page(visitor, state, refusal=str(error), status=error.status)
    return RedirectResponse("/console/settings?done=test", 303)


def _duty_values(visitor: Visitor) -> dict[str, Any]:
    """Return teams with who is on duty now, and the channels of notification, as far as one may see them."""
    context = visitor.context
    has_database = context.unscoped_store.database is not None
    may_see_duty = has_database and visitor.may(duty.DUTY)
    may_see_channels = has_database and visitor.may(notifications.NOTIFICATIONS)
    return {
        "teams": duty.teams(context) if may_see_duty else None,
        "on_duty": {one.team_id: one.on_duty for one in duty.duty(context)} if may_see_duty else {},
        "rosters": duty.rosters(context) if may_see_duty else [],
        "channels": notifications.channels(context) if may_see_channels else None,
        "may_test": visitor.may(TEST_BY_SESSION),
    }


async def _page(
    visitor: Visitor,
    state: PlatformState,
    *,
    new_key: str = "",
    notice: str = "",
    refusal: str = "",
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
        **await run_in_threadpool(_duty_values, visitor),
        roles=[one.role_name for one in Role if one <= principal.role],
        new_key=new_key,
        notice=notice,
        refusal=refusal,
    )
