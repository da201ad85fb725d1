"""Drivers, which supply an agent with packs of records from sensors, scripts or recorded files.

A driver yields packs in the order of their measured time. It never sleeps: the agent waits, by its own clock,
until ``due_s`` of a pack. A driver of a live source waits briefly for data and yields None if there are none,
so that the agent can be stopped; its attribute ``perishable`` is True if data that it has read can't be read
again, so that the agent takes them before it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.wire.senml import Record


class Pack(msgspec.Struct, frozen=True):
    """Records that are sent in one message.

    Attributes
    ----------
    due_s : time from which the pack may be sent, Unix seconds of the driver's clock [s]
    records : resolved records, in wire units
    taken_s : of records with times by the device's clock: time of `edge.wire.boot_clock` at which that clock
        was ``due_s`` [s]. Such a pack is due at once, and is re-dated if the clock is set for the first time
        after it. None for records with times of another source: recordings, payloads that have a time
    properties : further MQTT 5 user properties of the message (`edge.wire.receipts`)
    on_stored : called on the agent's thread when the records are on disk

    """

    due_s: float
    records: list[Record]
    taken_s: float | None = None
    properties: tuple[tuple[str, str], ...] = ()
    on_stored: Callable[[], None] | None = None


class Driver(Protocol):
    """Interface of drivers."""

    def packs(self) -> Iterator[Pack | None]:
        """Yield packs in the order of `Pack.due_s`, None if there is none yet; ends with the source."""
        ...
