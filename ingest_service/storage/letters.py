"""Inserts and deletes dead letters in PostgreSQL, with a daily quota per device."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Cursor

    from ingest_service.storage.model import DeadLetter

MOST_A_DAY, MOST_BYTES_A_DAY = 1000, 32 * 2**20
"""Quota of dead letters stored per device and day, so that a faulty device can't fill the disk."""
PLACE = ("epoch", "number")  # user properties with the spool position, which identify a message


def keep(cursor: Cursor[Any], letters: Sequence[DeadLetter], replayed: Sequence[int]) -> None:
    """Insert the new ones, put back those replayed in vain, delete those whose readings are stored.

    New ones of a device beyond its quota of the day are counted, not stored.
    """
    new = [one for one in letters if not one.letter_id]
    again = [one for one in letters if one.letter_id]
    if new:
        cursor.executemany(QUERIES["insert_letter"], [_row(one) for one in new])
    if again:
        cursor.executemany(QUERIES["letter_again"], [msgspec.structs.asdict(one) for one in again])
    if replayed:
        cursor.execute(QUERIES["letters_done"], (list(replayed),))


def digest(letter: DeadLetter) -> bytes | None:
    """Hash that is equal for every delivery of one message; None for a message without a spool position."""
    if not all(name in letter.properties for name in PLACE):
        return None
    parts = (letter.topic.encode(), *(letter.properties[name].encode() for name in PLACE), letter.payload)
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _row(letter: DeadLetter) -> dict[str, Any]:
    changed = {
        "properties": Jsonb(letter.properties),
        "digest": digest(letter),
        "size": len(letter.payload),
        "most_letters": MOST_A_DAY,
        "most_bytes": MOST_BYTES_A_DAY,
    }
    return msgspec.structs.asdict(letter) | changed
