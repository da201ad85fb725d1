"""Data classes of a commit: the batch that the pipeline sends to the store, and the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest_service.storage.contract.models import READING, REVISION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly, DeadLetter, DeviceStatus


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Serialised state of a shard's judge, opaque to the store."""

    shard: str
    version: int
    payload: bytes


class Epoch(NamedTuple):
    """A period in which one process owns a shard, numbered upwards."""

    shard: str
    number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that is committed in one transaction.

    fresh : READING by series and time, each strictly later than all committed readings of its series
    doubtful : READING by series and time, may be repeats or late; inserted where absent
    revisions : REVISION
    letters : dead letters; those with an id are stored already, and their replay failed
    replayed : ids of dead letters whose readings are in this batch; they are deleted unless there are
        conflicts, of which the sender has to determine the messages first
    epoch : of the shard's owner; the store refuses batches of an earlier owner
    encoded : ``fresh`` as the store sends it, from `Store.encode`; empty if that was not called
    """

    fresh: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
    doubtful: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
    revisions: NDArray[np.void] = field(default_factory=lambda: np.empty(0, REVISION))
    anomalies: list[Anomaly] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    replayed: list[int] = field(default_factory=list)
    epoch: Epoch | None = None
    encoded: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Committed:
    """Numbers of rows inserted by a batch; ``late`` and ``repeated`` count doubtful ones.

    conflicts : READING, doubtful rows with another value stored for the same series and time; not inserted
    """

    fresh: int
    late: int
    repeated: int
    conflicts: NDArray[np.void] = field(default_factory=lambda: np.empty(0, READING))
