"""A block: messages that the county confirms together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.agent.spool import SpoolEntry
from edge.wire import federation

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.wire.federation import AnyMessage
    from ingest_service.storage.contract.federation import DueRange, FeedPosition


@dataclass(frozen=True, slots=True)
class Block:
    """Messages that the county confirms together, and what its confirmation means.

    Attributes
    ----------
    entries : messages for the spool
    done : ranges that the county has then
    shortened : ranges of which it has the first part
    position : up to which it has anomalies and incidents
    results : ids of the commands of which it has the results
    on_confirmed : to be called when the county has it
    on_misread : to be called before that if it could not read a message of it, as of a newer format
    rows : numbers of rows by kind, for the metrics

    """

    entries: list[SpoolEntry]
    position: FeedPosition
    done: list[int] = field(default_factory=list)
    shortened: list[DueRange] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    on_confirmed: Callable[[], None] = lambda: None
    on_misread: Callable[[], None] = lambda: None
    rows: dict[str, int] = field(default_factory=dict)


def entry_of(message: AnyMessage, readings: int = 1) -> SpoolEntry:
    """Return a message for the spool, with the number of readings that it counts as."""
    return SpoolEntry(federation.encode_message(message), readings)
