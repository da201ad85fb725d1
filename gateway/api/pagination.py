"""Signs and verifies pagination cursors, which stay valid while rows are added.

A cursor is signed with the installation's secret, for one query of one principal (`docs/decisions/0018`).
It grants nothing that the query does not: each page is authorised anew.
"""

from __future__ import annotations

import base64
import hmac
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

PARAMETERS_NOT_SIGNED = {"cursor", "limit", "format", "reproduce"}
SIGNATURE_BYTES = 16


class CursorSigner:
    """Encodes and decodes the cursors of one query of one principal."""

    def __init__(self, secret: bytes, principal_id: str, request: Request) -> None:
        self._secret = secret
        self._principal_id = principal_id
        self._request = request

    def encode(self, *parts: int) -> str:
        """Return a signed cursor of 64-bit integers."""
        packed = struct.pack(f">{len(parts)}q", *parts)
        return base64.urlsafe_b64encode(packed + self._signature(packed)).rstrip(b"=").decode()

    def decode(self, cursor: str, n: int) -> tuple[int, ...]:
        """Return the ``n`` integers of a cursor.

        Raises `ProblemError` where it is malformed, or was signed for another query or principal.
        """
        try:
            signed_bytes = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            parts = struct.unpack(f">{n}q{SIGNATURE_BYTES}x", signed_bytes)
        except (ValueError, struct.error) as error:
            raise _invalid_cursor() from error
        # The text is compared, not the signature alone: base64 has spare bits.
        if not hmac.compare_digest(cursor, self.encode(*parts)):
            raise _invalid_cursor()
        return parts

    def _signature(self, packed: bytes) -> bytes:
        signed_bytes = repr((self._principal_id, *query_identity(self._request))).encode() + packed
        return blake2b(signed_bytes, key=self._secret, digest_size=SIGNATURE_BYTES, person=b"cursor").digest()


def next_page_url(request: Request, cursor: str) -> str:
    """Return the URL of the next page: the same query, with its cursor."""
    parameters = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    return f"{request.url.path}?{urlencode([*parameters, ('cursor', cursor)])}"


def query_identity(request: Request) -> tuple[str, list[tuple[str, str]]]:
    """Return path and parameters of a query without those of page, page size, format and snapshot."""
    parameters = sorted(
        pair for pair in request.query_params.multi_items() if pair[0] not in PARAMETERS_NOT_SIGNED
    )
    return request.url.path, parameters


def _invalid_cursor() -> ProblemError:
    detail = (
        "cursor: it is valid unchanged, for the same query and the same principal: "
        "copy it from 'next' of the page before"
    )
    return ProblemError(422, detail, where="cursor")
