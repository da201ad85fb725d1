"""Detects that the client of a queued request has disconnected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

DISCONNECT_MESSAGE: Message = {"type": "http.disconnect"}


class DisconnectWatcher:
    """ASGI ``receive`` of a request without a body that detects a disconnect before the application receives.

    Requests with a body are not watched: the parts received meanwhile would have to be buffered.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._watch_task = asyncio.create_task(self._watch())
        self.is_disconnected = False

    async def __call__(self) -> Message:
        """Return the next message; after the last one always ``http.disconnect``."""
        if self.is_disconnected and self._messages.empty():
            return DISCONNECT_MESSAGE
        return await self._messages.get()

    def close(self) -> None:
        """Stop watching."""
        self._watch_task.cancel()

    async def _watch(self) -> None:
        while not self.is_disconnected:
            message = await self._receive()
            self.is_disconnected = message["type"] == "http.disconnect"
            self._messages.put_nowait(message)


def has_no_body(scope: Scope) -> bool:
    """Whether the headers of a request announce no body (RFC 9112, section 6)."""
    return scope["type"] == "http" and not any(
        name in {b"transfer-encoding", b"content-length"} and value != b"0"
        for name, value in scope["headers"]
    )
