"""One batch, one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from ingest_service.storage import binary
from ingest_service.storage.model import Committed
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from ingest_service.storage.model import Anomaly, Batch

HOUR_US = 3_600_000_000


def commit(connection: Connection[Any], batch: Batch) -> Committed:
    """All of a batch or nothing; where the fast path meets a repeat, the careful one takes everything."""
    try:
        return _commit(connection, batch, batch.fresh, batch.doubtful)
    except psycopg.errors.UniqueViolation:
        nothing = batch.fresh[:0]
        return _commit(connection, batch, nothing, np.concatenate([batch.fresh, batch.doubtful]))


def anomalies(cursor: Cursor[Any], changed: Sequence[Anomaly]) -> None:
    """Insert or update anomalies by (subject, start)."""
    if changed:
        cursor.executemany(QUERIES["upsert_anomaly"], [_anomaly(one) for one in changed])


def _commit(
    connection: Connection[Any], batch: Batch, fresh: NDArray[np.void], doubtful: NDArray[np.void]
) -> Committed:
    with connection.transaction(), connection.cursor() as cursor:
        if len(fresh):
            with cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(binary.encode(fresh))
        inserted, late = _insert_doubtful(cursor, doubtful)
        _latest(cursor, np.concatenate([fresh, doubtful]))
        _due(cursor, fresh["series_id"], fresh["time_us"])
        _due(cursor, inserted[:, 0], inserted[:, 1])
        _revisions(cursor, batch.revisions)
        anomalies(cursor, batch.anomalies)
        _rest(cursor, batch)
    new = len(fresh) + len(inserted) - late
    return Committed(fresh=new, late=late, repeated=len(doubtful) - len(inserted))


def _insert_doubtful(cursor: Cursor[Any], rows: NDArray[np.void]) -> tuple[NDArray[np.int64], int]:
    """Insert what is not there yet; (n, 2) series id and time [us] of what was; how many are late."""
    if not len(rows):
        return np.empty((0, 2), np.int64), 0
    cursor.execute(QUERIES["staging"])
    with cursor.copy(QUERIES["copy_staging"]) as copy:
        copy.write(binary.encode(rows))
    cursor.execute(QUERIES["insert_staged"])
    inserted = np.array(cursor.fetchall(), np.int64).reshape(-1, 3)
    return inserted[:, :2], int(np.count_nonzero(inserted[:, 2] == 2))


def _latest(cursor: Cursor[Any], rows: NDArray[np.void]) -> None:
    if not len(rows):
        return
    order = np.lexsort((rows["time_us"], rows["series_id"]))
    ids = rows["series_id"][order]
    newest = rows[order[np.append(ids[1:] != ids[:-1], True)]]
    names = ("series_id", "time_us", "received_us", "value", "expected", "spread", "quality", "rules")
    cursor.execute(QUERIES["upsert_latest"], [newest[name].tolist() for name in names])


def _due(cursor: Cursor[Any], series_id: NDArray[Any], time_us: NDArray[Any]) -> None:
    if not len(series_id):
        return
    hours = np.unique(np.stack([series_id.astype(np.int64), time_us // HOUR_US]), axis=1)
    cursor.execute(QUERIES["insert_due"], [hours[0].tolist(), (hours[1] * 3600).tolist()])


def _revisions(cursor: Cursor[Any], rows: NDArray[np.void]) -> None:
    if len(rows):
        names = ("series_id", "time_us", "quality", "rules")
        cursor.execute(QUERIES["upsert_revisions"], [rows[name].tolist() for name in names])
        _due(cursor, rows["series_id"], rows["time_us"])


def _rest(cursor: Cursor[Any], batch: Batch) -> None:
    if batch.letters:
        letters = [
            msgspec.structs.asdict(one) | {"properties": Jsonb(one.properties)} for one in batch.letters
        ]
        cursor.executemany(QUERIES["insert_letter"], letters)
    for one in batch.statuses:
        cursor.execute(QUERIES["update_status"], msgspec.structs.asdict(one) | {"status": Jsonb(one.status)})
    if batch.checkpoint is not None:
        saved = batch.checkpoint
        cursor.execute(QUERIES["save_checkpoint"], (saved.shard, saved.version, saved.payload))


def _anomaly(one: Anomaly) -> dict[str, Any]:
    times = {
        "start_us": round(one.start_s * 1e6),
        "end_us": None if one.end_s is None else round(one.end_s * 1e6),
        "peak_us": round(one.peak_s * 1e6),
    }
    return msgspec.structs.asdict(one) | times | {"evidence": Jsonb(one.evidence)}
