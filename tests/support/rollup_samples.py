"""Sample series for rollup tests, and a slow reference implementation of rollups."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, REVISION, Directory, Series
from tests.support.store_samples import DIRECTORY, LATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

ZONE = ZoneInfo("Asia/Shanghai")
BEGIN_US = 1_790_000_040_000_000
SPEED, FLOW, FAST, SLOW = 1, 2, 3, 4
TOWN = msgspec.structs.replace(
    DIRECTORY,
    series=[
        Series(site_id="s1", quantity="traffic_speed", interval_s=300),
        Series(site_id="s1", quantity="traffic_flow", interval_s=300),
        Series(site_id="s1", quantity="ph", interval_s=10),
        Series(site_id="s1", quantity="turbidity", interval_s=3600),
    ],
    channels=[],
)
assert isinstance(TOWN, Directory)


class ExpectedRollup(NamedTuple):
    """A bucket, as the slow reference computes it."""

    n: int
    good: int
    min: float | None
    max: float | None
    judged: int
    flagged: float | None
    sums: tuple[float, ...]  # total, expected, spread, weight, weighted; NaN for an empty sum


def expected_rows(series_id: int, times_s: NDArray[np.float64], seed: int) -> NDArray[np.void]:
    """Return readings with every flag, some without an expected value."""
    random = np.random.default_rng(seed)
    n = len(times_s)
    made = np.zeros(n, READING)
    made["series_id"] = series_id
    made["time_us"] = BEGIN_US + (times_s * 1e6).astype(np.int64)
    made["received_us"] = made["time_us"] + 1_000_000
    made["value"] = random.normal(40, 10, n)
    made["expected"] = np.where(random.random(n) < 0.2, np.nan, 40.0)
    made["spread"] = made["expected"] / 10
    made["quality"] = random.choice([1, 2, 3, 4, 9], n, p=[0.7, 0.1, 0.1, 0.05, 0.05])
    return made


def commit_all(store: Store) -> None:
    """Commit three days of all series with late readings and revised flags, rolled up in between."""
    times_by_series = {
        SPEED: np.arange(0, 3 * 86_400, 300.0),
        FLOW: np.arange(0, 3 * 86_400, 300.0),
        FAST: np.arange(0, 7000, 9.7),
        SLOW: np.arange(0, 3 * 86_400, 3600.0),
    }
    all_rows = {one: expected_rows(one, times_s, seed=one) for one, times_s in times_by_series.items()}
    late = {one: made[1::7].copy() for one, made in all_rows.items()}
    for one, made in all_rows.items():
        store.commit(Batch(fresh=np.delete(made, np.s_[1::7])))
        if one != FLOW:  # a speed is rolled up before its flow has arrived
            while store.refresh_rollups(limit=500):
                pass
    revised = np.concatenate([made[2::11] for made in all_rows.values()])
    revisions = np.zeros(len(revised), REVISION)
    for name in ("series_id", "time_us"):
        revisions[name] = revised[name]
    revisions["quality"] = np.where(revised["quality"] <= 2, 4, 1)
    for made in late.values():
        made["rules"] = LATE
    store.commit(Batch(doubtful=np.concatenate(list(late.values())), revisions=revisions))


def naive_rollup(store: Store, series_id: int, width_s: int) -> dict[datetime, ExpectedRollup]:
    """Compute the rollup of a series, reading by reading."""
    flow = {}
    if series_id == SPEED:
        flow = {
            int(one["time_us"]): float(one["value"])
            for one in _stored_rows(store, FLOW)
            if one["quality"] <= 2
        }
    buckets = defaultdict(list)
    for one in _stored_rows(store, series_id):
        buckets[_bucket_start(int(one["time_us"]) / 1e6, width_s)].append(one)
    return {begin: _rollup_of_bucket(bucket_rows, flow) for begin, bucket_rows in buckets.items()}


def _rollup_of_bucket(bucket_rows: list[Any], flow: dict[int, float]) -> ExpectedRollup:
    good = [float(one["value"]) for one in bucket_rows if one["quality"] <= 2]
    judged = [one for one in bucket_rows if not np.isnan(one["expected"])]
    flagged = [float(one["value"]) for one in bucket_rows if one["quality"] in (3, 4)]
    with_flow = [(one, flow[int(one["time_us"])]) for one in bucket_rows if int(one["time_us"]) in flow]
    weighed = [(float(one["value"]), weight) for one, weight in with_flow if one["quality"] <= 2]
    sums = (
        sum(good) if good else np.nan,
        sum(float(one["expected"]) for one in judged) if judged else np.nan,
        sum(float(one["spread"]) for one in judged) if judged else np.nan,
        sum(weight for _, weight in weighed) if with_flow else np.nan,
        sum(value * weight for value, weight in weighed) if weighed else np.nan,
    )
    extremes = min(good, default=None), max(good, default=None)
    return ExpectedRollup(
        len(bucket_rows), len(good), *extremes, len(judged), max(flagged, default=None), sums
    )


def _stored_rows(store: Store, series_id: int) -> NDArray[np.void]:
    return store.readings(series_id, 0, 4e9, limit=10**6)


def _bucket_start(time_s: float, width_s: int) -> datetime:
    if width_s < 3600:
        return datetime.fromtimestamp(time_s // width_s * width_s, UTC)
    local = datetime.fromtimestamp(time_s, ZONE).replace(minute=0, second=0, microsecond=0)
    return (local.replace(hour=0) if width_s == 86_400 else local).astimezone(UTC)
