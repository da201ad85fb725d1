"""Cursors: where the next page begins, as an opaque word that stays good while rows are added."""

from __future__ import annotations

import base64
import binascii
import math

from gateway.problems import ProblemError


def encode(*parts: float) -> str:
    """A cursor of numbers.

    >>> decode(encode(1790000000.25, 42), 2)
    [1790000000.25, 42.0]
    """
    return base64.urlsafe_b64encode(":".join(repr(part) for part in parts).encode()).rstrip(b"=").decode()


def decode(cursor: str, n: int) -> list[float]:
    """The numbers of a cursor. Raises `ProblemError` where it is none of ours."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        parts = [float(part) for part in text.split(":")]
    except (binascii.Error, ValueError) as error:
        raise _wrong() from error
    if len(parts) != n or not all(math.isfinite(part) and abs(part) < 2**62 for part in parts):
        raise _wrong()
    return parts


def _wrong() -> ProblemError:
    return ProblemError(422, "cursor: take it from 'next' of the page before, unchanged", where="cursor")
