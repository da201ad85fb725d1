"""Routes of access: the caller's own rights (`/v1/me`), API keys, and the audit of changes and exports."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request

from gateway.api import query_params
from gateway.api.models import key_models, resource_models
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.api.routes.duty import read_plan
from gateway.auth import api_keys as auth_keys
from gateway.auth.authorization import (
    ADMINISTRATOR,
    ALL_SCOPES,
    KEY_ADMINISTRATION,
    VIEWER,
    RequiredRight,
    requires,
)
from gateway.auth.principal import ROLES_BY_NAME
from ingest_service.storage.contract.duty import Team, TeamMember
from ingest_service.storage.postgres.api_keys import ApiKey, AuditEntry, AuditQuery
from ingest_service.storage.postgres.duty import DutyStore

router = APIRouter(prefix="/v1", tags=["access"])

DAY_S = 86_400.0


@router.get("/me", responses=problem_responses(401, 403, 429))
@requires(RequiredRight(VIEWER))
def me(context: CurrentContext) -> key_models.PrincipalResponse:
    """The principal of the request, with its role, areas and scopes."""
    principal = context.principal
    return key_models.PrincipalResponse(
        who=principal.principal_id,
        name=principal.name,
        role=principal.role.role_name,  # type: ignore[arg-type]
        areas=None if principal.areas is None else list(principal.areas),
        scopes=sorted(principal.scopes),
        team_id=principal.team_id,
    )


@router.get("/keys", responses=problem_responses(401, 403, 429))
@requires(KEY_ADMINISTRATION)
def keys(context: CurrentContext) -> list[key_models.KeyResponse]:
    """The keys of the areas that you administer, newest first; never their secrets."""
    return [_key_response(one) for one in context.accounts.keys_in_areas(_administered_areas(context))]


@router.post("/keys", responses=problem_responses(401, 403, 404, 429))
@requires(KEY_ADMINISTRATION)
def create(context: CurrentContext, new_key: key_models.NewKeyRequest) -> key_models.NewKeyResponse:
    """Create a key for an area that you administer; it is shown only once.

    It grants no more than you have: no higher role, no other area or scope, no later end. A key that is valid
    on the gateway's own machine only creates such keys.
    """
    found = None if new_key.member_id is None else _member(context, new_key.member_id)
    if found is not None and new_key.role == "team_member" and new_key.team_id is None:
        new_key = new_key.model_copy(update={"team_id": found[0].team_id})
    _check_grant(context, new_key)
    loopback = context.principal.loopback
    key, text = auth_keys.create_key(
        context.accounts,
        name=new_key.name,
        role=ROLES_BY_NAME[new_key.role],
        area_id=new_key.area,
        scopes=new_key.scopes,
        expires_s=new_key.expires.timestamp() if new_key.expires else None,
        created_by=context.caller_name,
        team_id=new_key.team_id,
        loopback=loopback,  # inherited: a loopback-only key must not create one that is valid elsewhere
    )
    context.add_audit_detail(
        key_id=key.key_id, name=key.name, role=key.role, area=key.area_id, scopes=key.scopes
    )
    context.add_audit_detail(
        expires=None if new_key.expires is None else new_key.expires.isoformat(), loopback=loopback
    )
    if found is not None:
        team, member = found
        members = [
            msgspec.structs.replace(one, principal=f"key:{key.key_id}") if one is member else one
            for one in team.members
        ]
        DutyStore(context.scoped_database).replace_team(msgspec.structs.replace(team, members=members))
        context.add_audit_detail(member_id=member.member_id)
    return key_models.NewKeyResponse(key_id=key.key_id, key=text)


@router.delete("/keys/{key_id}", responses=problem_responses(401, 403, 404, 409, 429))
@requires(KEY_ADMINISTRATION)
def revoke(
    context: CurrentContext, key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
) -> key_models.KeyResponse:
    """Revoke a key of your areas: it is rejected within seconds, and stays on record."""
    if _key_in_areas(context, key_id) is None:
        raise not_found("key", key_id)
    if not context.accounts.revoke(key_id, by=context.caller_name):
        raise ProblemError(409, f"key {key_id} is revoked already")
    context.add_audit_detail(key_id=key_id)
    revoked = context.accounts.key(key_id)
    assert revoked is not None, "keys are never deleted"  # noqa: S101
    return _key_response(revoked)


@router.get("/audit", responses=problem_responses(401, 403, 429))
@requires(RequiredRight(ADMINISTRATOR, "audit"))
def audit(
    context: CurrentContext,
    request: Request,
    who: Annotated[str | None, Query(description="One doer", examples=["key:0f3a5c9d2e71"])] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Lines in the page")] = 100,
    cursor: query_params.CursorParam = None,
) -> resource_models.PageResponse[key_models.AuditEntryResponse]:
    """Changes and exports by principals that are bound to your areas, newest first."""
    cursor_signer = context.cursor_signer(request)
    (before,) = cursor_signer.decode(cursor, 1) if cursor else (None,)
    matched = context.accounts.audit(
        AuditQuery(areas=_administered_areas(context), who=who, before_id=before, limit=limit + 1)
    )
    page = [_audit_entry_response(one) for one in matched[:limit]]
    return resource_models.PageResponse(
        items=page, next=cursor_signer.encode(page[-1].audit_id) if len(matched) > limit else None
    )


def _administered_areas(context: RequestContext) -> list[str] | None:
    """Return the areas that the principal administers; None is every area."""
    return None if context.principal.areas is None else sorted(context.directory_index.visible_area_ids)


def _key_in_areas(context: RequestContext, key_id: str) -> ApiKey | None:
    administered, key = _administered_areas(context), context.accounts.key(key_id)
    return key if key is not None and (administered is None or key.area_id in administered) else None


def _member(context: RequestContext, member_id: str) -> tuple[Team, TeamMember]:
    """Return a member of a team of one's areas. Raises `ProblemError` 404 where there is none."""
    for team in read_plan(context).teams:
        for member in team.members:
            if member.member_id == member_id:
                return team, member
    raise not_found("member", member_id)


