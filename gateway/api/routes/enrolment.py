"""Routes of enrolment: codes for technicians, proposals of devices, and decisions on them.

Devices have no API key yet: they show a code, and later the token of their proposal. Both are secrets of 128
bits; wrong ones are limited by address.
"""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import segno
import structlog
from fastapi import APIRouter, Path, Query, Request

from analytics.quality import default_limits
from edge.wire import federation
from edge.wire.quantities import QUANTITIES
from gateway.api import query_params
from gateway.api.models import enrolment_models as models
from gateway.api.models.resource_models import PageResponse, utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth import enrolment_codes
from gateway.auth.authorization import DEVICE_ENROLMENT, ENROLMENT, requires
from gateway.auth.rate_limit import TokenBuckets
from gateway.transport.forwarded_headers import public_base_url
from ingest_service.storage.contract.models import Channel, Device, Directory, Series
from ingest_service.storage.postgres.enrolments import (
    Enrolment,
    EnrolmentCode,
    EnrolmentQuery,
    NewProposal,
    ProposalOutcome,
    ProposedChannel,
)

router = APIRouter(prefix="/v1", tags=["enrolment"])
log = structlog.get_logger()

FAILURES_PER_S, FAILURES_BURST = 0.2, 20.0  # wrong codes, tokens and names of one address
HOUR_S = 3600.0

EnrolmentIdParam = Annotated[int, query_params.ID_PATH]


# -- codes -------------------------------------------------------------------------------------------


@router.get("/enrolment-codes", responses=problem_responses(401, 403, 429))
@requires(ENROLMENT)
def codes(context: CurrentContext) -> list[models.CodeResponse]:
    """The enrolment codes of your areas, newest first; never their secrets."""
    return [_code_response(one) for one in context.enrolments.codes(_visible_areas(context))]


@router.post("/enrolment-codes", responses=problem_responses(401, 403, 404, 429))
@requires(ENROLMENT)
def create_code(
    context: CurrentContext, request: Request, new_code: models.NewCodeRequest
) -> models.NewCodeResponse:
    """Create a code with which technicians enrol devices of an area; it is shown only once."""
    if new_code.area not in context.directory_index.visible_area_ids:
        raise not_found("area", new_code.area)
    code, text = enrolment_codes.make_code(
        public_base_url(request),
        area_id=new_code.area,
        devices=new_code.devices,
        expires_s=time.time() + new_code.hours * HOUR_S,
        created_by=context.caller_name,
    )
    context.enrolments.create_code(code)
    context.add_audit_detail(code_id=code.code_id, area=new_code.area, devices=new_code.devices)
    return models.NewCodeResponse(
        code_id=code.code_id,
        code=text,
        qr_svg=segno.make(text, micro=False).svg_inline(scale=4),
        expires=utc_datetime(code.expires_s),
    )


@router.delete("/enrolment-codes/{code_id}", responses=problem_responses(401, 403, 404, 409, 429))
@requires(ENROLMENT)
def revoke_code(
    context: CurrentContext, code_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
) -> models.CodeResponse:
    """Revoke a code of your areas; devices that have used it stay."""
    code = context.enrolments.code(code_id)
    if code is None or code.area_id not in context.directory_index.visible_area_ids:
        raise not_found("code", code_id)
    if not context.enrolments.revoke_code(code_id):
        raise ProblemError(409, f"code {code_id} is revoked already")
    context.add_audit_detail(code_id=code_id)
    return _code_response(msgspec.structs.replace(code, revoked_s=time.time()))


# -- devices -----------------------------------------------------------------------------------------


