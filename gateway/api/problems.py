"""Converts errors to HTTP problem details (RFC 9457) that name the cause, the parameter and the remedy."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from analytics.incidents.state_machine import IllegalTransitionError, IncidentError, RoleError
from gateway.errors import GatewayError
from ingest_service.storage.contract.errors import (
    InvalidTextError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from ingest_service.storage.contract.incidents import RevisionConflictError
from ingest_service.storage.postgres.query_api import OtherDatabaseError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = structlog.get_logger()

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"
FASTAPI_UNREADABLE_BODY = "There was an error parsing the body"
UNREADABLE_BODY = "the body can't be read as JSON: see whether it is in UTF-8, and not nested too deeply"


class Problem(BaseModel):
    """Problem details (RFC 9457); ``where`` names the parameter that is wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "query limit: Input should be greater than or equal to 1",
                    "where": "limit",
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str = Field(description="The status in words")
    status: int
    detail: str = Field(description="What was wrong, and what to do")
    where: str | None = Field(default=None, description="The parameter that is wrong")
    legal: list[str] | None = Field(default=None, description="Events of an incident that are legal instead")


def problem_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of an operation's error responses."""
    return {
        code: {"model": Problem, "description": HTTPStatus(code).phrase, "content": {PROBLEM_MEDIA_TYPE: {}}}
        for code in (400, *codes, 422, 503, 504)
    }


class ProblemError(GatewayError):
    """A request that can't be fulfilled: status, sentence, wrong parameter, and headers of the response."""

    def __init__(
        self, status: int, detail: str, *, where: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.where = where
        self.headers = headers


def not_found(resource_kind: str, name: object) -> ProblemError:
    """Return the 404 for an unknown id or name."""
    return ProblemError(404, f"there is no {resource_kind} {name!r}")


def add_error_handlers(app: FastAPI) -> None:  # noqa: C901 - a handler per kind of error
    """Register handlers that answer every error with a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem_error(_request: Request, error: ProblemError) -> JSONResponse:
        return problem_response(error.status, str(error), where=error.where, headers=error.headers)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        detail = UNREADABLE_BODY if error.detail == FASTAPI_UNREADABLE_BODY else str(error.detail)
        return problem_response(error.status_code, detail, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        if (problem := _json_problem(request, errors[0])) is not None:
            return problem
        messages = [one["msg"].removeprefix("Value error, ") for one in errors]
        locations = [one["loc"] for one in errors]
        sentences = [f"{' '.join(map(str, at))}: {one}" for at, one in zip(locations, messages, strict=True)]
        name_parts = [part for part in locations[0] if isinstance(part, str)]  # integers are indexes of lists
        return problem_response(422, "; ".join(sentences), where=name_parts[-1])

    @app.exception_handler(StoreUnavailableError)
    async def on_store_unavailable(_request: Request, error: StoreUnavailableError) -> JSONResponse:
        return store_error_response(error)

    @app.exception_handler(StoreTimeoutError)
    async def on_store_timeout(_request: Request, error: StoreTimeoutError) -> JSONResponse:
        log.warning("store_timeout", error=str(error))
        return problem_response(
            504, "the database took too long: ask for a shorter time, fewer series or sites, or wider buckets"
        )

    @app.exception_handler(OtherDatabaseError)
    async def on_other_database(_request: Request, _error: OtherDatabaseError) -> JSONResponse:
        detail = "reproduce: the token is of another database, or of before this one was restored"
        return problem_response(422, detail, where="reproduce")

    @app.exception_handler(InvalidTextError)
    async def on_invalid_text(_request: Request, _error: InvalidTextError) -> JSONResponse:
        return problem_response(
            422, "a text holds the character NUL (U+0000), which nothing here does: leave it out"
        )

    @app.exception_handler(IncidentError)
    async def on_incident_error(_request: Request, error: IncidentError) -> JSONResponse:
        if isinstance(error, IllegalTransitionError):
            return problem_response(409, str(error), where="event", legal=error.legal)
        return problem_response(403 if isinstance(error, RoleError) else 422, str(error))

    @app.exception_handler(RevisionConflictError)
    async def on_revision_conflict(_request: Request, error: RevisionConflictError) -> JSONResponse:
        return problem_response(409, str(error), where="revision")

    @app.exception_handler(StoreRefusedError)
    async def on_store_refused(_request: Request, error: StoreRefusedError) -> JSONResponse:
        return store_error_response(error)

    @app.exception_handler(Exception)
    async def on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, exc_info=error)
        return problem_response(500, "the gateway failed: see its log")


def _json_problem(request: Request, error: dict[str, Any]) -> JSONResponse | None:
    """Return the problem of a body that is no JSON, or not sent as that; None for another error."""
    if error["type"] == "json_invalid":
        reason = error.get("ctx", {}).get("error", "it can't be read")
        return problem_response(
            422, f"body: is no JSON, at character {error['loc'][-1]}: {reason}: mend it there", where="body"
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if error["loc"] == ("body",) and isinstance(error.get("input"), bytes) and "json" not in media_type:
        detail = f"content-type: is {media_type or 'missing'}: send the body as application/json"
        return problem_response(422, detail, where="content-type")
    return None


def store_error_response(error: Exception) -> JSONResponse:
    """Return the response to a failure of the store; the store's own message is logged, not sent."""
    if isinstance(error, StoreUnavailableError):
        log.warning("store_unavailable", error=str(error))
        detail = "the database is away: try again in a few seconds"
        return problem_response(503, detail, headers={"Retry-After": RETRY_AFTER_S})
    log.error("store_refused", error=str(error))
    return problem_response(500, "the database refused the query: see the gateway's log")


def problem_response(
    status: int,
    detail: str,
    *,
    where: str | None = None,
    headers: dict[str, str] | None = None,
    legal: list[str] | None = None,
) -> JSONResponse:
    """Return a problem as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, where=where, legal=legal)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers, PROBLEM_MEDIA_TYPE)
