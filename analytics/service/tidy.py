"""Task that drops or compresses old data by setting, after it was rolled up."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from analytics.service import items
from analytics.service.turn import ENDLESS
from ingest_service.storage.postgres import PostgresStore
from ingest_service.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics.service.settings import Settings
    from analytics.service.turn import Turn
    from ingest_service.storage.store import Store

DAY_S = 86_400.0
ROWS, CHUNKS, TURNS = 20_000, 1, 50  # in one transaction; and how many of them in one look


def tidy(store: Store, settings: Settings, turn: Turn = ENDLESS, *, now_s: float | None = None) -> None:
    """Drop and compress what the settings say, until the turn is over; the store in memory keeps all."""
    if not isinstance(store, PostgresStore):
        return
    now_s, retention, tables = now_s or time.time(), Retention(store), items.of(store, "tidy")
    with tables.isolated("forget letter quotas"):
        store.forget_letter_quotas()
    for what, days in kept_days(settings).items():
        if days and not tables.is_put_off(f"forget {what}"):
            with tables.isolated(f"forget {what}"):
                retention.keep_since(what, now_s - days * DAY_S)
                _all(partial(retention.forget, what, most=ROWS), turn)
        if settings.compress_days and not tables.is_put_off(f"compress {what}"):
            before_s = now_s - settings.compress_days * DAY_S
            with tables.isolated(f"compress {what}"):
                _all(partial(retention.compress, what, before_s, most=CHUNKS), turn)
        if turn.over:
            return


def kept_days(settings: Settings) -> dict[str, float]:
    """How long each thing is kept; 0 is for ever [d]."""
    return {
        "reading": settings.keep_readings_days,
        "rollup_1min": settings.keep_1min_days,
        "rollup_15min": settings.keep_15min_days,
        "rollup_1h": settings.keep_1h_days,
        "rollup_1day": settings.keep_1day_days,
    }


def _all(some: Callable[[], int], turn: Turn) -> None:
    for _ in range(TURNS):
        if turn.over or not some():
            return
