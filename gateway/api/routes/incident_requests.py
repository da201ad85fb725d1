"""Routes of the requests of incidents (extension, return, hold) and of their photos."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from analytics.incidents import edits
from gateway.api import query_params
from gateway.api.incident_access import IncidentAccess, photo_response, request_response
from gateway.api.models import incident_models as models
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import INCIDENT_WORK, INCIDENTS, requires
from gateway.formats import photos as photo_format
from ingest_service.storage.contract.incidents import IncidentPhoto, IncidentQuery, IncidentUpdate

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])

IncidentIdParam = Annotated[int, query_params.ID_PATH]
PHOTO_OPENAPI = {
    "requestBody": {
        "required": True,
        "description": "A JPEG, PNG or WebP file; it is encoded anew, without metadata",
        "content": {
            name: {"schema": {"type": "string", "format": "binary"}}
            for name in ("image/jpeg", "image/png", "image/webp")
        },
    }
}
MAX_PHOTOS = 50  # of one incident
MAX_WAITING_REQUESTS = 1000


@router.get("/requests", responses=problem_responses())
@requires(INCIDENTS)
def waiting_requests(
    context: CurrentContext,
    state: Annotated[Literal["waiting", "approved", "refused", "withdrawn"], Query()] = "waiting",
) -> list[models.RequestResponse]:
    """Requests in a state, of all incidents that you may see, oldest first."""
    access = IncidentAccess.of(context)
    found = access.store.requests(state=state, limit=MAX_WAITING_REQUESTS)
    ids = sorted({one.incident_id for one in found})
    query = access.restricted(IncidentQuery(incident_ids=ids, limit=max(1, len(ids))))
    visible = {one.incident_id for one in access.store.found(query)}
    return [request_response(one) for one in found if one.incident_id in visible]


@router.get("/{incident_id}/requests", responses=problem_responses(404))
@requires(INCIDENTS)
def requests_of(context: CurrentContext, incident_id: IncidentIdParam) -> list[models.RequestResponse]:
    """Requests of an incident with their decisions, oldest first."""
    access = IncidentAccess.of(context)
    access.visible(incident_id)
    return [request_response(one) for one in access.store.requests(incident_id=incident_id)]


@router.post("/{incident_id}/requests", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_WORK)
def make_request(
    context: CurrentContext, incident_id: IncidentIdParam, requested: models.ApprovalRequest
) -> models.RequestResponse:
    """Make a request for an extension (延期), a return (回退) or a hold (挂账)."""
    access = IncidentAccess.of(context)
    approval, update = edits.request_approval(
        access.changeable(incident_id, requested.revision),
        requested.kind,
        who=access.who,
        role=access.role,
        at_s=access.now_s,
        why=requested.why,
        until_s=requested.until.timestamp() if requested.until else None,
    )
    stored = access.store.add_request(approval, update)
    if stored is None:
        raise ProblemError(409, f"a request for {requested.kind} is waiting for its decision already")
    return request_response(stored)


@router.post("/{incident_id}/requests/{request_id}/decision", responses=problem_responses(403, 404, 409))
@requires(INCIDENT_WORK)
def decide(
    context: CurrentContext,
    incident_id: IncidentIdParam,
    request_id: Annotated[int, query_params.ID_PATH],
    decision: models.RequestDecision,
) -> models.IncidentResponse:
    """Approve or refuse a request, by the role that it names; or withdraw your own."""
    access = IncidentAccess.of(context)
    incident = access.changeable(incident_id, decision.revision)
    made = next(
        (one for one in access.store.requests(incident_id=incident_id) if one.request_id == request_id), None
    )
    if made is None:
        raise not_found("request", request_id)
    decided, update = edits.decide_request(
        incident,
        made,
        decision.state,
        who=access.who,
        role=access.role,
        at_s=access.now_s,
        why=decision.why,
    )
    changed = access.store.decide_request(decided, update)
    if changed is None:
        raise ProblemError(409, f"request {request_id} is {made.state} already")
    return access.response(changed)


async def _body(request: Request) -> bytes:
    return await request.body()


@router.get("/{incident_id}/photos", responses=problem_responses(404))
@requires(INCIDENTS)
def photos(context: CurrentContext, incident_id: IncidentIdParam) -> list[models.PhotoResponse]:
    """The photos of an incident without their content, oldest first."""
    access = IncidentAccess.of(context)
    access.visible(incident_id)
    return [photo_response(one) for one in access.store.photos(incident_id)]


@router.post(
    "/{incident_id}/photos",
    responses=problem_responses(403, 404, 409, 413, 415),
    openapi_extra=PHOTO_OPENAPI,
)
@requires(INCIDENT_WORK)
def add_photo(
    context: CurrentContext,
    incident_id: IncidentIdParam,
    uploaded: Annotated[bytes, Depends(_body)],
    caption: Annotated[str, Query(max_length=500)] = "",
) -> models.PhotoResponse:
    """Add a photo: the body is the file. It is scaled down and encoded anew, without its metadata."""
    access = IncidentAccess.of(context)
    return photo_response(store_photo(access, incident_id, uploaded, caption))


@router.get(
    "/{incident_id}/photos/{photo_id}",
    response_class=Response,
    responses=problem_responses(404) | {200: {"content": {"image/jpeg": {}, "image/png": {}}}},
)
@requires(INCIDENTS)
def photo_content(
    context: CurrentContext,
    incident_id: IncidentIdParam,
    photo_id: Annotated[int, query_params.ID_PATH],
) -> Response:
    """The content of a photo."""
    access = IncidentAccess.of(context)
    access.visible(incident_id)
    found = access.store.photo_content(incident_id, photo_id)
    if found is None:
        raise not_found("photo", photo_id)
    media_type, content = found
    return Response(
        content,
        media_type=media_type,
        headers={"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"},
    )


def store_photo(access: IncidentAccess, incident_id: int, uploaded: bytes, caption: str) -> IncidentPhoto:
    """Encode an uploaded photo anew and store it with a history entry.

    Raises
    ------
    ProblemError
        404 where the incident is not visible, 413 where the photo is too large, 415 where it is none, 409
        where the incident has its number of photos already.

    """
    settings = access.context.settings
    incident = access.visible(incident_id)
    if "\0" in caption:
        raise ProblemError(422, "caption: there must be no NUL in it", where="caption")
    if len(uploaded) > settings.photo_bytes:
        raise ProblemError(
            413, f"the photo is larger than {settings.photo_bytes:,} bytes: send a smaller one"
        )
    if len(access.store.photos(incident_id)) >= MAX_PHOTOS:
        raise ProblemError(409, f"incident {incident_id} has {MAX_PHOTOS} photos already")
    try:
        encoded = photo_format.reencode(uploaded, max_side_px=settings.photo_pixels)
    except photo_format.PhotoError as error:
        raise ProblemError(415, str(error)) from error
    photo = IncidentPhoto(
        incident_id=incident_id,
        at_s=access.now_s,
        who=access.who,
        caption=caption,
        media_type="image/jpeg",
        width=encoded.width,
        height=encoded.height,
    )
    entry = edits.record("photo", who=access.who, at_s=access.now_s, why=caption)
    update = IncidentUpdate(incident=msgspec.structs.replace(incident), entries=[entry])
    return access.store.add_photo(photo, encoded.content, update)
