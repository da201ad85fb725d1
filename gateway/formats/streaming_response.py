"""Builds responses in the chosen format, with ETag and audit data: one page, a list, or a streamed export."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway.api import pagination, snapshots
from gateway.api.models import row_models
from gateway.auth import request_auth
from gateway.formats import encoding
from gateway.formats.negotiation import MEDIA_TYPES, ResponseFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.api.directory_cache import DirectoryIndex
    from gateway.auth.request_auth import RequestAuth
    from gateway.formats.arrow_tables import ArrowTable

T = TypeVar("T")
CHUNK_BYTES = 256 * 1024
TEXT_FORMATS, ROWS_PER_TEXT_CHUNK = {"csv", "ndjson"}, 5000


def page_response(
    response_format: ResponseFormat,
    table: ArrowTable[T],
    rows_block: T,
    *,
    next_cursor: str | None,
    token: str,
) -> Response:
    """Return one page; in JSON with the cursor `next`, otherwise with a Link header to it (RFC 8288)."""
    _count_rows(response_format, table.count(rows_block))
    if response_format.format_name == "json":
        body = encoding.JSON_ENCODER.encode(row_models.PageJson(table.rows(rows_block), next_cursor))
    else:
        body = b"".join(encoding.encode_blocks(response_format.format_name, table, [rows_block]))
        _mark_export(response_format)
    headers = _headers(response_format, table.name, token)
    if next_cursor is not None:
        headers["Link"] = f'<{pagination.next_page_url(response_format.request, next_cursor)}>; rel="next"'
    return not_modified_or(response_format, body, headers)


def list_response(
    response_format: ResponseFormat, table: ArrowTable[T], rows_block: T, *, token: str | None
) -> Response:
    """Return all rows at once, in JSON as a bare list; without a snapshot token there is no ETag."""
    if response_format.format_name != "json" or token is not None:
        _count_rows(response_format, table.count(rows_block))
        if response_format.format_name != "json":
            _mark_export(response_format)
    body = b"".join(encoding.encode_blocks(response_format.format_name, table, [rows_block]))
    headers = _headers(response_format, table.name, token)
    if token is None:
        return Response(body, headers=headers, media_type=MEDIA_TYPES[response_format.format_name])
    return not_modified_or(response_format, body, headers)


def streamed_response(
    response_format: ResponseFormat,
    table: ArrowTable[T],
    blocks: Iterator[T],
    *,
    token: str,
    directory_index: DirectoryIndex,
) -> Response:
    """Stream all rows block by block; an error in the first block still becomes a problem response.

    The ETag is a hash of the query, snapshot and versions, not of the body: with ``reproduce``, a client that
    has the response already gets 304 without any query.
    """
    cursor = response_format.request.query_params.get("cursor")
    visibility = (directory_index.directory.version, sorted(directory_index.visible_area_ids))
    identity = repr(
        (
            pagination.query_identity(response_format.request),
            cursor,
            response_format.format_name,
            token,
            visibility,
            version("towntwin"),
        )
    )
    headers = _headers(response_format, table.name, token) | _etag_headers(identity.encode())
    if _is_client_current(response_format, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if response_format.format_name in TEXT_FORMATS:
        blocks = _slice_blocks(blocks)
    chunks = encoding.encode_blocks(response_format.format_name, table, blocks)
    first = next(chunks, b"") + next(chunks, b"")
    _mark_export(response_format)
    return StreamingResponse(
        _split_chunks(chain(iter([first]), chunks)),
        headers=headers,
        media_type=MEDIA_TYPES[response_format.format_name],
    )


def not_modified_or(response_format: ResponseFormat, body: bytes, headers: dict[str, str]) -> Response:
    """Return a body with its ETag; 304 if the client has it already."""
    headers |= _etag_headers(body)
    if _is_client_current(response_format, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[response_format.format_name])


def _etag_headers(content: bytes) -> dict[str, str]:
    return {"ETag": f'W/"{sha256(content).hexdigest()[:24]}"', "Cache-Control": "private, no-cache"}


def _is_client_current(response_format: ResponseFormat, etag: str) -> bool:
    sent_etags = response_format.request.headers.get("if-none-match", "").split(",")
    etags = {one.strip().removeprefix("W/") for one in sent_etags}  # weak comparison: proxies remove the W/
    return etag.removeprefix("W/") in etags or "*" in etags


def _mark_export(response_format: ResponseFormat) -> None:
    """Mark the request as an export in the audit log."""
    auth: RequestAuth = response_format.request.scope[request_auth.AUTH_SCOPE_KEY]
    auth.is_export = True


def _count_rows(response_format: ResponseFormat, rows: int) -> None:
    auth: RequestAuth = response_format.request.scope[request_auth.AUTH_SCOPE_KEY]
    auth.rows += rows


def _slice_blocks(blocks: Iterator[T]) -> Iterator[T]:
    """Split blocks: as text, rows take many times the memory, and many clients may be slow."""
    for rows_block in blocks:
        rows: Any = rows_block
        for offset in range(0, len(rows), ROWS_PER_TEXT_CHUNK):
            yield rows[offset : offset + ROWS_PER_TEXT_CHUNK]


def _split_chunks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Split the body into chunks, so that backpressure of a slow client takes effect between them."""
    for rows_block in blocks:
        view = memoryview(rows_block)
        for offset in range(0, len(rows_block), CHUNK_BYTES):
            yield view[offset : offset + CHUNK_BYTES]  # type: ignore[misc]


def _headers(response_format: ResponseFormat, name: str, token: str | None) -> dict[str, str]:
    headers = {"Vary": "Accept"}
    if token is not None:
        headers[snapshots.SNAPSHOT_HEADER] = token
    if response_format.format_name != "json":
        headers["Content-Disposition"] = (
            f'attachment; filename="towntwin-{name}.{response_format.format_name}"'
        )
    return headers
