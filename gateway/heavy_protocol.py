"""Messages between the gateway and its process for heavy requests, one connection a request.

The gateway sends a `HeavyRequest`, then what it receives from the client: `BodyPart`, or `BodyRefused`. It
closes the connection where the client is gone. The process answers with `Began`, then `Sent` until the last
one; where it closes the connection before that, the request failed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from gateway.access.principal import Principal  # msgspec reads it

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
LENGTH: Final = struct.Struct(">I")


class HeavyRequest(msgspec.Struct, frozen=True):
    """What the process needs of an ASGI scope, and who was let in."""

    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    scheme: str
    http_version: str
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    principal: Principal
    address: str
    directory_changes: int  # a directory that the process read before these is out of date


class BodyPart(msgspec.Struct, frozen=True, tag=True):
    """A part of the request's body."""

    body: bytes
    more: bool


class BodyRefused(msgspec.Struct, frozen=True, tag=True):
    """The body is too large, or came too slowly."""

    status: int
    detail: str
    headers: dict[str, str]


class Noted(msgspec.Struct, frozen=True):
    """What the audit has to know of an answer so far."""

    rows: int
    is_export: bool
    detail: dict[str, Any]


class Began(msgspec.Struct, frozen=True, tag=True):
    """Status and headers; ``route`` is the path of the route as it is declared."""

    status: int
    headers: list[tuple[bytes, bytes]]
    route: str | None
    noted: Noted


class Sent(msgspec.Struct, frozen=True, tag=True):
    """A part of the answer's body."""

    body: bytes
    more: bool
    noted: Noted


async def write(writer: asyncio.StreamWriter, *messages: msgspec.Struct) -> None:
    """Send messages in one piece, and wait while the other side is slow. Raises OSError where it is gone."""
    contents = [msgspec.msgpack.encode(one) for one in messages]
    writer.write(b"".join(part for one in contents for part in (LENGTH.pack(len(one)), one)))
    await writer.drain()


async def read(reader: asyncio.StreamReader, kind: type[T]) -> T:
    """The next message. Raises `asyncio.IncompleteReadError` or OSError where the other side is gone."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return msgspec.msgpack.decode(await reader.readexactly(length), type=kind)
