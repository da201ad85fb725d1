"""Drivers: where an agent's records come from.

A driver yields packs in the order of their measured time. It never sleeps: ``due_s`` says when a pack
may be taken, and the agent waits for it on its own clock. One that listens to a source waits for it briefly
and yields None where nothing came, so that the agent can be stopped; its attribute ``perishable`` is True
where what it read can't be read again, and is taken before the agent ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.wire.senml import Record


class Pack(msgspec.Struct, frozen=True):
    """Records that are taken together and travel in one message.

    Attributes
    ----------
    due_s : when the pack may be taken, Unix seconds of the driver's clock [s]
    records : resolved, in wire units
    """

    due_s: float
    records: list[Record]


class Driver(Protocol):
    """Anything that yields packs."""

    def packs(self) -> Iterator[Pack | None]:
        """Packs in the order of `Pack.due_s`, None where there is none yet; ends where the source ends."""
        ...
