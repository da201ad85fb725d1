"""Serves the pages of notification channels and of one's own preferences, and takes their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

from fastapi import APIRouter, Form, Path, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from gateway.api.models import notification_models as models
from gateway.api.models.duty_models import ID_PATTERN
from gateway.api.problems import ProblemError, not_found
from gateway.api.routes import duty, notifications
from gateway.auth.authorization import CONSOLE, requires
from gateway.console.duty_pages import area_options, check_id, refused, saved
from gateway.console.page_parts import PageParts
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response, require
from ingest_service.storage.contract.notifications import CONSOLE_CHANNEL, ChannelKind, NotificationQuery
from ingest_service.storage.postgres.notifications import NotificationStore

if TYPE_CHECKING:
    from gateway.api.models.duty_models import MemberModel
    from gateway.console.form_refusals import Refusal
    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.notifications import Notification

router = APIRouter(include_in_schema=False)

TEST = notifications.SUPERVISION._replace(by_session=True)
CHANNEL_EDIT = notifications.CHANNEL_ADMINISTRATION._replace(by_session=True)
OWN = notifications.OWN_PREFERENCES._replace(by_session=True)
PRIORITIES = (1, 2, 3, 4)
CHANNELS_ADDRESS = "/console/settings/channels"
PREFERENCES_ADDRESS = "/console/settings/preferences"
MAX_NOTIFICATIONS = 30
STATE_MARKS = {"waiting": "○", "sent": "✓", "failed": "✕", "suppressed": "–"}


class ChannelForm(BaseModel):
    """The fields of a channel."""

    id: str = ""
    is_new: bool = False
    area_id: str = ""
    kind: str = "dingtalk"
    en: str = ""
    zh: str = ""
    url: str = ""
    url_secret: str = ""
    sign_secret: str = ""
    language: str = "zh"
    enabled: bool = False

    def request(self) -> models.ChannelRequest:
        """Return the channel as the API takes it."""
        values = self.model_dump(exclude={"id", "is_new"})
        return models.ChannelRequest.model_validate(
            values | {name: values[name].strip() or None for name in ("url", "url_secret", "sign_secret")}
        )


class PreferencesForm(BaseModel):
    """How one is notified: for each priority own channels or those of the team, and a quiet time.

    ``channels`` holds a priority and a channel each, as ``1:console``.
    """

    own: list[int] = []
    channels: list[str] = []
    quiet_from: list[str] = []
    quiet_to: list[str] = []

    def request(self) -> models.PreferencesRequest:
        """Return the preferences as the API takes them."""
        chosen = [one.partition(":") for one in self.channels]
        preferences = [
            {
                "priority": priority,
                "channels": [channel for number, _, channel in chosen if number == str(priority)],
                "quiet_from": quiet_from or None,
                "quiet_to": quiet_to or None,
            }
            for priority, quiet_from, quiet_to in zip(
                PRIORITIES, self.quiet_from, self.quiet_to, strict=False
            )
            if priority in self.own
        ]
        return models.PreferencesRequest.model_validate({"preferences": preferences})


@router.get(CHANNELS_ADDRESS)
@requires(CONSOLE)
async def channels_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the channels, each with a button for a test message, and what became of the newest messages."""
    notices = {"saved": "saved", "test": "test_is_sent"}
    notice = visitor.text(notices[done]) if done in notices else ""
    return await _channels_page(visitor, state, notice=notice)


@router.get("/console/settings/channel")
@requires(CONSOLE)
async def channel_page(
    visitor: CurrentVisitor,
    state: CurrentState,
    row_id: Annotated[str, Query(alias="id", max_length=64)] = "",
) -> HTMLResponse:
    """Serve the form of a channel; of a new one without an id."""
    form = ChannelForm(is_new=True, enabled=True)
    if row_id:
        found = await run_in_threadpool(notifications.channels, visitor.context)
        one = next((each for each in found if each.channel_id == row_id), None)
        if one is None:
            raise not_found("channel", row_id)
        form = ChannelForm(id=row_id, **one.model_dump(exclude={"channel_id"}, exclude_none=True))
    return await _channel_page(visitor, state, form)


@router.post("/console/settings/channel")
@requires(CHANNEL_EDIT)
async def save_channel(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[ChannelForm, Form()]
) -> Response:
    """Insert or replace a channel."""

    def save() -> None:
        check_id(form.id, "channel_id")
        known = {one.channel_id for one in notifications.channels(visitor.context)}
        if form.is_new and form.id in known:
            raise ProblemError(409, f"channel {form.id} exists already")
        notifications.replace_channel(visitor.context, form.id, form.request())

    refusal = await refused(visitor, save)
    return await _channel_page(visitor, state, form, refusal) if refusal else saved(CHANNELS_ADDRESS)


