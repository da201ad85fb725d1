"""Drivers: where an agent's records come from.

A driver yields packs in the order of their measured time. It never sleeps: ``due_s`` says when a pack
may be taken, and the agent waits for it on its own clock.
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

    def packs(self) -> Iterator[Pack]:
        """Packs in the order of `Pack.due_s`; ends where the source ends."""
        ...
