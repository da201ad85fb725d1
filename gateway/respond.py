"""Responses in the chosen format: one page, or a stream of everything."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Response
from fastapi.responses import StreamingResponse

from gateway import cursors, encoding, moments, rows
from gateway.access import visit as visits
from gateway.forms import MEDIA, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.access.visit import Visit
    from gateway.known import Known
    from gateway.tables import Table

T = TypeVar("T")
PIECE_BYTES = 256 * 1024
TEXTS, TEXT_ROWS = {"csv", "ndjson"}, 5000


def page(wanted: Wanted, table: Table[T], block: T, *, next_: str | None, token: str) -> Response:
    """One page; in JSON with its `next`, otherwise with a Link header to it (RFC 8288)."""
    _count(wanted, table.count(block))
    if wanted.form == "json":
        body = encoding.JSON.encode(rows.Page(table.rows(block), next_))
    else:
        body = b"".join(encoding.encoded(wanted.form, table, [block]))
        _audited(wanted)
    headers = _headers(wanted, table.name, token)
    if next_ is not None:
        headers["Link"] = f'<{cursors.next_page(wanted.request, next_)}>; rel="next"'
    return unless_known(wanted, body, headers)


def listed(wanted: Wanted, table: Table[T], block: T, *, token: str | None) -> Response:
    """Everything at once, in JSON as a bare list; without a token it is of now, and has no ETag."""
    if wanted.form != "json" or token is not None:
        _count(wanted, table.count(block))
        if wanted.form != "json":
            _audited(wanted)
    body = b"".join(encoding.encoded(wanted.form, table, [block]))
    headers = _headers(wanted, table.name, token)
    if token is None:
        return Response(body, headers=headers, media_type=MEDIA[wanted.form])
    return unless_known(wanted, body, headers)


def whole(wanted: Wanted, table: Table[T], blocks: Iterator[T], *, token: str, known: Known) -> Response:
    """Everything, block by block; what goes wrong with the first is still a problem.

    Its ETag is of what it is made of: with ``reproduce``, who has it already gets nothing but that (304).
    """
    cursor = wanted.request.query_params.get("cursor")
    seen = (known.directory.version, sorted(known.own))
    made_of = repr((cursors.question(wanted.request), cursor, wanted.form, token, seen, version("towntwin")))
    headers = _headers(wanted, table.name, token) | _tagged(made_of.encode())
    if _has(wanted, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if wanted.form in TEXTS:
        blocks = _sliced(blocks)
    pieces = encoding.encoded(wanted.form, table, blocks)
    first = next(pieces, b"") + next(pieces, b"")
    _audited(wanted)
    return StreamingResponse(
        _cut(chain(iter([first]), pieces)), headers=headers, media_type=MEDIA[wanted.form]
    )


def unless_known(wanted: Wanted, body: bytes, headers: dict[str, str]) -> Response:
    """A body with its ETag; nothing but that (304) where the caller has it already."""
    headers |= _tagged(body)
    if _has(wanted, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA[wanted.form])


def _tagged(content: bytes) -> dict[str, str]:
    return {"ETag": f'W/"{sha256(content).hexdigest()[:24]}"', "Cache-Control": "private, no-cache"}


def _has(wanted: Wanted, tag: str) -> bool:
    given = wanted.request.headers.get("if-none-match", "").split(",")
    known = {one.strip().removeprefix("W/") for one in given}  # compared weakly: proxies take the W/ away
    return tag.removeprefix("W/") in known or "*" in known


def _audited(wanted: Wanted) -> None:
    """Have the audit say that readings or anomalies went out as a file."""
    visit: Visit = wanted.request.scope[visits.KEY]
    visit.is_export = True


def _count(wanted: Wanted, rows: int) -> None:
    visit: Visit = wanted.request.scope[visits.KEY]
    visit.rows += rows


def _sliced(blocks: Iterator[T]) -> Iterator[T]:
    """Fewer rows at a time: as text they take many times the memory, and many readers may be slow."""
    for block in blocks:
        rows: Any = block
        for at in range(0, len(rows), TEXT_ROWS):
            yield rows[at : at + TEXT_ROWS]


def _cut(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """In pieces, so that a slow reader is waited for between them, and nobody waits long for a reader."""
    for block in blocks:
        whole_block = memoryview(block)
        for at in range(0, len(block), PIECE_BYTES):
            yield whole_block[at : at + PIECE_BYTES]  # type: ignore[misc]


def _headers(wanted: Wanted, name: str, token: str | None) -> dict[str, str]:
    headers = {"Vary": "Accept"}
    if token is not None:
        headers[moments.HEADER] = token
    if wanted.form != "json":
        headers["Content-Disposition"] = f'attachment; filename="towntwin-{name}.{wanted.form}"'
    return headers
