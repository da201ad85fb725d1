"""Inserts and deletes dead letters in PostgreSQL, with a daily quota per device."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Cursor

    from ingest_service.storage.contract.models import DeadLetter

MAX_DEAD_LETTERS_PER_DAY, MAX_DEAD_LETTER_BYTES_PER_DAY = 1000, 32 * 2**20
"""Quota of dead letters stored per device and day, so that a faulty device can't fill the disk."""
POSITION_PROPERTIES = ("epoch", "number")  # user properties with the spool position, which identify a message


def store_dead_letters(
    cursor: Cursor[Any], dead_letters: Sequence[DeadLetter], replayed: Sequence[int]
) -> None:
    """Insert the new ones, put back those replayed in vain, delete those whose readings are stored.

    New ones of a device beyond its quota of the day are counted, not stored.
    """
    new = [one for one in dead_letters if not one.letter_id]
    replayed_in_vain = [one for one in dead_letters if one.letter_id]
    if new:
        cursor.executemany(QUERIES["insert_dead_letter"], [_dead_letter_row(one) for one in new])
    if replayed_in_vain:
        cursor.executemany(
            QUERIES["update_replayed_dead_letter"], [msgspec.structs.asdict(one) for one in replayed_in_vain]
        )
    if replayed:
        cursor.execute(QUERIES["delete_replayed_dead_letters"], (list(replayed),))


def message_digest(dead_letter: DeadLetter) -> bytes | None:
    """Hash that is equal for every delivery of one message; None for a message without a spool position."""
    if not all(name in dead_letter.properties for name in POSITION_PROPERTIES):
        return None
    parts = (
        dead_letter.topic.encode(),
        *(dead_letter.properties[name].encode() for name in POSITION_PROPERTIES),
        dead_letter.payload,
    )
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _dead_letter_row(dead_letter: DeadLetter) -> dict[str, Any]:
    computed_columns = {
        "properties": Jsonb(dead_letter.properties),
        "digest": message_digest(dead_letter),
        "size": len(dead_letter.payload),
        "most_letters": MAX_DEAD_LETTERS_PER_DAY,
        "most_bytes": MAX_DEAD_LETTER_BYTES_PER_DAY,
    }
    return msgspec.structs.asdict(dead_letter) | computed_columns
