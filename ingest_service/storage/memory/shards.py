"""Leases shards to owners in memory, with an epoch number per shard."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest_service.storage.contract.batch import Epoch
from ingest_service.storage.contract.errors import ShardLostError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class MemoryLease:
    """A shard owned by the holder of this lease."""

    epoch: Epoch
    _epochs: Mapping[str, int]

    def held(self) -> bool:
        """Whether the shard is still owned by this lease."""
        return self._epochs[self.epoch.shard] == self.epoch.number


class MemoryShards:
    """Shards by name, each with its current epoch number."""

    def __init__(self) -> None:
        self._released = threading.Condition()
        self._owned: set[str] = set()
        self._epochs: dict[str, int] = {}

    @contextmanager
    def acquire(self, name: str, *, wait_s: float = 0.0) -> Iterator[MemoryLease | None]:
        """Own a shard within the context; yields None if it is still owned after ``wait_s`` [s]."""
        with self._released:
            acquired = self._released.wait_for(lambda: name not in self._owned, wait_s)
            self._owned.add(name)
            self._epochs[name] = self._epochs.get(name, 0) + acquired
        try:
            yield MemoryLease(Epoch(name, self._epochs[name]), self._epochs) if acquired else None
        finally:
            if acquired:
                with self._released:
                    self._owned.discard(name)
                    self._released.notify_all()

    def check(self, epoch: Epoch | None) -> None:
        """Raise `ShardLostError` if the epoch is no longer current."""
        if epoch is not None and self._epochs.get(epoch.shard) != epoch.number:
            raise ShardLostError(f"shard {epoch.shard!r}: epoch {epoch.number} is over")
