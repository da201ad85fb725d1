"""Error responses as problem details (RFC 9457): what was wrong, where, and what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ingest_service.storage.answers import OtherDatabase
from ingest_service.storage.errors import StoreRefused, StoreTimeout, StoreUnavailable, TextRefused

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_S = "5"


class Problem(BaseModel):
    """A problem, as RFC 9457 has it; ``where`` names the parameter that is wrong."""

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


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an operation may answer with, for its documentation."""
    return {
        code: {"model": Problem, "description": HTTPStatus(code).phrase, "content": {MEDIA_TYPE: {}}}
        for code in (400, *codes, 422, 503, 504)
    }


class ProblemError(Exception):
    """An operation can't do what it was asked."""

    def __init__(
        self, status: int, detail: str, *, where: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.where = where
        self.headers = headers


def not_found(what: str, name: object) -> ProblemError:
    """There is no such thing."""
    return ProblemError(404, f"there is no {what} {name!r}")


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""

    @app.exception_handler(ProblemError)
    async def ours(_request: Request, error: ProblemError) -> JSONResponse:
        return answer(error.status, str(error), where=error.where, headers=error.headers)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = error.errors()
        said = [one["msg"].removeprefix("Value error, ") for one in wrong]
        places = [one["loc"] for one in wrong]
        sentences = [f"{' '.join(map(str, at))}: {one}" for at, one in zip(places, said, strict=True)]
        named = [part for part in places[0] if isinstance(part, str)]  # the rest are places in lists
        return answer(422, "; ".join(sentences), where=named[-1])

    @app.exception_handler(StoreUnavailable)
    async def unavailable(_request: Request, error: StoreUnavailable) -> JSONResponse:
        return away(error)

    @app.exception_handler(StoreTimeout)
    async def slow(_request: Request, error: StoreTimeout) -> JSONResponse:
        log.warning("store_timeout", error=str(error))
        return answer(
            504, "the database took too long: ask for a shorter time, fewer series or sites, or wider buckets"
        )

    @app.exception_handler(OtherDatabase)
    async def other(_request: Request, _error: OtherDatabase) -> JSONResponse:
        detail = "reproduce: the token is of another database, or of before this one was restored"
        return answer(422, detail, where="reproduce")

    @app.exception_handler(TextRefused)
    async def text(_request: Request, _error: TextRefused) -> JSONResponse:
        return answer(422, "a text holds the character NUL (U+0000), which nothing here does: leave it out")

    @app.exception_handler(StoreRefused)
    async def refused(_request: Request, error: StoreRefused) -> JSONResponse:
        return away(error)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, exc_info=error)
        return answer(500, "the gateway failed: see its log")


def away(error: Exception) -> JSONResponse:
    """What is said when the store failed; what it said itself is for the log alone."""
    if isinstance(error, StoreUnavailable):
        log.warning("store_unavailable", error=str(error))
        detail = "the database is away: try again in a few seconds"
        return answer(503, detail, headers={"Retry-After": RETRY_S})
    log.error("store_refused", error=str(error))
    return answer(500, "the database refused the query: see the gateway's log")


def answer(
    status: int, detail: str, *, where: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, where=where)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)
