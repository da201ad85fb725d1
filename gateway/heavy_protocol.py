"""Messages between the gateway and its process for heavy requests, one connection a request.

The gateway sends a `HeavyRequest`, then what it receives from the client: `BodyPart`, or `BodyError`. It
closes the connection where the client is gone. The process answers with `ResponseStart`, then `ResponseBody`
until the last one; where it closes the connection before that, the request failed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from gateway.auth.principal import Principal  # msgspec reads it

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
LENGTH_PREFIX: Final = struct.Struct(">I")


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
    has_more: bool


class BodyError(msgspec.Struct, frozen=True, tag=True):
    """The body is too large, or came too slowly."""

    status: int
    detail: str
    headers: dict[str, str]


class ResponseAuditData(msgspec.Struct, frozen=True):
    """What the audit has to know of an answer so far."""

    rows: int
    is_export: bool
    detail: dict[str, Any]


class ResponseStart(msgspec.Struct, frozen=True, tag=True):
    """Status and headers; ``route`` is the path of the route as it is declared."""

    status: int
    headers: list[tuple[bytes, bytes]]
    route: str | None
    audit_data: ResponseAuditData


class ResponseBody(msgspec.Struct, frozen=True, tag=True):
    """A part of the answer's body."""

    body: bytes
    has_more: bool
    audit_data: ResponseAuditData


async def write_messages(writer: asyncio.StreamWriter, *messages: msgspec.Struct) -> None:
    """Send messages in one piece, and wait while the other side is slow. Raises OSError where it is gone."""
    encoded = [msgspec.msgpack.encode(one) for one in messages]
    writer.write(b"".join(part for one in encoded for part in (LENGTH_PREFIX.pack(len(one)), one)))
    await writer.drain()


async def read_message(reader: asyncio.StreamReader, message_type: type[T]) -> T:
    """The next message. Raises `asyncio.IncompleteReadError` or OSError where the other side is gone."""
    (length,) = LENGTH_PREFIX.unpack(await reader.readexactly(LENGTH_PREFIX.size))
    return msgspec.msgpack.decode(await reader.readexactly(length), type=message_type)
