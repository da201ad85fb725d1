"""Resolves the time range of a request, by default the last day, and the snapshot to query."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.api import snapshots
from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from datetime import datetime

    from ingest_service.storage.postgres.query_api import Snapshot

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Time range ``[from_us, to_us)`` [us, Unix], and the snapshot to query; None is now."""

    from_us: int
    to_us: int
    as_of: Snapshot | None

    def token(self, snapshot: Snapshot) -> str:
        """Return the token that reproduces a response."""
        return snapshots.encode_token(snapshot, self.from_us, self.to_us)


def resolve_time_range(from_: datetime | None, to: datetime | None, reproduce: str | None) -> TimeRange:
    """Return the time range of a request. Raises `ProblemError` where it is empty or the token invalid."""
    token = snapshots.decode_token(reproduce) if reproduce else None
    snapshot = token.snapshot if token else None
    if token is not None and token.to_us and from_ is to is None:
        return TimeRange(token.from_us, token.to_us, snapshot)
    to_s = to.timestamp() if to else snapshot.at_us / 1e6 if snapshot else time.time()
    from_s = from_.timestamp() if from_ else to_s - DAY_S
    if from_s >= to_s:
        raise ProblemError(422, "from: must be before to", where="from")
    return TimeRange(round(from_s * 1e6), round(to_s * 1e6), snapshot)
