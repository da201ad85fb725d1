"""Writes batches, corrections, anomalies and enrolments to PostgreSQL, within a transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psycopg
from psycopg import generators
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.batch import Committed
from ingest_service.storage.contract.models import READING
from ingest_service.storage.postgres import binary_copy, dead_letters, shard_lease
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from ingest_service.storage.contract.batch import Batch
    from ingest_service.storage.contract.explanations import Explanation
    from ingest_service.storage.contract.models import Anomaly, Directory, LateReadings

MINUTE_US, HOUR_US, WEEK_US = 60_000_000, 3_600_000_000, 604_800_000_000
LATE_RULE = 64  # analytics.core.flags.Rule.LATE
UNJUDGED_RULES = 64 | 512 | 16384  # analytics.core.flags.Rule.LATE | Rule.CLOCK | Rule.DEVICE


ENROL_QUERIES = (
    ("enrol_area", "areas"),
    ("enrol_site", "sites"),
    ("enrol_device", "devices"),
    ("enrol_series", "series"),
    ("enrol_channel", "channels"),
    ("enrol_node", "nodes"),
    ("enrol_link", "links"),
)
JSON_COLUMNS = ("limits", "coordinates")


def commit_batch(connection: Connection[Any], batch: Batch) -> Committed:
    """Commit a batch, all or nothing.

    If COPY of the fresh readings fails on a repeat, all readings are inserted again as doubtful ones, which
    is slower.
    """
    try:
        return _commit_once(connection, batch, batch.fresh, batch.doubtful)
    except psycopg.errors.UniqueViolation:
        no_rows = batch.fresh[:0]
        all_rows = np.concatenate([batch.fresh, batch.doubtful])
        order = np.lexsort((all_rows["time_us"], all_rows["series_id"]))
        return _commit_once(connection, batch, no_rows, all_rows[order])


def encode_fresh(batch: Batch) -> Batch:
    """Return the batch with its fresh readings encoded for COPY."""
    return replace(batch, encoded=binary_copy.encode_copy(batch.fresh)) if len(batch.fresh) else batch


def upsert_anomalies(cursor: Cursor[Any], changed_anomalies: Sequence[Anomaly]) -> None:
    """Insert or update anomalies by (subject, start time)."""
    if changed_anomalies:
        cursor.executemany(QUERIES["upsert_anomaly"], [_anomaly_row(one) for one in changed_anomalies])


def explain_anomalies(cursor: Cursor[Any], explanations: Mapping[int, Explanation | None]) -> None:
    """Replace the explanations of anomalies by id; None removes one."""
    cursor.executemany(
        QUERIES["explain_anomaly"],
        [
            {
                "anomaly_id": anomaly_id,
                "explanation": None if one is None else Jsonb(msgspec.to_builtins(one)),
            }
            for anomaly_id, one in sorted(explanations.items())
        ],
    )


def store_corrections(
    cursor: Cursor[Any],
    late: LateReadings,
    changed_flags: NDArray[np.void],
    changed_anomalies: Sequence[Anomaly],
    *,
    again_s: float | None,
    rest_from_s: float | None,
) -> bool:
    """Store the changes from judging a series again; False, and no change, if its late readings changed."""
    parameters = msgspec.structs.asdict(late) | {"again_s": again_s, "rest_from_s": rest_from_s}
    if cursor.execute(QUERIES["lock_late"], parameters).fetchone() is None:
        return False
    upsert_revisions(cursor, changed_flags)
    upsert_anomalies(cursor, changed_anomalies)
    late_query = "late_rest" if rest_from_s is not None else "late_done" if again_s is None else "late_again"
    cursor.execute(QUERIES[late_query], parameters)
    return True


def _commit_once(
    connection: Connection[Any], batch: Batch, fresh: NDArray[np.void], doubtful: NDArray[np.void]
) -> Committed:
    with connection.transaction(), connection.cursor() as cursor:
        shard_lease.check_epoch(cursor, batch.epoch)
        if len(fresh):
            with cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(batch.encoded if len(batch.encoded) else binary_copy.encode_copy(fresh))
        inserted, late, conflicts = _insert_doubtful(cursor, doubtful)
        with connection.pipeline() as pipeline:  # in one round trip: see docs/ingest.md, Profile
            upsert_latest(cursor, fresh)
            if len(inserted):  # repeats must not change the newest reading
                upsert_latest(cursor, _first_of_repeats(doubtful))
            mark_rollups_due(cursor, fresh["series_id"], fresh["time_us"])
            mark_rollups_due(cursor, inserted[:, 0], inserted[:, 1])
            upsert_revisions(cursor, batch.revisions)
            upsert_anomalies(cursor, batch.anomalies)
            _write_remaining(cursor, batch, replayed=() if len(conflicts) else batch.replayed)
            # psycopg's `sync` waits for answers even where a part of the statements is unsent, as they exceed
            # what the sockets hold; the server would wait for the rest.
            connection.wait(generators.send(connection.pgconn))
            # Raises the first error. Leaving the context raises the last of two: the `PipelineAborted` of a
            # later statement counts as a lost connection, and would be retried for ever.
            pipeline.sync()
    new_rows = len(fresh) + len(inserted) - late
    repeated = len(doubtful) - len(inserted) - len(conflicts)
    return Committed(fresh=new_rows, late=late, repeated=repeated, conflicts=conflicts)


def _insert_doubtful(
    cursor: Cursor[Any], rows: NDArray[np.void]
) -> tuple[NDArray[np.int64], int, NDArray[np.void]]:
    """Insert the readings that are not stored yet.

    Returns (n, 2) series id and time [us] of the inserted ones, the number of late ones, and the conflicts.
    """
    if not len(rows):
        return np.empty((0, 2), np.int64), 0, np.empty(0, READING)
    cursor.execute(QUERIES["staging"])
    with cursor.copy(QUERIES["copy_staging"]) as copy:
        copy.write(binary_copy.encode_copy(rows))
    cursor.execute(QUERIES["insert_staged"])
    inserted = np.array(cursor.fetchall(), np.int64).reshape(-1, 3)
    late = inserted[inserted[:, 2] & LATE_RULE > 0]
    if len(late):
        cursor.execute(QUERIES["insert_rejudge"], late_ranges(late))
    conflicts = np.empty(0, READING)
    if len(inserted) < len(rows):
        with cursor.copy(QUERIES["select_conflicts"]) as copy:
            conflicts = np.concatenate([conflicts, *binary_copy.decode_copy(copy)])
        if np.any(rows["rules"] & UNJUDGED_RULES == 0):
            judge_repeats(cursor, rows)
    return inserted[:, :2], len(late), conflicts


def judge_repeats(cursor: Cursor[Any], staged: NDArray[np.void]) -> None:
    """Replace stored readings that were not judged when they came first by staged repeats that are.

    Their device repeats them, as it got no receipt, and its clock is right meanwhile. The judge's state has
    them, so a replay of the stored readings must have them, too.
    """
    bounds = {"first_us": int(staged["time_us"].min()), "last_us": int(staged["time_us"].max())}
    judged = np.array(cursor.execute(QUERIES["judge_repeats"], bounds).fetchall(), np.int64).reshape(-1, 2)
    if len(judged):
        judged = judged[np.lexsort((judged[:, 1], judged[:, 0]))]
        series_ids = np.unique(judged[:, 0]).tolist()
        cursor.execute(QUERIES["judge_latest"], bounds | {"series_ids": series_ids})
        mark_rollups_due(cursor, judged[:, 0], judged[:, 1])


def late_ranges(rows: NDArray[np.int64]) -> list[list[int]]:
    """Return series ids, first times, last times and counts by series, of (n, 2+) series id and time [us]."""
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    ids, first, count = np.unique(rows[:, 0], return_index=True, return_counts=True)
    return [ids.tolist(), rows[first, 1].tolist(), rows[first + count - 1, 1].tolist(), count.tolist()]


def _first_of_repeats(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Return, of several rows for one series and time, the one that `insert_staged` inserts."""
    rows = rows[np.lexsort([rows[name] for name in ("value", "received_us", "time_us", "series_id")])]
    keys = rows[["series_id", "time_us"]]
    first: NDArray[np.void] = rows[np.append(True, keys[1:] != keys[:-1])]
    return first


