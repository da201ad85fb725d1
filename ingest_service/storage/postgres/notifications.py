"""Stores channels, the outbox of notifications, deliveries, rates and deadlines in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.notifications import (
    Deadline,
    Delivery,
    DestinationRate,
    Notification,
    NotificationChannel,
    NotificationQuery,
)
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.duty import upsert
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ingest_service.storage.contract.store import Database

T = TypeVar("T")


class NotificationStore:
    """Channels and the outbox in the database, as far as its area scope allows.

    Each call is one transaction. Methods raise the errors of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def channels(self, area_ids: Sequence[str] | None = None) -> list[NotificationChannel]:
        """Return the channels of some areas, or of all."""
        parameters = {"area_ids": None if area_ids is None else list(area_ids)}
        return self._rows("notification_channels", parameters, NotificationChannel)

    def replace_channel(self, channel: NotificationChannel) -> None:
        """Insert or replace a channel. Raises `IdTakenError` if its id belongs to another area."""
        with self._database.transaction() as connection:
            row = msgspec.structs.asdict(channel)
            upsert(connection, "upsert_channel", row, "channel", channel.channel_id)

    def found(self, query: NotificationQuery) -> list[Notification]:
        """Return notifications by filter, newest first."""
        return self._rows("notifications", msgspec.structs.asdict(query), Notification)

    def waiting(self, now_s: float, *, limit: int) -> list[Notification]:
        """Return the notifications that may be sent now, the most urgent and oldest first."""
        return self._rows("waiting_notifications", {"now_s": now_s, "limit": limit}, Notification)

    def for_consoles(self, after_delivery_id: int, *, limit: int) -> list[Notification]:
        """Return the notifications that consoles received by deliveries after one, oldest first."""
        return self._rows("console_notifications", (after_delivery_id, limit), Notification)

    def newest_delivery_id(self) -> int:
        """Return the id of the newest delivery in any area; 0 if there is none."""
        return int(self._value("newest_delivery"))

    def record(self, notifications: Iterable[Notification], deadlines: Iterable[Deadline] = ()) -> int:
        """Insert the notifications that are new, and deadlines, together; return how many were inserted.

        A notification is known by incident, step, member and channel; one that is known is left as it is.
        """
        inserted = 0
        with self._database.transaction() as connection, connection.cursor() as cursor:
            for deadline in deadlines:
                cursor.execute(QUERIES["upsert_deadline"], msgspec.structs.asdict(deadline))
            for one in notifications:
                cursor.execute(QUERIES["insert_notification"], msgspec.structs.asdict(one))
                inserted += cursor.rowcount
        return inserted

    def recorded_steps(self, incident_ids: Sequence[int]) -> set[tuple[int, str]]:
        """Return the (incident, step) pairs that have a row in the outbox."""
        with self._database.transaction() as connection:
            return set(connection.execute(QUERIES["steps_recorded"], (list(incident_ids),)).fetchall())

    def suppress(self, notification_ids: Sequence[int], detail: str) -> None:
        """Suppress notifications that are waiting, with the reason."""
        parameters = {"notification_ids": list(notification_ids), "detail": detail}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["suppress_notifications"], parameters)

    # -- deliveries --------------------------------------------------------------------------------

    def begin_delivery(self, delivery: Delivery, rate: DestinationRate) -> int:
        """Record that a message is about to be sent and its token spent, in this order; return its id."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["upsert_rate"], msgspec.structs.asdict(rate))
            found = connection.execute(
                QUERIES["insert_delivery"], msgspec.structs.asdict(delivery)
            ).fetchone()
        assert found is not None, "INSERT … RETURNING returns a row"  # noqa: S101
        return int(found[0])

    def end_delivery(
        self,
        delivery: Delivery,
        notification_ids: Sequence[int],
        *,
        next_try_s: float | None = None,
        rate: DestinationRate | None = None,
    ) -> None:
        """Record how a delivery ended, of its notifications, and of its destination's rate, together.

        ``next_try_s`` is when notifications that were not sent are tried again; None gives them up.
        """
        ids = {"delivery_id": delivery.delivery_id, "notification_ids": list(notification_ids)}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["end_delivery"], msgspec.structs.asdict(delivery))
            if delivery.outcome == "sent":
                connection.execute(QUERIES["notifications_sent"], ids | {"at_s": delivery.ended_s})
            else:
                failure = {"next_try_s": next_try_s, "detail": delivery.detail}
                connection.execute(QUERIES["notifications_failed"], ids | failure)
            if rate is not None:
                connection.execute(QUERIES["upsert_rate"], msgspec.structs.asdict(rate))

    def put_off(self, notification_ids: Sequence[int], *, next_try_s: float | None, detail: str) -> None:
        """Record a failure before anything was sent; None gives the notifications up."""
        parameters = {"notification_ids": list(notification_ids), "delivery_id": None}
        with self._database.transaction() as connection:
            connection.execute(
                QUERIES["notifications_failed"], parameters | {"next_try_s": next_try_s, "detail": detail}
            )

    def forget_started(self, now_s: float) -> None:
        """Mark deliveries of a process that ended before the response as unknown; they will be repeated."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["forget_started"], (now_s,))

    def deliveries_since(self, from_s: float) -> list[Delivery]:
        """Return the deliveries since a time that may have reached their readers, oldest first."""
        return self._rows("deliveries_since", (from_s,), Delivery)

    def rates(self) -> dict[str, DestinationRate]:
        """Return the token buckets of all destinations."""
        return {one.destination: one for one in self._rows("destination_rates", None, DestinationRate)}

    # -- deadlines ---------------------------------------------------------------------------------

    def deadlines(self, incident_ids: Sequence[int]) -> list[Deadline]:
        """Return the deadlines of some incidents."""
        return self._rows("deadlines", (list(incident_ids),), Deadline)

    def incidents_with_open_deadlines(self) -> list[int]:
        """Return the incidents with a deadline that was not met so far."""
        with self._database.transaction() as connection:
            return [row[0] for row in connection.execute(QUERIES["incidents_with_open_deadlines"])]

    def acknowledgement_secret(self) -> bytes:
        """Return what links of acknowledgement are signed with, 32 bytes; do not disclose it."""
        found = self._value("acknowledgement_secret")
        if not isinstance(found, bytes):
            raise StoreRefusedError("the table acknowledgement_secret is empty: migration 0038 filled it")
        return found

    def _rows(self, query: str, parameters: Any, kind: type[T]) -> list[T]:
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, query, parameters, kind)

    def _value(self, query: str) -> Any:
        with self._database.transaction() as connection:
            return (connection.execute(QUERIES[query]).fetchone() or (None,))[0]
