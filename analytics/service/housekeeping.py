"""Periodic task that deletes or compresses old readings, rollups, quotas and scenarios by the settings."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from analytics.service.service_state import ServiceState
from analytics.service.time_slice import UNLIMITED
from ingest_service.storage.postgres.retention import RetentionPolicy
from ingest_service.storage.postgres.scenarios import ScenarioLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics.service.settings import Settings
    from analytics.service.time_slice import TimeSlice
    from ingest_service.storage.contract.store import Store

DAY_S = 86_400.0
ROWS_PER_TRANSACTION, CHUNKS_PER_TRANSACTION, MAX_TRANSACTIONS = (
    20_000,
    1,
    50,
)  # per transaction: rows deleted, chunks compressed; per table and turn: transactions


def tidy(
    store: Store,
    settings: Settings,
    time_slice: TimeSlice = UNLIMITED,
    service_state: ServiceState | None = None,
    *,
    now_s: float | None = None,
) -> None:
    """Delete and compress old data until the time slice is over; the in-memory store keeps everything."""
    database = store.database
    if database is None:
        return
    now_s, retention, table_backoff = (
        now_s or time.time(),
        RetentionPolicy(database),
        (service_state or ServiceState()).backoff("tidy"),
    )
    with table_backoff.isolate("forget letter quotas"):
        database.delete_old_quotas()
    scenario_days = settings.keep_scenarios_days
    if scenario_days and not table_backoff.is_deferred("delete scenarios"):
        with table_backoff.isolate("delete scenarios"):
            ScenarioLog(database).delete_before(now_s - scenario_days * DAY_S)
    for table_name, days in retention_days(settings).items():
        if days and not table_backoff.is_deferred(f"forget {table_name}"):
            with table_backoff.isolate(f"forget {table_name}"):
                retention.set_retention_start(table_name, now_s - days * DAY_S)
                _repeat_until_done(
                    partial(retention.delete_expired, table_name, max_rows=ROWS_PER_TRANSACTION), time_slice
                )
        if settings.compress_days and not table_backoff.is_deferred(f"compress {table_name}"):
            before_s = now_s - settings.compress_days * DAY_S
            with table_backoff.isolate(f"compress {table_name}"):
                _repeat_until_done(
                    partial(retention.compress, table_name, before_s, max_rows=CHUNKS_PER_TRANSACTION),
                    time_slice,
                )
        if time_slice.is_over:
            return


def retention_days(settings: Settings) -> dict[str, float]:
    """Return the retention time of each table [d]; 0 is for ever."""
    return {
        "reading": settings.keep_readings_days,
        "rollup_1min": settings.keep_1min_days,
        "rollup_15min": settings.keep_15min_days,
        "rollup_1h": settings.keep_1h_days,
        "rollup_1day": settings.keep_1day_days,
    }


def _repeat_until_done(run_transaction: Callable[[], int], time_slice: TimeSlice) -> None:
    for _ in range(MAX_TRANSACTIONS):
        if time_slice.is_over or not run_transaction():
            return