@router.post("/console/settings/channels/{channel_id}/test")
@requires(TEST)
async def send_test_message(
    visitor: CurrentVisitor,
    state: CurrentState,
    channel_id: Annotated[str, Path(pattern=ID_PATTERN)],
    member_id: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Send a test message over a channel; an e-mail to a member."""
    refusal = await refused(
        visitor, lambda: notifications.send_test(visitor.context, channel_id, member_id or None)
    )
    if refusal is None:
        return saved(CHANNELS_ADDRESS, "test")
    return await _channels_page(visitor, state, refusal=refusal)


@router.get(PREFERENCES_ADDRESS)
@requires(CONSOLE)
async def preferences_page(
    visitor: CurrentVisitor, state: CurrentState, done: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Serve the form of one's own preferences."""
    return await _preferences_page(visitor, state, notice=visitor.text("saved") if done == "saved" else "")


@router.post(PREFERENCES_ADDRESS)
@requires(OWN)
async def save_preferences(
    visitor: CurrentVisitor, state: CurrentState, form: Annotated[PreferencesForm, Form()]
) -> Response:
    """Replace one's own preferences."""
    refusal = await refused(
        visitor, lambda: notifications.replace_own_preferences(visitor.context, form.request())
    )
    if refusal is None:
        return saved(PREFERENCES_ADDRESS)
    return await _preferences_page(visitor, state, refusal=refusal)


async def _channels_page(
    visitor: Visitor, state: PlatformState, *, notice: str = "", refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, notifications.NOTIFICATIONS)
    context = visitor.context

    def read() -> dict[str, Any]:
        members = {one.member_id: one for team in duty.teams(context) for one in team.members}
        channels = notifications.channels(context)
        query = NotificationQuery(area_ids=duty.area_ids(context, None), limit=MAX_NOTIFICATIONS)
        found = NotificationStore(context.scoped_database).found(query)
        names = {one.channel_id: visitor.name(one) for one in channels}
        names[CONSOLE_CHANNEL] = visitor.text("channel_console")
        return {
            "channels": channels,
            "with_mail": [one for one in members.values() if one.email],
            "outbox": [_outbox_row(one, visitor, names, members) for one in found],
            "is_waiting": any(one.state == "waiting" for one in found),
        }

    return page_response(
        visitor,
        "settings_channels.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        area_names=dict(area_options(visitor, state)),
        may_edit=visitor.may(CHANNEL_EDIT),
        may_test=visitor.may(TEST),
        notice=notice,
        refusal=refusal,
        **await run_in_threadpool(read),
    )


def _outbox_row(
    one: Notification, visitor: Visitor, channels: dict[str, str], members: dict[str, MemberModel]
) -> dict[str, Any]:
    """Return what the list shows of a notification; its detail is in English, as the messengers' answers."""
    member = members.get(one.member_id or "")
    return {
        "at_s": one.sent_s or one.due_s,
        "channel": channels.get(one.channel_id, one.channel_id),
        "member": member.name if member else one.member_id or visitor.text("the_group"),
        "incident_id": one.incident_id,
        "text": one.text_zh if visitor.language == "zh" else one.text_en,
        "state": f"{STATE_MARKS[one.state]} {visitor.text(f'notification_{one.state}')}",
        "is_failed": one.state == "failed",
        "detail": one.detail,
    }


async def _channel_page(
    visitor: Visitor, state: PlatformState, form: ChannelForm, refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, CHANNEL_EDIT)
    kinds = [one for one in get_args(ChannelKind) if one != CONSOLE_CHANNEL]
    return page_response(
        visitor,
        "settings_channel.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        form=form,
        refusal=refusal,
        areas=area_options(visitor, state),
        kinds=[(one, visitor.text(f"channel_{one}")) for one in kinds],
    )


async def _preferences_page(
    visitor: Visitor, state: PlatformState, *, notice: str = "", refusal: Refusal | None = None
) -> HTMLResponse:
    require(visitor, OWN)
    context = visitor.context

    def read() -> dict[str, Any]:
        stored = notifications.own_preferences(context)
        may_see = visitor.may(notifications.NOTIFICATIONS)
        known = notifications.channels(context) if may_see else []
        names = {one.channel_id: visitor.name(one) for one in known}
        first = stored[0].preferences if stored else []
        for one in first:  # of a team member, who does not see the list of channels
            names |= {each: each for each in one.channels if each not in names}
        names.pop(CONSOLE_CHANNEL, None)
        return {
            "is_member": bool(stored),
            "by_priority": {one.priority: one for one in first},
            "channels": [(CONSOLE_CHANNEL, visitor.text("channel_console")), *names.items()],
        }

    return page_response(
        visitor,
        "settings_preferences.html",
        http_status=422 if refusal else 200,
        parts=PageParts(visitor, state),
        principal=context.principal,
        priorities=PRIORITIES,
        may_edit_teams=visitor.may(duty.DUTY_ADMINISTRATION),
        notice=notice,
        refusal=refusal,
        **await run_in_threadpool(read),
    )
