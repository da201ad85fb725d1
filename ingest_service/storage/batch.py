"""What the pipeline sends to the store in one transaction, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest_service.storage.model import READING, REVISION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.model import Anomaly, DeadLetter, DeviceStatus


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The judge's state of a shard, opaque to the store."""

    shard: str
    version: int
    payload: bytes


class Epoch(NamedTuple):
    """One owner's time with a shard."""

    shard: str
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What moves in one transaction.

    fresh : READING by series and time, each strictly later than all of its series that was committed before
    doubtful : READING by series and time, may be repeats or late; inserted where absent
    revisions : REVISION
    letters : those with an id are known already, and were replayed in vain
    replayed : ids of dead letters whose readings move in this batch; they stay where there are conflicts, for
        whoever sends the batch to say which of them caused one
    epoch : of the shard that sends it; the store takes nothing from an owner of the past
    """

    fresh: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
    doubtful: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
    revisions: NDArray[np.void] = field(default_factory=lambda: np.empty(0, REVISION))
    anomalies: list[Anomaly] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    replayed: list[int] = field(default_factory=list)
    epoch: Epoch | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """How many rows a batch really added; ``late`` and ``repeated`` part the doubtful ones.

    conflicts : READING, the doubtful rows for whose time another value is stored; they were not kept
    """

    fresh: int
    late: int
    repeated: int
    conflicts: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
