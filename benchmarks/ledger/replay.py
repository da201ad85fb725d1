"""Compares flags and detector state after a run with a judge that has read the stored readings in one go."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest_service.pipeline.decode import DecodedBatch
from ingest_service.pipeline.shard_judge import ShardJudge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.postgres.store import PostgresStore

SHARD = "main"
EVERYTHING_D = 20_000.0  # since the epoch, where there is no checkpoint
JUDGED_COLUMNS = ("quality", "rules", "expected", "spread")


class ReplayComparison(NamedTuple):
    """Readings judged once more, those whose judgement differs, and series whose detector state differs."""

    judged: int
    flags_different: int
    states_different: int


def compare_with_replay(store: PostgresStore) -> ReplayComparison:
    """Judge what ingest has judged once more, without an interruption, and compare.

    Readings that arrived late or while the clock of their device was wrong were not judged by ingest, and are
    left out.
    """
    directory = store.directory()
    clean, restored = ShardJudge(directory), ShardJudge(directory)
    judged = different = 0
    for stored in store.readings_committed_after({one.series_id: 0 for one in directory.series}):
        found = clean.judge(_batch(stored)).fresh
        judged += len(stored)
        if len(found) != len(stored):
            different += len(stored)
            continue
        equal = np.ones(len(stored), bool)
        for name in JUDGED_COLUMNS:
            ours, theirs = found[name], stored[name]
            both_missing = np.isnan(ours.astype(float)) & np.isnan(theirs.astype(float))
            equal &= (ours == theirs) | both_missing
        different += int((~equal).sum())
    restored.restore(store, SHARD, replay_days=EVERYTHING_D, now_s=time.time())
    return ReplayComparison(judged, different, _states_different(clean, restored))


def _batch(stored: NDArray[np.void]) -> DecodedBatch:
    n = len(stored)
    return DecodedBatch(
        message=np.arange(n, dtype=np.intp),
        series_id=stored["series_id"],
        time_s=stored["time_us"] / 1e6,
        received_s=stored["received_us"] / 1e6,
        value=stored["value"],
        has_wrong_clock=np.zeros(n, bool),
        declared_quality=np.zeros(n, np.uint8),
        dead_letters=[],
        statuses=[],
    )


def _states_different(first: ShardJudge, second: ShardJudge) -> int:
    """Return the number of series whose state differs in any array, the order of series being the same."""
    arrays = [dict(np.load(io.BytesIO(one.checkpoint(SHARD).payload))) for one in (first, second)]
    series = arrays[0]["series_id"]
    assert np.array_equal(series, arrays[1]["series_id"])
    differs = np.zeros(len(series), bool)
    for name, ours in arrays[0].items():
        theirs = arrays[1][name]
        if ours.shape[:1] != series.shape:
            raise TypeError(f"{name}: its first axis is not the series")
        is_float = np.issubdtype(ours.dtype, np.floating)
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)) if is_float else ours == theirs
        differs |= ~same.reshape(len(series), -1).all(axis=1)
    return int(differs.sum())
