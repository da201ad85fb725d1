"""Sends requests to a gateway app in-process, and collects all pages of a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from httpx import AsyncClient, Response

ClientFactory = Callable[[], AsyncClient]
WIDE_TIME_RANGE: dict[str, Any] = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}


def get_response(
    client: ClientFactory, path: str, *, headers: dict[str, str] | None = None, **params: Any
) -> Response:
    """Return the response to a GET request."""

    async def send() -> Response:
        async with client() as one:
            return await one.get(path, params=params or None, headers=headers)

    return asyncio.run(send())


def all_items(client: ClientFactory, path: str, **params: Any) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    collected: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = get_response(client, path, **params, **cursor).json()
        collected += page["items"]
        if page["next"] is None:
            return collected
        cursor = {"cursor": page["next"]}