@router.post("/enrolments", responses=problem_responses(401, 409, 429))
@requires(DEVICE_ENROLMENT)
def propose(
    context: CurrentContext, request: Request, proposal: models.ProposalRequest
) -> models.ProposalResponse:
    """Propose a device by an enrolment code; an operator decides. The device collects the decision."""
    fail = partial(_count_failure, request)
    _check_failures(request)
    code = enrolment_codes.find_code(context.enrolments, proposal.code)
    if code is None:
        raise fail(401, "code: is unknown, expired, revoked or used up: get another one")
    if code.area_id != proposal.area:
        raise fail(422, f"area: the code is for {code.area_id}, and the device for {proposal.area}")
    if (proposal.credential == "certificate") != (proposal.request is not None):
        raise fail(422, "request: a certificate needs a signing request, and a password none")
    names = [one.name for one in proposal.channels]
    if len(set(names)) < len(names):
        raise fail(422, "channels: a name is there twice: give each channel once")
    token = secrets.token_hex(enrolment_codes.SECRET_BYTES)
    outcome = context.enrolments.propose(
        code,
        NewProposal(
            device_id=proposal.device,
            credential=proposal.credential,
            token_hash=enrolment_codes.hash_secret(token),
            request=proposal.request,
            channels=[ProposedChannel(**one.model_dump()) for one in proposal.channels],
            agent=proposal.agent,
            address="" if context.auth is None else context.auth.address,
        ),
    )
    if outcome.enrolment_id is None:
        raise fail(*_refusal(outcome, proposal.device))
    log.info("device_proposed", area=proposal.area, device=proposal.device, code=code.code_id)
    return models.ProposalResponse(enrolment_id=outcome.enrolment_id, token=token)


@router.post("/enrolments/{enrolment_id}/collect", responses=problem_responses(401, 409, 429))
@requires(DEVICE_ENROLMENT)
def collect(
    context: CurrentContext,
    request: Request,
    enrolment_id: EnrolmentIdParam,
    collected: models.CollectRequest,
) -> models.CollectResponse:
    """The decision on a device, for its token; once confirmed, the device delivers its password here."""
    _check_failures(request)
    enrolment = context.enrolments.enrolment(enrolment_id)
    if enrolment is None or not enrolment_codes.is_secret(collected.token, enrolment.token_hash):
        raise _count_failure(request, 401, "token: is unknown: propose the device again")
    is_open = context.settings.broker_access == "none"
    access: Literal["none", "pending", "granted", "withdrawn", "open"] = enrolment.access
    if enrolment.state == "confirmed" and is_open:
        access = "open"
    elif collected.password is not None:
        is_due = enrolment.credential == "password" and enrolment.state == "confirmed"
        if not is_due or not context.enrolments.deliver_password(enrolment_id, collected.password):
            raise ProblemError(409, "password: deliver it once the device is confirmed", where="password")
        access = "pending"
    is_ready = access in {"granted", "open"}
    if is_ready and enrolment.certificate is not None:
        context.enrolments.record_collected(enrolment_id)
    return models.CollectResponse(
        state=enrolment.state,
        access=access,
        note=enrolment.note,
        broker=_device_broker(context, enrolment) if is_ready else None,
        ca=_device_ca(context) if is_ready else None,
        certificate=enrolment.certificate if is_ready else None,
    )


# -- decisions ---------------------------------------------------------------------------------------


@router.get("/enrolments", responses=problem_responses(401, 403, 429))
@requires(ENROLMENT)
def enrolments(
    context: CurrentContext,
    request: Request,
    state: Annotated[Literal["proposed", "confirmed", "rejected", "revoked"] | None, Query()] = None,
    device: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Enrolments in the page")] = 100,
    cursor: query_params.CursorParam = None,
) -> PageResponse[models.EnrolmentResponse]:
    """Proposed and enrolled devices of your areas, newest first."""
    cursor_signer = context.cursor_signer(request)
    (before,) = cursor_signer.decode(cursor, 1) if cursor else (None,)
    query = EnrolmentQuery(
        areas=_visible_areas(context), state=state, device_id=device, before_id=before, limit=limit + 1
    )
    matched = context.enrolments.enrolments(query)
    page = [_enrolment_response(one) for one in matched[:limit]]
    return PageResponse(
        items=page, next=cursor_signer.encode(page[-1].enrolment_id) if len(matched) > limit else None
    )


