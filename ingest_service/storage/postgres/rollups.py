"""Refreshes the rollups of readings, and reads them as buckets with the same results as the readings give."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ingest_service.storage.contract.models import Bucket
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg import Connection

ROLLUP_WIDTHS_S = {"rollup_1min": 60, "rollup_15min": 900, "rollup_1h": 3600, "rollup_1day": 86_400}
"""Width of each rollup [s]; hours and days are local ones."""
QUARTER_S, HOUR_S, DAY_S = 900, 3600, 86_400
EARLIEST_S, LATEST_S = 0.0, 1e11  # datetime can't represent all times


def refresh_rollups(connection: Connection[Any], limit: int, share: float, zone: str) -> int:
    """Refresh the rollups of about ``limit`` readings, finest first; returns the series-hours refreshed."""
    claimed = connection.execute(QUERIES["take_due"], {"limit": limit, "share": share}).fetchall()
    due = [(series_id, since, until) for series_id, since, until in claimed if since < until]
    if due:
        columns = zip(("series_ids", "since", "until"), map(list, zip(*due, strict=True)), strict=True)
        parameters = dict(columns) | {"zone": zone}
        for level in ROLLUP_WIDTHS_S:
            connection.execute(QUERIES[f"refresh_{level.removeprefix('rollup_')}"], parameters)
    hours: float = sum((until - since).total_seconds() for _, since, until in due) / HOUR_S
    return max(math.ceil(hours), int(len(claimed) > 0))


def read_buckets(
    connection: Connection[Any], series_id: int, from_s: float, to_s: float, width_s: int, *, zone: ZoneInfo
) -> list[Bucket]:
    """Read buckets from the coarsest rollup that divides the width, where up to date; else from readings."""
    parameters: dict[str, Any] = {"series_id": series_id, "from_s": from_s, "to_s": to_s, "width_s": width_s}
    rollup_row = connection.execute(QUERIES["rolled_up"], parameters).fetchone()
    until_s, interval_s, kept_since = rollup_row or (None, math.inf, dict[str, float]())
    fresh_s = to_s if until_s is None else min(to_s, until_s)
    step_s, first_s, last_s = 0, from_s, from_s
    for name, level_s in reversed(ROLLUP_WIDTHS_S.items()):
        if width_s % level_s or (level_s < QUARTER_S and interval_s >= level_s):
            continue
        begin_s = _ceil_to_bucket(max(from_s, kept_since.get(name, EARLIEST_S)), level_s, zone)
        end_s = _floor_to_bucket(min(fresh_s, LATEST_S), level_s, zone)
        if begin_s < end_s:
            step_s, first_s, last_s = level_s, begin_s, end_s
            break
    parameters |= {"zone": zone.key, "step_s": step_s, "first_s": first_s, "last_s": last_s}
    return read_rows.fetch_structs(connection, "buckets", parameters, Bucket)


def _floor_to_bucket(time_s: float, step_s: int, zone: ZoneInfo) -> float:
    """Return the start of the bucket of a time [Unix s]: a local day or hour, or a multiple of minutes."""
    if step_s < HOUR_S:
        return time_s // step_s * step_s
    local = datetime.fromtimestamp(time_s, UTC).astimezone(zone)
    if step_s == DAY_S:
        return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
    return local.replace(minute=0, second=0, microsecond=0).timestamp()


def _ceil_to_bucket(time_s: float, step_s: int, zone: ZoneInfo) -> float:
    """Return the start of the first bucket not before a time [Unix s]."""
    begin_s = _floor_to_bucket(time_s, step_s, zone)
    if begin_s == time_s:
        return begin_s
    if step_s < DAY_S:
        return begin_s + step_s
    day = datetime.fromtimestamp(begin_s, UTC).astimezone(zone) + timedelta(days=1)
    return day.timestamp()
