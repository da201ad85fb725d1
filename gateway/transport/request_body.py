"""Limits the size of a request's body and the time to receive it (413, 408)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import Message, Receive


class LimitedBodyReceiver:
    """ASGI ``receive`` that limits the body's size and the time until its end.

    Raises `HTTPException` 413 beyond ``max_bytes``, 408 if the body is incomplete after ``timeout_s`` [s].
    """

    def __init__(self, receive: Receive, *, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._deadline_s: float | None = None
        self._received_bytes = 0
        self._is_complete = False

    async def __call__(self) -> Message:
        """Return the next part of the body; after its end, the next message without any limit."""
        if self._is_complete:
            return await self._receive()
        now_s = asyncio.get_running_loop().time()
        self._deadline_s = self._deadline_s or now_s + self._timeout_s
        try:
            async with asyncio.timeout_at(self._deadline_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body did not come within {self._timeout_s:g} s", {"Connection": "close"}
            ) from error
        self._received_bytes += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._received_bytes > self._max_bytes:
            raise HTTPException(413, body_too_large_text(self._max_bytes), {"Connection": "close"})
        return message


def body_too_large_text(max_bytes: int) -> str:
    """Return the problem detail for a body that is too large."""
    return f"the body is larger than {max_bytes:,} bytes: send it in parts (gateway setting body_bytes)"