def _check_grant(context: RequestContext, new_key: key_models.NewKeyRequest) -> None:
    """Raise `ProblemError` where a new key would have more than its creator: role, area, scopes or end."""
    if ROLES_BY_NAME[new_key.role] > context.principal.role:
        raise ProblemError(
            403, f"role: yours is {context.principal.role.role_name}: give no more", where="role"
        )
    if (new_key.role == "team_member") != (new_key.team_id is not None):
        raise ProblemError(422, "team_id: a team member has one, and no other role does", where="team_id")
    if new_key.area is not None and new_key.area not in context.directory_index.visible_area_ids:
        raise not_found("area", new_key.area)
    if new_key.area is None and context.principal.areas is not None:
        raise ProblemError(
            403, "a key without an area sees everything, and you are bound to yours", where="area"
        )
    unknown = sorted(set(new_key.scopes) - set(ALL_SCOPES))
    if unknown:
        raise ProblemError(
            422, f"scopes: there is no {unknown[0]!r}; there are {', '.join(ALL_SCOPES)}", where="scopes"
        )
    if context.principal.scopes and not (new_key.scopes and set(new_key.scopes) <= context.principal.scopes):
        raise ProblemError(403, "scopes: give some of your own, and no other", where="scopes")
    if new_key.expires is not None and new_key.expires.timestamp() <= time.time():
        raise ProblemError(422, "expires: that is in the past", where="expires")
    max_expiry_s = context.principal.expires_s
    if context.principal.principal_id.startswith("oidc:") and max_expiry_s is not None:
        max_expiry_s += context.settings.oidc_key_days * DAY_S
    if max_expiry_s is not None and (new_key.expires is None or new_key.expires.timestamp() > max_expiry_s):
        end = resource_models.utc_datetime(max_expiry_s).isoformat(timespec="seconds")
        raise ProblemError(
            403, f"expires: what you came with ends at {end}: give an end that is not later", where="expires"
        )


def _audit_entry_response(one: AuditEntry) -> key_models.AuditEntryResponse:
    row = msgspec.structs.asdict(one)
    return key_models.AuditEntryResponse(at=resource_models.utc_datetime(row.pop("at_s")), **row)


def _key_response(one: ApiKey) -> key_models.KeyResponse:
    row = msgspec.structs.asdict(one)
    del row["hash"]
    for name in ("created", "expires", "revoked", "last_used"):
        at_s = row.pop(f"{name}_s")
        row[name] = None if at_s is None else resource_models.utc_datetime(at_s)
    return key_models.KeyResponse(area=row.pop("area_id"), **row)
