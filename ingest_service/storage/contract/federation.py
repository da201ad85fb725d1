"""Data classes and errors that the forwarder of a town and the receiver of a county share."""

from __future__ import annotations

from typing import NamedTuple

from ingest_service.storage.contract.errors import StoreError, StoreRefusedError


class ForwardingRefusedError(StoreRefusedError):
    """A message of a town names what is not there or not the town's; the message states the remedy."""


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


class StoredReadings(NamedTuple):
    """Numbers of readings of a message that were new, and of those whose flags were changed by it.

    ``undefined`` names series that are not defined here, ``conflicts`` counts readings with another value.
    """

    new: int
    revised: int
    conflicts: int
    undefined: list[str]
