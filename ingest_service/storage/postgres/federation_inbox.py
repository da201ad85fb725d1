"""Stores messages of towns that forward by HTTPS: the gateway puts them in, the receiver takes them.

A message is known by its device, epoch and number, so that a repeated batch inserts nothing. What became of
it is kept for a while, from which its receipt is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from edge.wire.receipts import SpoolPosition, receipts_for
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.wire.receipts import Receipt
    from ingest_service.storage.contract.store import Database

KEPT_S: Final = 3600.0
"""How long the outcome of a message is kept [s]; a message that is repeated later is stored as a repeat."""
MAX_WAITING: Final = 500
"""Messages of one device that wait for the receiver: two or three blocks of a forwarder."""


class InboxFullError(StoreError):
    """Too many messages of a device wait for the receiver; nothing was inserted."""


class InboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is not stored; ``received_s`` is when it reached the gateway, Unix time [s]."""

    inbox_id: int
    device_id: str
    area_id: str
    epoch: str
    number: int
    payload: bytes
    received_s: float


class InboxOutcome(NamedTuple):
    """What became of a message: reason and detail of its dead letter; None for one that was stored."""

    inbox_id: int
    reason: str | None
    detail: str | None


class FederationInbox:
    """Messages between the gateway and the receiver. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, device: str, area: str, epoch: str, messages: Sequence[tuple[int, bytes]]) -> None:
        """Insert messages (number, payload) in one transaction; those that are there stay as they are.

        Raises `InboxFullError`.
        """
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["inbox_waiting"], (device,)).fetchone()
            known = {one[0] for one in connection.execute(QUERIES["inbox_present"], (device, epoch))}
            new = [(number, payload) for number, payload in messages if number not in known]
            if row is not None and new and row[0] + len(new) > MAX_WAITING:
                raise InboxFullError(f"{row[0]} messages of {device!r} wait for the receiver")
            if new:
                with connection.cursor() as cursor:
                    cursor.executemany(
                        QUERIES["inbox_put"],
                        [(device, area, epoch, number, payload) for number, payload in new],
                    )

    def receipts(self, device: str, epoch: str, numbers: Sequence[int]) -> list[Receipt]:
        """Return the receipts of those messages that the receiver has stored or refused."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["inbox_outcomes"], (device, epoch, list(numbers))).fetchall()
        positions = [SpoolPosition(epoch, number) for number, _, _ in rows]
        refusals = [
            (SpoolPosition(epoch, number), reason, detail or "")
            for number, reason, detail in rows
            if reason is not None
        ]
        return receipts_for(positions, refusals)

    def next_messages(self, limit: int) -> list[InboxMessage]:
        """Return messages that are not stored, in the order in which they came."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "inbox_next", (limit,), InboxMessage)

    def finish(self, outcome: InboxOutcome) -> None:
        """Note what became of a message; it is called after the COMMIT of its content."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["inbox_finish"], outcome._asdict())

    def clean(self) -> None:
        """Delete what was stored more than `KEPT_S` ago."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["inbox_clean"], (KEPT_S,))
