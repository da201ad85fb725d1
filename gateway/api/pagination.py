"""Signed pagination cursors, which stay valid while rows are added.

A cursor is signed with the installation's secret, for one question of one principal (`docs/decisions/0018`).
It opens nothing that the question does not: what the caller may see is asked for anew with every page.
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
    """Cursors in the answers to what one principal asks with a request, signed with a secret."""

    def __init__(self, secret: bytes, principal_id: str, request: Request) -> None:
        self._secret = secret
        self._principal_id = principal_id
        self._request = request

    def encode(self, *parts: int) -> str:
        """A cursor of numbers of 64 bits."""
        packed = struct.pack(f">{len(parts)}q", *parts)
        return base64.urlsafe_b64encode(packed + self._signature(packed)).rstrip(b"=").decode()

    def decode(self, cursor: str, n: int) -> tuple[int, ...]:
        """The numbers of a cursor.

        Raises `ProblemError` where it is none of ours, of another question, or somebody else's.
        """
        try:
            signed_bytes = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            parts = struct.unpack(f">{n}q{SIGNATURE_BYTES}x", signed_bytes)
        except (ValueError, struct.error) as error:
            raise _invalid_cursor() from error
        if not hmac.compare_digest(cursor, self.encode(*parts)):  # as a whole: base64 has spare bits
            raise _invalid_cursor()
        return parts

    def _signature(self, packed: bytes) -> bytes:
        signed_bytes = repr((self._principal_id, *query_identity(self._request))).encode() + packed
        return blake2b(signed_bytes, key=self._secret, digest_size=SIGNATURE_BYTES, person=b"cursor").digest()


def next_page_url(request: Request, cursor: str) -> str:
    """Where the next page is: the same question from a cursor on."""
    parameters = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    return f"{request.url.path}?{urlencode([*parameters, ('cursor', cursor)])}"


def query_identity(request: Request) -> tuple[str, list[tuple[str, str]]]:
    """What is asked, whatever the page, its size and its form."""
    parameters = sorted(
        pair for pair in request.query_params.multi_items() if pair[0] not in PARAMETERS_NOT_SIGNED
    )
    return request.url.path, parameters


def _invalid_cursor() -> ProblemError:
    detail = (
        "cursor: it is good as it came, for the same question by whoever got it: "
        "take it from 'next' of the page before"
    )
    return ProblemError(422, detail, where="cursor")
