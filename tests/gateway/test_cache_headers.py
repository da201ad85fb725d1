"""Tests that responses that depend on the API key forbid shared caching."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ingest_service.storage.memory.store import MemoryStore
from tests.support.asgi import send_request
from tests.support.gateway_access import HEADERS, gateway_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import AsyncClient, Response

CREDENTIALS = {"authorization", "x-api-key", "cookie"}
SHARED = ("/docs", "/openapi.json")
NAMES = {
    "series_id": "1",
    "anomaly_id": "1",
    "letter_id": "1",
    "site_id": "x",
    "area": "x",
    "month": "2026-01",
    "enrolment_id": "1",
    "code_id": "0" * 12,
    "device_id": "x",
    "command_id": "1",
}


def check_cache_headers(answer: Response, path: str) -> None:
    control = answer.headers["cache-control"]
    assert "private" in control, path
    assert "no-store" in control or ("no-cache" in control and "etag" in answer.headers), path
    varied = {one.strip().lower() for one in answer.headers["vary"].split(",")}
    assert varied >= CREDENTIALS, path


@pytest.mark.parametrize("headers", [HEADERS, {}], ids=["with a key", "without"])
def test_every_answer_that_depends_on_a_key_is_kept_from_caches(headers: dict[str, str]) -> None:
    app = gateway_app(MemoryStore())
    paths = [one.path for one in app.state.route_rights if one.method == "GET"]
    for path in (one.replace(":path", "") for one in paths):
        if path.startswith((*SHARED, "/v1/live", "/_nicegui")):
            continue
        named = path.format(key_id="0" * 12, name="x", path="Things", **NAMES)
        check_cache_headers(send_request(app, "GET", named, headers=headers), path)


def test_what_is_varied_by_form_is_varied_by_key_too(client: Callable[[], AsyncClient]) -> None:
    async def requested() -> tuple[Response, Response]:
        async with client() as one:
            answer = await one.get("/v1/anomalies", headers={"Accept-Encoding": "gzip"})
            return answer, await one.get("/sta/v1.1/Things")

    answer, things = asyncio.run(requested())
    assert answer.headers["cache-control"] == "private, no-cache"
    varied = {name.strip().lower() for name in answer.headers["vary"].split(",")}
    assert varied >= CREDENTIALS | {"accept", "accept-encoding"}
    assert things.headers["cache-control"] == "private, no-store"


def test_what_is_the_same_for_everybody_may_be_cached() -> None:
    answer = send_request(gateway_app(MemoryStore()), "GET", "/docs/swagger-ui.css")
    assert answer.headers["cache-control"] == "public, max-age=86400"
