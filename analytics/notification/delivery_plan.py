"""Decides which digests are sent now: one for each destination, if its readers may get another message."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from analytics.notification.rate_limits import READER_WINDOW_S, may_notify

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ingest_service.storage.contract.notifications import Delivery, Notification

PERSONAL_KINDS = frozenset({"email", "console"})
"""Kinds of channels that reach one member each; the others reach a group."""


class PlannedDigest(NamedTuple):
    """Notifications to send in one message.

    Attributes
    ----------
    channel_id : over which channel
    destination : key of what limits its rate
    reader : ``member/…`` of a personal channel, else ``channel/…``
    members : everybody who reads it
    notifications : what it is about

    """

    channel_id: str
    destination: str
    reader: str
    members: tuple[str, ...]
    notifications: tuple[Notification, ...]

    @property
    def is_urgent(self) -> bool:
        """Whether something in it has the highest priority, or is a test."""
        return any(one.priority == 1 or one.kind == "test" for one in self.notifications)


def plan_digests(
    waiting: Sequence[Notification],
    *,
    kinds: Mapping[str, str],
    destinations: Mapping[str, str],
    audiences: Mapping[str, Collection[str]],
    deliveries: Sequence[Delivery],
    busy: Collection[str],
    now_s: float,
) -> list[PlannedDigest]:
    """Return the digests that readers may get now, the most urgent first.

    Parameters
    ----------
    waiting : notifications that are due
    kinds : kind of each channel; notifications of other channels are left out
    destinations : key of the destination of each channel that is usable
    audiences : members who read each channel of a group
    deliveries : those of the last minutes
    busy : destinations with a message under way
    now_s : Unix time [s]

    """
    sent_to_reader: dict[str, list[float]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.started_s > now_s - READER_WINDOW_S:
            for reader in {delivery.destination, *(f"member/{one}" for one in delivery.members)}:
                sent_to_reader[reader].append(delivery.started_s)
    planned, taken = [], set(busy)
    for digest in _groups(waiting, kinds, destinations, audiences):
        readers = {digest.destination, *(f"member/{one}" for one in digest.members)}
        if digest.destination in taken or not all(
            may_notify(sent_to_reader[one], now_s, is_urgent=digest.is_urgent) for one in readers
        ):
            continue
        taken.add(digest.destination)
        for reader in readers:
            sent_to_reader[reader].append(now_s)
        planned.append(digest)
    return planned


def _groups(
    waiting: Sequence[Notification],
    kinds: Mapping[str, str],
    destinations: Mapping[str, str],
    audiences: Mapping[str, Collection[str]],
) -> list[PlannedDigest]:
    grouped: dict[tuple[str, str], list[Notification]] = defaultdict(list)
    for one in waiting:
        if one.channel_id in destinations:
            is_personal = kinds[one.channel_id] in PERSONAL_KINDS
            reader = f"member/{one.member_id}" if is_personal else f"channel/{one.channel_id}"
            grouped[one.channel_id, reader].append(one)
    found = []
    for (channel_id, reader), rows in grouped.items():
        members = {one.member_id for one in rows if one.member_id is not None}
        destination = destinations[channel_id]
        if kinds[channel_id] in PERSONAL_KINDS:
            destination = f"{destination}/{reader}"
        else:
            members.update(audiences.get(channel_id, ()))
        found.append(PlannedDigest(channel_id, destination, reader, tuple(sorted(members)), tuple(rows)))
    found.sort(key=lambda one: (min(row.priority for row in one.notifications), one.destination))
    return found
