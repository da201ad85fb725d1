"""Questions to a gateway that is called without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from httpx import AsyncClient, Response

Client = Callable[[], AsyncClient]
WIDE: dict[str, Any] = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}


def get(client: Client, path: str, *, headers: dict[str, str] | None = None, **params: Any) -> Response:
    """An answer."""

    async def ask() -> Response:
        async with client() as one:
            return await one.get(path, params=params or None, headers=headers)

    return asyncio.run(ask())


def items(client: Client, path: str, **params: Any) -> list[dict[str, Any]]:
    """All pages, one after the other."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = get(client, path, **params, **cursor).json()
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}
