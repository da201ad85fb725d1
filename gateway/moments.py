"""Snapshot tokens, which make a query return what it returned before."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from fastapi import Query

from gateway.problems import ProblemError
from ingest_service.storage.answers import Moment

HEADER = "Towntwin-Reproduce"
LONGEST = 4000
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_800_000_000  # years 1 to 9999, as `params.Moment`
Reproduce = Annotated[
    str | None,
    Query(
        description=f"`{HEADER}` of an earlier answer: the same question is answered as it was then",
        max_length=LONGEST,
    ),
]


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What an answer was made of: a moment, and the stretch of time that was asked for [us]."""

    moment: Moment
    from_us: int = 0
    to_us: int = 0


def encode(moment: Moment, from_us: int = 0, to_us: int = 0) -> str:
    """A token as a word.

    >>> moment = Moment(1790000000000000, 765, (761,), "7.5")
    >>> decode(encode(moment, 1, 2)) == Token(moment, 1, 2)
    True
    """
    packed = msgspec.msgpack.encode(Token(moment, from_us, to_us))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode(word: str) -> Token:
    """What a token says. Raises `ProblemError` where it is none of ours."""
    try:
        packed = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
        token = msgspec.msgpack.decode(packed, type=Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _wrong() from error
    xids = (token.moment.xmax, *token.moment.running)
    edges_us = (token.from_us, token.to_us)
    if not (
        all(0 <= xid < 2**32 for xid in xids)
        and 0 <= token.moment.at_us < 2**53
        and all(FIRST_US <= one < LAST_US for one in edges_us)
    ):
        raise _wrong()
    return token


def _wrong() -> ProblemError:
    return ProblemError(
        422, f"reproduce: take it from '{HEADER}' of an earlier answer, unchanged", where="reproduce"
    )
