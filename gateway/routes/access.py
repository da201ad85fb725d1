"""Routes of API keys and of the audit."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request

from gateway import models, params
from gateway.access import keys as minting
from gateway.access import models as access
from gateway.access.principal import ROLES
from gateway.access.rights import SCOPES
from gateway.context import Context, Here
from gateway.problems import ProblemError, not_found, responses
from ingest_service.storage.accounts import ApiKey, AuditLine, AuditQuery

router = APIRouter(prefix="/v1", tags=["access"])

DAY_S = 86_400.0


@router.get("/me", responses=responses(401, 403, 429))
def me(here: Here) -> access.Me:
    """Who asks, with which role, and which areas they see."""
    who = here.principal
    return access.Me(
        who=who.who,
        name=who.name,
        role=who.role.word,  # type: ignore[arg-type]
        areas=None if who.areas is None else list(who.areas),
        scopes=sorted(who.scopes),
    )


@router.get("/keys", responses=responses(401, 403, 429))
def keys(here: Here) -> list[access.Key]:
    """The keys of the areas that you administer, newest first; never their secrets."""
    return [_shown(one) for one in here.accounts.within(_own(here))]


@router.post("/keys", responses=responses(401, 403, 404, 429))
def create(here: Here, wanted: access.NewKey) -> access.MadeKey:
    """Make a key for an area that you administer; it is shown this once.

    It grants no more than you have: no higher role, no other area or scope, no later end. A key that is good
    on the gateway's own machine alone makes such keys.
    """
    _check(here, wanted)
    loopback = here.principal.loopback
    key, text = minting.mint(
        here.accounts,
        name=wanted.name,
        role=ROLES[wanted.role],
        area_id=wanted.area,
        scopes=wanted.scopes,
        expires_s=wanted.expires.timestamp() if wanted.expires else None,
        created_by=here.name,
        loopback=loopback,  # what is good on this machine alone makes nothing that is good elsewhere
    )
    here.note(key_id=key.key_id, name=key.name, role=key.role, area=key.area_id, scopes=key.scopes)
    here.note(expires=None if wanted.expires is None else wanted.expires.isoformat(), loopback=loopback)
    return access.MadeKey(key_id=key.key_id, key=text)


@router.delete("/keys/{key_id}", responses=responses(401, 403, 404, 409, 429))
def revoke(here: Here, key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")]) -> access.Key:
    """Revoke a key of your areas: it is good no longer, within seconds, and stays on record."""
    if _mine(here, key_id) is None:
        raise not_found("key", key_id)
    if not here.accounts.revoke(key_id, by=here.name):
        raise ProblemError(409, f"key {key_id} is revoked already")
    here.note(key_id=key_id)
    revoked = here.accounts.key(key_id)
    assert revoked is not None, "keys are never deleted"  # noqa: S101
    return _shown(revoked)


@router.get("/audit", responses=responses(401, 403, 429))
def audit(
    here: Here,
    request: Request,
    who: Annotated[str | None, Query(description="One doer", examples=["key:0f3a5c9d2e71"])] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Lines in the page")] = 100,
    cursor: params.Cursor = None,
) -> models.Page[access.AuditLine]:
    """What was changed and exported by those who are bound to your areas, newest first."""
    cursors = here.cursors(request)
    (before,) = cursors.decode(cursor, 1) if cursor else (None,)
    found = here.accounts.audit(AuditQuery(areas=_own(here), who=who, before_id=before, limit=limit + 1))
    page = [_line(one) for one in found[:limit]]
    return models.Page(items=page, next=cursors.encode(page[-1].audit_id) if len(found) > limit else None)


def _own(here: Context) -> list[str] | None:
    """The areas that somebody administers; None is everything."""
    return None if here.principal.areas is None else sorted(here.known.own)


def _mine(here: Context, key_id: str) -> ApiKey | None:
    own, key = _own(here), here.accounts.key(key_id)
    return key if key is not None and (own is None or key.area_id in own) else None


def _check(here: Context, wanted: access.NewKey) -> None:
    """Nobody gives more than they have, in any dimension."""
    if ROLES[wanted.role] > here.principal.role:
        raise ProblemError(403, f"role: yours is {here.principal.role.word}: give no more", where="role")
    if wanted.area is not None and wanted.area not in here.known.own:
        raise not_found("area", wanted.area)
    if wanted.area is None and here.principal.areas is not None:
        raise ProblemError(
            403, "a key without an area sees everything, and you are bound to yours", where="area"
        )
    unknown = sorted(set(wanted.scopes) - set(SCOPES))
    if unknown:
        raise ProblemError(
            422, f"scopes: there is no {unknown[0]!r}; there are {', '.join(SCOPES)}", where="scopes"
        )
    if here.principal.scopes and not (wanted.scopes and set(wanted.scopes) <= here.principal.scopes):
        raise ProblemError(403, "scopes: give some of your own, and no other", where="scopes")
    if wanted.expires is not None and wanted.expires.timestamp() <= time.time():
        raise ProblemError(422, "expires: that is in the past", where="expires")
    latest_s = here.principal.expires_s
    if here.principal.who.startswith("oidc:") and latest_s is not None:
        latest_s += here.settings.oidc_key_days * DAY_S
    if latest_s is not None and (wanted.expires is None or wanted.expires.timestamp() > latest_s):
        end = models.at(latest_s).isoformat(timespec="seconds")
        raise ProblemError(
            403, f"expires: what you came with ends at {end}: give an end that is not later", where="expires"
        )


def _line(one: AuditLine) -> access.AuditLine:
    row = msgspec.structs.asdict(one)
    return access.AuditLine(at=models.at(row.pop("at_s")), **row)


def _shown(one: ApiKey) -> access.Key:
    row = msgspec.structs.asdict(one)
    del row["hash"]
    for name in ("created", "expires", "revoked", "last_used"):
        at_s = row.pop(f"{name}_s")
        row[name] = None if at_s is None else models.at(at_s)
    return access.Key(area=row.pop("area_id"), **row)
