"""Detects that the client of a waiting request has disconnected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

DISCONNECT_MESSAGE: Message = {"type": "http.disconnect"}


class DisconnectWatcher:
    """A receiver of a request without a body: it notices that the client is gone while nobody receives.

    Bodies are not watched: what comes meanwhile would have to be kept.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._watch_task = asyncio.create_task(self._watch())
        self.is_disconnected = False

    async def __call__(self) -> Message:
        """The next message; after the last one, that the client is gone."""
        if self.is_disconnected and self._messages.empty():
            return DISCONNECT_MESSAGE
        return await self._messages.get()

    def close(self) -> None:
        """Watch no longer."""
        self._watch_task.cancel()

    async def _watch(self) -> None:
        while not self.is_disconnected:
            message = await self._receive()
            self.is_disconnected = message["type"] == "http.disconnect"
            self._messages.put_nowait(message)


def has_no_body(scope: Scope) -> bool:
    """Whether a request announces no body (RFC 9112, section 6)."""
    return scope["type"] == "http" and not any(
        name in {b"transfer-encoding", b"content-length"} and value != b"0"
        for name, value in scope["headers"]
    )
