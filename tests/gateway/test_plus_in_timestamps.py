"""Tests that a timestamp whose plus was decoded to a space is accepted on every route."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from gateway.api import query_params

if TYPE_CHECKING:
    from collections.abc import Callable

    from httpx import AsyncClient, Response

FROM, TO = "2026-11-23T08:00:00+08:00", "2026-11-23T09:30:00.5+08:00"
OTHERS = {"/v1/series/{series_id}/buckets": "&width=PT1H", "/v1/plot": "&series=1"}


def test_a_plus_that_became_a_blank_is_understood_on_every_route(client: Callable[[], AsyncClient]) -> None:
    async def asked() -> dict[str, tuple[Response, Response]]:
        found = {}
        async with client() as one:
            described = (await one.get("/openapi.json")).json()["paths"]
            for path, of in described.items():
                named = {each["name"]: each for each in of.get("get", {}).get("parameters", [])}
                if "date-time" not in str(named.get("from")):
                    continue
                url = path.format(series_id=1) + "?"
                raw = await one.get(f"{url}from={FROM}&to={TO}{OTHERS.get(path, '')}")
                coded = await one.get(f"{url}from={quote(FROM)}&to={quote(TO)}{OTHERS.get(path, '')}")
                found[path] = (raw, coded)
        return found

    found = asyncio.run(asked())
    assert len(found) >= 4
    for path, (raw, coded) in found.items():
        assert (raw.status_code, coded.status_code) == (200, 200), (path, raw.text)
        assert raw.json() == coded.json(), path


@pytest.mark.parametrize(
    "text",
    ["2026-11-23T08:00:00", "2026-11-23 08:00", "2026-11-23T08:00:00 8", "2026-11-23 08:00:00 noon", " "],
)
def test_a_blank_that_was_no_plus_stays_one(text: str) -> None:
    assert query_params._restore_plus(text) == text