def upsert_latest(cursor: Cursor[Any], rows: NDArray[np.void]) -> None:
    """Update the newest reading of each series; rows are by series and time."""
    if not len(rows):
        return
    ids = rows["series_id"]
    newest = rows[np.append(ids[1:] != ids[:-1], True)]
    names = ("series_id", "time_us", "received_us", "value", "expected", "spread", "quality", "rules")
    cursor.execute(QUERIES["upsert_latest"], [newest[name].tolist() for name in names])


def mark_rollups_due(cursor: Cursor[Any], series_id: NDArray[Any], time_us: NDArray[Any]) -> None:
    """Record the time ranges whose rollups are out of date; rows are by series and time."""
    if len(series_id):
        cursor.execute(QUERIES["insert_due"], rollup_ranges(series_id, time_us))


def rollup_ranges(series_id: NDArray[Any], time_us: NDArray[Any]) -> list[list[int]]:
    """Return series ids, and the starts and ends [s] of the whole-minute time ranges of their readings.

    A range ends at a gap of more than an hour, and with the week, so that no unit of work is large.

    Parameters
    ----------
    series_id, time_us : (n,) int, by series and time [us]

    """
    time_us = np.asarray(time_us, np.int64)
    range_ends = (np.diff(series_id) != 0) | (np.diff(time_us) > HOUR_US) | (np.diff(time_us // WEEK_US) != 0)
    first = np.flatnonzero(np.append(True, range_ends))
    last = np.append(first[1:], len(series_id)) - 1
    since_s, until_s = time_us[first] // MINUTE_US * 60, (time_us[last] // MINUTE_US + 1) * 60
    return [series_id[first].tolist(), since_s.tolist(), until_s.tolist()]


def upsert_revisions(cursor: Cursor[Any], rows: NDArray[np.void]) -> None:
    """Insert or update revised flags, REVISION by series and time, and mark their rollups as due."""
    if len(rows):
        names = ("series_id", "time_us", "quality", "rules")
        cursor.execute(QUERIES["upsert_revisions"], [rows[name].tolist() for name in names])
        mark_rollups_due(cursor, rows["series_id"], rows["time_us"])


def _write_remaining(cursor: Cursor[Any], batch: Batch, *, replayed: Sequence[int]) -> None:
    dead_letters.store_dead_letters(cursor, batch.dead_letters, replayed)
    for one in batch.statuses:
        cursor.execute(QUERIES["update_status"], msgspec.structs.asdict(one) | {"status": Jsonb(one.status)})
    if batch.checkpoint is not None:
        checkpoint_saved = batch.checkpoint
        cursor.execute(
            QUERIES["save_checkpoint"],
            (checkpoint_saved.shard, checkpoint_saved.version, checkpoint_saved.payload),
        )


def _anomaly_row(one: Anomaly) -> dict[str, Any]:
    times = {
        "start_us": round(one.start_s * 1e6),
        "end_us": None if one.end_s is None else round(one.end_s * 1e6),
        "peak_us": round(one.peak_s * 1e6),
    }
    return msgspec.structs.asdict(one) | times | {"evidence": Jsonb(one.evidence)}


def enrol_directory(connection: Connection[Any], directory: Directory) -> int:
    """Insert or update everything in a directory; returns the number of rows changed."""
    return sum(_enrol_rows(connection, query, getattr(directory, kind)) for query, kind in ENROL_QUERIES)


def _enrol_rows(connection: Connection[Any], query: str, named: Sequence[msgspec.Struct]) -> int:
    if not named:
        return 0
    rows = [msgspec.structs.asdict(one) for one in named]
    for row in rows:
        row.update({name: Jsonb(row[name]) for name in JSON_COLUMNS if name in row})
    with connection.cursor() as cursor:
        cursor.executemany(QUERIES[query], rows)
        return cursor.rowcount
