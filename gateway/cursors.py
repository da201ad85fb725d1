"""Cursors: where the next page begins, as an opaque word that stays good while rows are added.

A cursor holds a place and a digest of the question; it opens nothing that the question does not, for what the
caller may see is asked for anew with every page.
"""

from __future__ import annotations

import base64
import binascii
import math
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

NOT_ASKED = {"cursor", "limit", "format", "reproduce"}


def question(request: Request) -> str:
    """What is asked, whatever the page, its size and its form."""
    asked = sorted(pair for pair in request.query_params.multi_items() if pair[0] not in NOT_ASKED)
    return repr((request.url.path, asked))


def next_page(request: Request, cursor: str) -> str:
    """Where the next page is: the same question from a cursor on."""
    asked = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    return f"{request.url.path}?{urlencode([*asked, ('cursor', cursor)])}"


def encode(*parts: float, of: str = "") -> str:
    """A cursor of numbers, in the answers to a question.

    >>> decode(encode(1790000000.25, 42, of="/v1/anomalies"), 2, of="/v1/anomalies")
    [1790000000.25, 42.0]
    """
    text = ":".join([_digest(of), *(repr(part) for part in parts)])
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode(cursor: str, n: int, *, of: str = "") -> list[float]:
    """The numbers of a cursor. Raises `ProblemError` where it is none of ours, or of another question."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        digest, *rest = text.split(":")
        parts = [float(part) for part in rest]
    except (binascii.Error, ValueError) as error:
        raise _wrong() from error
    if digest != _digest(of) or len(parts) != n:
        raise _wrong()
    if not all(math.isfinite(part) and abs(part) < 2**62 for part in parts):
        raise _wrong()
    return parts


def _digest(of: str) -> str:
    return blake2b(of.encode(), digest_size=6, person=b"cursor").hexdigest()


def _wrong() -> ProblemError:
    return ProblemError(
        422, "cursor: take it from 'next' of the page before, unchanged, and ask the same", where="cursor"
    )
