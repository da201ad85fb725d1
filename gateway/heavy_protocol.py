"""Message types between the gateway and its heavy worker process (MessagePack, one connection a request).

The gateway sends a `HeavyRequest`, then each part of the client's body: `BodyPart`, or `BodyRejection`. It
closes the connection when the client disconnects. The worker sends `ResponseStart`, then `ResponseBody` until
the last part; if it closes the connection before that, the request failed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from gateway.auth.principal import Principal  # at run time: msgspec resolves the annotation

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
LENGTH_PREFIX: Final = struct.Struct(">I")


class HeavyRequest(msgspec.Struct, frozen=True):
    """The parts of the ASGI scope that the worker needs, and the authenticated principal."""

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
    directory_changes: int  # change count: if it differs, the worker's cached directory is out of date


class BodyPart(msgspec.Struct, frozen=True, tag=True):
    """A part of the request's body."""

    body: bytes
    has_more: bool


class BodyRejection(msgspec.Struct, frozen=True, tag=True):
    """The body is too large, or arrived too slowly: status and problem detail of the error response."""

    status: int
    detail: str
    headers: dict[str, str]


class ResponseAuditData(msgspec.Struct, frozen=True):
    """Fields of the audit record and time not to be charged, as far as the response has got."""

    rows: int
    is_export: bool
    detail: dict[str, Any]
    uncharged_s: float = 0.0  # not an audit field: see `RequestAuth`


class ResponseStart(msgspec.Struct, frozen=True, tag=True):
    """Status and headers; ``route`` is the path template of the matched route."""

    status: int
    headers: list[tuple[bytes, bytes]]
    route: str | None
    audit_data: ResponseAuditData


class ResponseBody(msgspec.Struct, frozen=True, tag=True):
    """A part of the response body."""

    body: bytes
    has_more: bool
    audit_data: ResponseAuditData


async def write_messages(writer: asyncio.StreamWriter, *messages: msgspec.Struct) -> None:
    """Send messages in one write, and wait until the buffer drains. Raises OSError if the peer has closed."""
    encoded = [msgspec.msgpack.encode(one) for one in messages]
    writer.write(b"".join(part for one in encoded for part in (LENGTH_PREFIX.pack(len(one)), one)))
    await writer.drain()


async def read_message(reader: asyncio.StreamReader, message_type: type[T]) -> T:
    """Return the next message. Raises `asyncio.IncompleteReadError` or OSError if the peer has closed."""
    (length,) = LENGTH_PREFIX.unpack(await reader.readexactly(LENGTH_PREFIX.size))
    return msgspec.msgpack.decode(await reader.readexactly(length), type=message_type)
