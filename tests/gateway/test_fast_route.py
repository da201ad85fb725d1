"""Tests that the fast route accepts and refuses the same parameters as FastAPI, with the same messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlencode

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.routing import APIRoute
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import fast_route, problems, query_params

if TYPE_CHECKING:
    from httpx import Response as Answer


async def _read_format(
    _request: Request, form: Annotated[str, Query(alias="format", max_length=4)] = "json"
) -> str:
    return form


def _endpoint(  # noqa: PLR0917 - as the endpoints are that FastAPI calls
    seen: Annotated[str, Depends(_read_format)],
    number: Annotated[int, Path(ge=1, lt=100)],
    width: Annotated[int, Query(ge=2)],
    area: query_params.AreaParam = None,
    from_: query_params.FromParam = None,
    series: Annotated[list[Annotated[int, Query(ge=1)]] | None, Query(max_length=3)] = None,
    direction: Literal["up", "down"] = "up",
    within_m: Annotated[float | None, Query(gt=0, le=1e7)] = None,
) -> Response:
    return Response(repr((seen, number, width, area, from_, series, direction, within_m)))


def _app(kind: type[APIRoute]) -> FastAPI:
    app, router = FastAPI(), APIRouter(route_class=kind)
    router.get("/of/{number}")(_endpoint)
    app.router.routes.extend(router.routes)
    problems.add_error_handlers(app)
    return app


FAST_APP, FASTAPI_APP = _app(fast_route.FastRoute), _app(APIRoute)
NAMES = ["format", "width", "area", "from", "series", "direction", "within_m", "another", "number", "seen"]
TIME = "2026-11-23T08:00:00+08:00"
WORDS = ["", "1", "-1", "2", "1e9", "nan", "csv", "2026-11-23", "up", "sideways", "2026-11-23T08:00:00", TIME]
VALUES = st.sampled_from(WORDS) | st.text(max_size=8)


def _ask(app: FastAPI, number: str, query: list[tuple[str, str]]) -> Answer:
    async def ask() -> Answer:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://gateway") as client:
            return await client.get(f"/of/{number}", params=urlencode(query))

    return asyncio.run(ask())


@given(
    number=st.sampled_from(["7", "0", "x", "1e3", "%20"]),
    query=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8),
    width=st.sampled_from([[], [("width", "3600")]]),
)
def test_the_same_is_taken_and_refused(
    number: str, query: list[tuple[str, str]], width: list[tuple[str, str]]
) -> None:
    fast, reference = (_ask(app, number, query + width) for app in (FAST_APP, FASTAPI_APP))
    assert (fast.status_code, fast.text) == (reference.status_code, reference.text)


def test_both_describe_the_same() -> None:
    assert FAST_APP.openapi() == FASTAPI_APP.openapi()


def test_a_good_question_is_answered() -> None:
    query = [("width", "3600"), ("series", "1"), ("series", "2"), ("from", TIME), ("area", "330400")]
    answer = _ask(FAST_APP, "7", query)
    assert answer.status_code == 200
    assert answer.text.startswith("('json', 7, 3600, '330400', datetime.datetime(2026, 11, 23, 0, 0")
    assert "[1, 2]" in answer.text


def test_what_is_not_read_here_is_refused_when_the_route_is_made() -> None:
    def with_header(agent: Annotated[str, Header()]) -> Response:
        return Response(agent)

    with pytest.raises(TypeError, match="only queries and paths"):
        APIRouter(route_class=fast_route.FastRoute).get("/")(with_header)