@router.post("/enrolments/{enrolment_id}/decision", responses=problem_responses(401, 403, 404, 409, 429))
@requires(ENROLMENT)
def decide(
    context: CurrentContext, enrolment_id: EnrolmentIdParam, decided: models.DecisionRequest
) -> models.EnrolmentResponse:
    """Confirm a proposed device with site, quantity, unit and limits of its channels; or reject or revoke it.

    A revoked device is cut off at the broker within seconds.
    """
    enrolment = context.enrolments.enrolment(enrolment_id)
    if enrolment is None or enrolment.area_id not in context.directory_index.visible_area_ids:
        raise not_found("enrolment", enrolment_id)
    who, note = context.caller_name, decided.note
    if decided.decision == "confirm":
        directory = _confirmed_directory(context, enrolment, decided.channels)
        is_done = context.enrolments.confirm(enrolment_id, directory, who=who, note=note)
    elif decided.channels:
        raise ProblemError(422, "channels: belong to a confirmation", where="channels")
    elif decided.decision == "reject":
        is_done = context.enrolments.reject(enrolment_id, who=who, note=note)
    else:
        is_done = context.enrolments.revoke(enrolment_id, who=who, note=note)
    if not is_done:
        needed = "confirmed" if decided.decision == "revoke" else "proposed"
        raise ProblemError(
            409,
            f"enrolment {enrolment_id} is {enrolment.state}: {decided.decision} needs one that is {needed}",
        )
    context.add_audit_detail(decision=decided.decision, device=enrolment.device_id, area=enrolment.area_id)
    log.info("enrolment_decided", device=enrolment.device_id, decision=decided.decision, who=who)
    stored = context.enrolments.enrolment(enrolment_id)
    return _enrolment_response(stored or enrolment)


def _confirmed_directory(
    context: RequestContext, enrolment: Enrolment, channels: list[models.ConfirmedChannel]
) -> Directory:
    """Return the device, series and channels of a confirmation. Raises `ProblemError` for invalid ones."""
    enrolled = context.store.directory()
    forwarders = [
        one
        for one in enrolled.devices
        if (one.device_id, one.kind) == (enrolment.device_id, federation.DEVICE_KIND)
    ]
    if forwarders:
        if channels:
            raise ProblemError(
                422, "channels: a device that forwards a town has none of its own", where="channels"
            )
        return Directory(devices=forwarders)
    if not channels:
        raise ProblemError(422, "channels: a confirmation needs at least one", where="channels")
    series_by_key = {(one.site_id, one.quantity): one for one in enrolled.series}
    units = {one.name: one.unit for one in enrolment.channels}
    directory = Directory(devices=[Device(device_id=enrolment.device_id, area_id=enrolment.area_id)])
    names, keys = set(), set()
    for one in channels:
        if one.site not in context.directory_index.sites:
            raise not_found("site", one.site)
        _check_unit(one, units.get(one.name) if one.unit is None else one.unit)
        key = (one.site, one.quantity)
        if one.name in names or key in keys:
            raise ProblemError(
                422, f"channel {one.name!r}: its name or its series is there twice", where="channels"
            )
        names.add(one.name)
        keys.add(key)
        present = series_by_key.get(key)
        limits = one.limits if one.limits is not None else (present.limits if present else {})
        series = Series(site_id=one.site, quantity=one.quantity, interval_s=one.interval_s, limits=limits)
        problems = list(default_limits.limit_problems(series))
        if problems:
            raise ProblemError(422, f"channel {one.name!r}: {problems[0]}", where="limits")
        directory.series.append(series)
        directory.channels.append(
            Channel(device_id=enrolment.device_id, name=one.name, site_id=one.site, quantity=one.quantity)
        )
    return directory


