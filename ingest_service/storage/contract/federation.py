"""Data classes and errors that the forwarder of a town and the receiver of a county share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ingest_service.storage.contract.errors import StoreError, StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ForwardingRefusedError(StoreRefusedError):
    """A message of a town names what is not there or not the town's; the message states the remedy."""


class ForwardingCircleError(StoreError):
    """Definitions have passed through this platform before: nothing was stored."""


class ForwarderFencedError(StoreError):
    """A message is from a forwarder that a later one of the same device has replaced; nothing was stored."""


class DueRange(NamedTuple):
    """A range ``[since_us, until_us)`` of a series whose readings or flags the county lacks [us]."""

    due_id: int
    series_id: int
    since_us: int
    until_us: int


class FeedPosition(NamedTuple):
    """Revisions up to which the county has confirmed the anomalies and the incidents."""

    anomaly_revision: int
    incident_revision: int


class ForwarderIdentity(NamedTuple):
    """Identity of the sender of a message: device and area of its topic, and the forwarder's start [us].

    ``block`` is the number of the message's block, which a repeat has too; None for a replayed dead letter,
    whose order to others is not known.
    """

    device: str
    area: str
    forwarder: int
    block: int | None
    release: str


class ItemRefusal(NamedTuple):
    """An item of a message that was not stored, with the reason and detail of its dead letter.

    ``field`` is the list of the message that it is in, and ``number`` its number there from 0; of columns,
    ``rows`` are those refused, None for all.
    """

    field: str
    number: int
    reason: str
    detail: str
    rows: tuple[int, ...] | None = None


class RefusedItems:
    """Collects the items of a message that can't be stored, for a caller that wants the others stored.

    Parameters
    ----------
    incident_ids : of incidents of the message that were refused before it reached the store

    Attributes
    ----------
    incident_ids : those, and of the ones that the store has refused; others may refer to them
    found : the items that the store has refused

    """

    def __init__(self, incident_ids: Iterable[int | None] = ()) -> None:
        self.incident_ids = set(incident_ids) - {None}
        self.found: list[ItemRefusal] = []


class StoredReadings(NamedTuple):
    """Numbers of readings of a message that were new, and of those whose flags were changed by it.

    ``conflicts`` counts readings with another value. ``refused`` has them, the series that are not defined
    here, and those whose columns differ in length.
    """

    new: int
    revised: int
    conflicts: int
    refused: list[ItemRefusal]
