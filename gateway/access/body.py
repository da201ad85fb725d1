"""Reads a request's body within a time and a size, and refuses it otherwise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import Message, Receive


class Body:
    """A receiver that counts what comes, and the time that it takes.

    Raises `HTTPException` 413 beyond ``most_bytes``, 408 after ``within_s`` without the end.
    """

    def __init__(self, receive: Receive, *, most_bytes: int, within_s: float) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._within_s = within_s
        self._ends_s: float | None = None
        self._so_far_bytes = 0
        self._is_over = False

    async def __call__(self) -> Message:
        """The next part; once the body is over, whatever comes, whenever it comes."""
        if self._is_over:
            return await self._receive()
        now_s = asyncio.get_running_loop().time()
        self._ends_s = self._ends_s or now_s + self._within_s
        try:
            async with asyncio.timeout_at(self._ends_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body did not come within {self._within_s:g} s", {"Connection": "close"}
            ) from error
        self._so_far_bytes += len(message.get("body", b""))
        self._is_over = not message.get("more_body", False)
        if self._so_far_bytes > self._most_bytes:
            raise HTTPException(413, too_large(self._most_bytes), {"Connection": "close"})
        return message


def too_large(most_bytes: int) -> str:
    """What is said of a body that is too large."""
    return f"the body is larger than {most_bytes:,} bytes: send it in parts (gateway setting body_bytes)"