def _check_unit(channel: models.ConfirmedChannel, unit: str | None) -> None:
    """Raise `ProblemError` for an unknown quantity, or a unit that can't be converted to it."""
    quantity = QUANTITIES.get(channel.quantity)
    if quantity is None:
        raise ProblemError(
            422, f"channel {channel.name!r}: there is no quantity {channel.quantity!r} (GET /v1/quantities)"
        )
    if unit is not None and unit not in quantity.accepts:
        accepted = ", ".join(quantity.accepts)
        raise ProblemError(
            422,
            f"channel {channel.name!r}: {channel.quantity} can't be in {unit!r}: it accepts {accepted}",
            where="unit",
        )


# -- helpers -----------------------------------------------------------------------------------------


def new_failure_limiter() -> TokenBuckets:
    """Return the limiter of wrong codes, tokens and names."""
    return TokenBuckets(per_s=FAILURES_PER_S, burst=FAILURES_BURST)


def _check_failures(request: Request) -> None:
    """Raise `ProblemError` 429 for an address with too many failures."""
    limiter: TokenBuckets = request.app.state.enrolment_failures
    wait_s = limiter.seconds_until_token(_address(request), now_s=time.monotonic())
    if wait_s:
        raise ProblemError(
            429, "too many wrong enrolments from this address: wait", headers={"Retry-After": f"{wait_s:.0f}"}
        )


def _count_failure(request: Request, status: int, detail: str) -> ProblemError:
    """Count a failure of an address; return the problem of its response."""
    limiter: TokenBuckets = request.app.state.enrolment_failures
    limiter.try_take(_address(request), now_s=time.monotonic())
    return ProblemError(status, detail, where=detail.partition(":")[0])


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _refusal(outcome: ProposalOutcome, device: str) -> tuple[int, str]:
    """Return status and sentence of a refused proposal."""
    match outcome.reason:
        case "area":
            return 409, f"device: {device} is enrolled in another area: give the device another id"
        case "device":
            return 409, f"device: {device} is proposed or enrolled already: reject or revoke that one first"
        case _:
            return 401, "code: is unknown, expired, revoked or used up: get another one"


def _visible_areas(context: RequestContext) -> list[str] | None:
    return None if context.principal.areas is None else sorted(context.directory_index.visible_area_ids)


def _device_broker(context: RequestContext, enrolment: Enrolment) -> str | None:
    """Return the address of the broker's listener for the credential of a device."""
    settings = context.settings
    if enrolment.credential == "certificate":
        return settings.device_certificate_broker or settings.device_broker
    return settings.device_broker


def _device_ca(context: RequestContext) -> str | None:
    path = context.settings.device_ca
    try:
        return None if path is None else path.read_text("ascii")
    except (OSError, ValueError) as error:
        log.exception("device_ca_unreadable", path=str(path))
        raise ProblemError(500, "the gateway can't read its device_ca: see its log") from error


def _code_response(one: EnrolmentCode) -> models.CodeResponse:
    return models.CodeResponse(
        code_id=one.code_id,
        area=one.area_id,
        devices=one.devices,
        proposals=one.proposals,
        created=utc_datetime(one.created_s),
        created_by=one.created_by,
        expires=utc_datetime(one.expires_s),
        revoked=None if one.revoked_s is None else utc_datetime(one.revoked_s),
    )


def _enrolment_response(one: Enrolment) -> models.EnrolmentResponse:
    row: dict[str, Any] = msgspec.to_builtins(one)
    for name in ("code_id", "token_hash", "request", "certificate"):
        del row[name]
    area, device, decided_s = row.pop("area_id"), row.pop("device_id"), row.pop("decided_s")
    proposed = utc_datetime(row.pop("proposed_s"))
    decided = None if decided_s is None else utc_datetime(decided_s)
    return models.EnrolmentResponse(area=area, device=device, proposed=proposed, decided=decided, **row)
