"""Encodes and decodes snapshot tokens, with which a query returns the same rows as before."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from fastapi import Query

from gateway.api.problems import ProblemError
from ingest_service.storage.postgres.query_api import Snapshot

SNAPSHOT_HEADER = "Towntwin-Reproduce"
MAX_TOKEN_LENGTH = 4000
# Years 1 to 9999 [us, Unix], as `gateway.api.query_params.QueryTime`.
EARLIEST_US, LATEST_US = (-62_135_596_800_000_000, 253_402_300_800_000_000)
ReproduceParam = Annotated[
    str | None,
    Query(
        description=f"`{SNAPSHOT_HEADER}` of an earlier response: the query returns the data of that time",
        max_length=MAX_TOKEN_LENGTH,
    ),
]


class SnapshotToken(msgspec.Struct, frozen=True, array_like=True):
    """Database snapshot and time range [us, Unix] of a response."""

    snapshot: Snapshot
    from_us: int = 0
    to_us: int = 0


def encode_token(snapshot: Snapshot, from_us: int = 0, to_us: int = 0) -> str:
    """Encode a token as text.

    >>> snapshot = Snapshot(1790000000000000, 765, (761,), "7.5")
    >>> decode_token(encode_token(snapshot, 1, 2)) == SnapshotToken(snapshot, 1, 2)
    True
    """
    packed = msgspec.msgpack.encode(SnapshotToken(snapshot, from_us, to_us))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_token(token_text: str) -> SnapshotToken:
    """Decode a token. Raises `ProblemError` where it is invalid."""
    try:
        packed = base64.b64decode(token_text + "=" * (-len(token_text) % 4), altchars=b"-_", validate=True)
        token = msgspec.msgpack.decode(packed, type=SnapshotToken)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _invalid_token() from error
    transaction_ids = (token.snapshot.xmax, *token.snapshot.running)
    bounds_us = (token.from_us, token.to_us)
    if not (
        all(0 <= transaction_id < 2**32 for transaction_id in transaction_ids)
        and 0 <= token.snapshot.at_us < 2**53
        and all(EARLIEST_US <= one < LATEST_US for one in bounds_us)
    ):
        raise _invalid_token()
    return token


def _invalid_token() -> ProblemError:
    return ProblemError(
        422, f"reproduce: take it from '{SNAPSHOT_HEADER}' of an earlier answer, unchanged", where="reproduce"
    )
