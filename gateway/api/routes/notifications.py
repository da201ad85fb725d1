"""Routes of notification: channels with a test, preferences, the outbox, deadlines of an incident."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request

from analytics.notification.errors import NotificationError
from analytics.notification.http_client import check_url
from gateway.api import query_params
from gateway.api.incident_access import IncidentAccess
from gateway.api.models import notification_models as models
from gateway.api.models.duty_models import ID_PATTERN
from gateway.api.models.resource_models import PageResponse, utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.api.routes.duty import (
    IdPath,
    area_ids,
    check_area,
    check_channels,
    duty_index,
    read_plan,
    with_id_conflicts,
)
from gateway.auth.authorization import (
    ADMINISTRATOR,
    INCIDENTS,
    OPERATOR,
    SUPERVISOR,
    TEAM_MEMBER,
    RequiredRight,
    requires,
)
from gateway.auth.member_links import linked_members
from ingest_service.storage.contract.duty import Team, TeamMember
from ingest_service.storage.contract.notifications import (
    CONSOLE_CHANNEL,
    Deadline,
    MemberPreferences,
    Notification,
    NotificationChannel,
    NotificationQuery,
    NotificationState,
    Preference,
)
from ingest_service.storage.postgres.duty import DutyStore
from ingest_service.storage.postgres.notifications import NotificationStore

router = APIRouter(prefix="/v1", tags=["notification"])

NOTIFICATIONS = RequiredRight(OPERATOR, "duty")
OWN_PREFERENCES = RequiredRight(TEAM_MEMBER, "duty")
SUPERVISION = RequiredRight(SUPERVISOR, "duty")
CHANNEL_ADMINISTRATION = RequiredRight(ADMINISTRATOR, "duty")
TEST_PRIORITY = 4
KINDS_WITHOUT_ADDRESS = {"email", "console"}
TIMES = ("created", "due", "next_try", "sent")


@router.get("/channels", responses=problem_responses(404))
@requires(NOTIFICATIONS)
def channels(context: CurrentContext, area: query_params.AreaParam = None) -> list[models.ChannelResponse]:
    """Channels: robots of messengers, e-mail, webhooks; never their secrets."""
    found = NotificationStore(context.scoped_database).channels(area_ids(context, area))
    return [_channel_response(one) for one in found]


@router.put("/channels/{channel_id}", responses=problem_responses(404, 409))
@requires(CHANNEL_ADMINISTRATION)
def replace_channel(
    context: CurrentContext, channel_id: IdPath, requested: models.ChannelRequest
) -> models.ChannelResponse:
    """Insert or replace a channel. Its secrets are files of the service, in the folder of its area."""
    check_area(context, requested.area_id)
    if channel_id == CONSOLE_CHANNEL:
        raise ProblemError(422, f"channel_id: everybody has {CONSOLE_CHANNEL!r} already", where="channel_id")
    has_address = requested.url is not None or requested.url_secret is not None
    if (requested.kind in KINDS_WITHOUT_ADDRESS) == has_address:
        raise ProblemError(
            422, "url: robots and webhooks have url or url_secret; email and console have none", where="url"
        )
    if requested.url is not None:
        try:
            check_url(requested.url)
        except NotificationError as error:
            raise ProblemError(422, f"url: {error}", where="url") from error
    channel = NotificationChannel(channel_id=channel_id, **requested.model_dump())
    with_id_conflicts(lambda: NotificationStore(context.scoped_database).replace_channel(channel))
    return _channel_response(channel)


@router.post("/channels/{channel_id}/test", responses=problem_responses(404))
@requires(SUPERVISION)
def send_test(
    context: CurrentContext,
    channel_id: IdPath,
    member: Annotated[str | None, Query(pattern=ID_PATTERN, description="Receiver of an e-mail")] = None,
) -> models.NotificationResponse:
    """Put a test message into the outbox; /v1/notifications shows within seconds what became of it."""
    outbox = NotificationStore(context.scoped_database)
    channel = next((one for one in outbox.channels() if one.channel_id == channel_id), None)
    if channel is None:
        raise not_found("channel", channel_id)
    if member is not None and member not in _members(context):
        raise not_found("member", member)
    if channel.kind == "email" and member is None:
        raise ProblemError(422, "member: give the member who receives the test", where="member")
    now_s = time.time()
    outbox.record(
        [
            Notification(
                kind="test",
                area_id=channel.area_id,
                step=f"test {now_s:.3f}",
                member_id=member,
                channel_id=channel_id,
                priority=TEST_PRIORITY,
                text_en=f"This is a test of the channel {channel.en}.",
                text_zh=f"这是通道“{channel.zh}”的测试消息。",
                due_s=now_s,
            )
        ]
    )
    (stored,) = outbox.found(NotificationQuery(area_ids=[channel.area_id], limit=1))
    return _notification_response(stored)


@router.get("/preferences/{member_id}", responses=problem_responses(404))
@requires(SUPERVISION)
def preferences(context: CurrentContext, member_id: IdPath) -> models.PreferencesResponse:
    """How a member is notified."""
    team = _team_of(context, member_id)
    stored = DutyStore(context.scoped_database).preferences([member_id]).get(member_id)
    return _preferences_response(stored or MemberPreferences(member_id=member_id, area_id=team.area_id))


@router.put("/preferences/{member_id}", responses=problem_responses(404))
@requires(SUPERVISION)
def replace_preferences(
    context: CurrentContext, member_id: IdPath, requested: models.PreferencesRequest
) -> models.PreferencesResponse:
    """Replace how a member is notified."""
    return _replace_preferences(context, member_id, _team_of(context, member_id), requested)


@router.get("/me/preferences", responses=problem_responses())
@requires(OWN_PREFERENCES)
def own_preferences(context: CurrentContext) -> list[models.PreferencesResponse]:
    """How you are notified, for each team whose member you are."""
    own = _own_members(context)
    stored = DutyStore(context.scoped_database).preferences(list(own))
    return [
        _preferences_response(
            stored.get(member_id) or MemberPreferences(member_id=member_id, area_id=team.area_id)
        )
        for member_id, team in own.items()
    ]


@router.put("/me/preferences", responses=problem_responses(404))
@requires(OWN_PREFERENCES)
def replace_own_preferences(
    context: CurrentContext, requested: models.PreferencesRequest
) -> list[models.PreferencesResponse]:
    """Replace how you are notified."""
    own = _own_members(context)
    if not own:
        raise ProblemError(
            404,
            f"no member of a team has the principal {context.principal.principal_id}, and none alone has its"
            " verified e-mail address: ask the team's engineer",
        )
    return [_replace_preferences(context, member_id, team, requested) for member_id, team in own.items()]


@router.get("/notifications", responses=problem_responses(404))
@requires(NOTIFICATIONS)
def notifications(
    context: CurrentContext,
    request: Request,
    area: query_params.AreaParam = None,
    incident: Annotated[int | None, Query(ge=1, lt=2**63, description="About one incident")] = None,
    member: Annotated[str | None, Query(pattern=ID_PATTERN, description="To one member")] = None,
    state: Annotated[NotificationState | None, Query(description="In one state")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Notifications in the page")] = 100,
    cursor: query_params.CursorParam = None,
) -> PageResponse[models.NotificationResponse]:
    """The outbox: what was sent, waits, failed or was suppressed and why, newest first."""
    signer = context.cursor_signer(request)
    (before,) = signer.decode(cursor, 1) if cursor else (None,)
    query = NotificationQuery(
        area_ids=area_ids(context, area),
        incident_id=incident,
        member_id=member,
        state=state,
        before_id=before,
        limit=limit + 1,
    )
    found = NotificationStore(context.scoped_database).found(query)
    return PageResponse(
        items=[_notification_response(one) for one in found[:limit]],
        next=signer.encode(found[limit - 1].notification_id) if len(found) > limit else None,
    )


@router.get("/incidents/{incident_id}/deadlines", responses=problem_responses(404))
@requires(INCIDENTS)
def deadlines(
    context: CurrentContext, incident_id: Annotated[int, query_params.ID_PATH]
) -> list[models.DeadlineResponse]:
    """The deadlines of an incident by phase, and which of them are late."""
    incident = IncidentAccess.of(context).visible(incident_id)
    found = NotificationStore(context.scoped_database).deadlines([incident.incident_id])
    return [_deadline_response(one) for one in found]


def _members(context: RequestContext) -> dict[str, tuple[TeamMember, Team]]:
    return {member.member_id: (member, team) for team in read_plan(context).teams for member in team.members}


def _team_of(context: RequestContext, member_id: str) -> Team:
    team = duty_index(context, read_plan(context)).team_of_member(member_id)
    if team is None:
        raise not_found("member", member_id)
    return team


def _own_members(context: RequestContext) -> dict[str, Team]:
    found = linked_members(context.unscoped_store, context.directories, context.settings, context.principal)
    teams = _members(context)
    return {one.member_id: teams[one.member_id][1] for one in found if one.member_id in teams}


def _replace_preferences(
    context: RequestContext, member_id: str, team: Team, requested: models.PreferencesRequest
) -> models.PreferencesResponse:
    priorities = [one.priority for one in requested.preferences]
    if len(set(priorities)) < len(priorities):
        raise ProblemError(422, "preferences: each priority once", where="preferences")
    for one in requested.preferences:
        if (one.quiet_from is None) != (one.quiet_to is None):
            raise ProblemError(422, "quiet_to: give quiet_from and quiet_to, or neither", where="quiet_to")
        check_channels(context, one.channels)
    stored = MemberPreferences(
        member_id=member_id,
        area_id=team.area_id,
        preferences=[Preference(**one.model_dump()) for one in requested.preferences],
    )
    DutyStore(context.scoped_database).replace_preferences(stored)
    return _preferences_response(stored)


def _preferences_response(one: MemberPreferences) -> models.PreferencesResponse:
    return models.PreferencesResponse.model_validate(msgspec.to_builtins(one))


def _channel_response(one: NotificationChannel) -> models.ChannelResponse:
    return models.ChannelResponse(**msgspec.structs.asdict(one))


def _notification_response(one: Notification) -> models.NotificationResponse:
    row = msgspec.structs.asdict(one)
    for name in TIMES:
        time_s = row.pop(f"{name}_s")
        row[name] = None if time_s is None else utc_datetime(time_s)
    return models.NotificationResponse(**row)


def _deadline_response(one: Deadline) -> models.DeadlineResponse:
    return models.DeadlineResponse(
        phase=one.phase,
        due=utc_datetime(one.due_s),
        met=None if one.met_s is None else utc_datetime(one.met_s),
        late=one.is_late(time.time()),
    )
