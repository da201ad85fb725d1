"""Calls an ASGI application in-process, including responses that never end."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from httpx import ASGITransport, AsyncClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from httpx import Response

LOOPBACK = ("127.0.0.1", 5)


def send_request(
    app: FastAPI, method: str, path: str, *, client: tuple[str, int] = LOOPBACK, **request_options: Any
) -> Response:
    """Send one request; return the complete response.

    It is sent in a thread of its own: Playwright keeps an event loop running in that of the tests.
    """

    async def send_once() -> Response:
        transport = ASGITransport(app, raise_app_exceptions=False, client=client)
        async with AsyncClient(transport=transport, base_url="http://gateway") as client_session:
            return await client_session.request(method, path, **request_options)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, send_once()).result()


def statuses_until_limited(send: Callable[[int], int]) -> list[int]:
    """Return the statuses of repeated requests up to the first 429, 500 at most.

    The buckets refill with time: on a slow machine a fixed small number of requests may never empty one.
    """
    statuses: list[int] = []
    while len(statuses) < 500 and 429 not in statuses:
        statuses.append(send(len(statuses)))
    return statuses


class StreamedResponse:
    """A response that is still being streamed: its status and the text received so far."""

    def __init__(self, app: FastAPI, path: str, headers: dict[str, str], query: str = "") -> None:
        self.status = 0
        self.text = ""
        self._disconnected = asyncio.Event()
        self._app = app
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": LOOPBACK,
            "server": ("gateway", 80),
        }
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def until(self, condition: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)

    async def disconnect(self) -> None:
        """Disconnect and wait for the application to end."""
        self._disconnected.set()
        await asyncio.wait([self.task], timeout=10)

    async def _receive(self) -> dict[str, Any]:
        if not getattr(self, "_request_sent", False):
            self._request_sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message.get("body", b"").decode()
