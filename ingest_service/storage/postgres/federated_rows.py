"""Stores at a county what the platforms of its towns forward, each message in one transaction."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import structlog
from psycopg.types.json import Jsonb

from edge.wire import federation
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.federation import (
    ForwarderFencedError,
    ForwarderIdentity,
    ForwardingRefusedError,
    ItemRefusal,
    RefusedItems,
    StoredReadings,
)
from ingest_service.storage.contract.models import READING, REVISION
from ingest_service.storage.postgres import binary_copy, shard_lease, write_batch
from ingest_service.storage.postgres.federated_definitions import DefinitionStoring
from ingest_service.storage.postgres.federated_items import store_each
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from edge.wire.federation import Definitions, ForwardedAnomaly, ReadingColumns, RollupColumns
    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.store import Database

log = structlog.get_logger()


class FederatedRows:
    """Rows of the towns in a county's database.

    Methods raise `ForwardingRefusedError` if a message names what is not the sender's, `ForwarderFencedError`
    if a later forwarder has replaced the sender, `ShardLostError` if another process receives now, and the
    errors of the store; nothing of the message is stored then. With ``refused``, which collects the items
    that can't be stored, the others are stored in one transaction.
    """

    def __init__(self, database: Database, epoch: Epoch | None = None) -> None:
        self._database = database
        self._epoch = epoch

    def store_definitions(
        self, sender: ForwarderIdentity, found: Definitions, refused: RefusedItems | None = None
    ) -> list[str]:
        """Insert or update areas, sites, devices, series, nodes and links.

        Returns the series of unknown quantities, which are left out. Raises `ForwardingCircleError` too, if
        the definitions have passed through this platform.
        """
        problems = RefusedItems() if refused is None else refused
        with self.message(sender) as (connection, _):
            DefinitionStoring(connection, sender, found, problems, itemwise=refused is not None).store()
            if refused is None and problems.found:
                raise ForwardingRefusedError("; ".join(one.detail for one in problems.found))
        return [f"{one.site_id}/{one.quantity}" for one in found.series if one.quantity not in QUANTITIES]

    def store_readings(self, sender: ForwarderIdentity, columns: Sequence[ReadingColumns]) -> StoredReadings:
        """Insert the readings that are not stored yet, and note changed flags of the others.

        They are not judged: they keep the flags of the town. Changed flags are left out of a repeat of an
        earlier block, for newer ones may be stored.
        """
        with self.message(sender) as (connection, is_newest), connection.cursor() as cursor:
            series = _series_of(connection, sender)
            refused = _refused_columns(columns, series)
            numbers = {one.number for one in refused}
            good = [
                (series[one.site_id, one.quantity], index, one)
                for index, one in enumerate(columns)
                if index not in numbers
            ]
            all_rows = _reading_rows([(series_id, one) for series_id, _, one in good])
            rows, doubled = _once(all_rows)
            if not len(rows):
                return StoredReadings(0, 0, 0, refused)
            cursor.execute(QUERIES["staging"])
            with cursor.copy(QUERIES["copy_staging"]) as copy:
                copy.write(binary_copy.encode_copy(rows))
            cursor.execute(QUERIES["insert_staged"])
            inserted = np.array(cursor.fetchall(), np.int64).reshape(-1, 3)
            if len(inserted):
                order = np.lexsort((inserted[:, 1], inserted[:, 0]))
                write_batch.mark_rollups_due(cursor, inserted[order, 0], inserted[order, 1])
                write_batch.upsert_latest(cursor, rows)
            conflicting, revised = doubled, 0
            if len(inserted) < len(rows):
                with cursor.copy(QUERIES["select_conflicts"]) as copy:
                    conflicting = np.concatenate([doubled, *binary_copy.decode_copy(copy)])
                if is_newest:
                    write_batch.judge_repeats(cursor, rows)
                    revised = _revise(cursor)
            refused += _conflicts(good, conflicting)
            return StoredReadings(len(inserted), revised, len(conflicting), refused)

    def store_anomalies(
        self,
        sender: ForwarderIdentity,
        anomalies: Sequence[ForwardedAnomaly],
        refused: RefusedItems | None = None,
    ) -> int:
        """Insert anomalies, or replace them by newer changes; return the number of those changed."""
        changed = 0
        with self.message(sender) as (connection, _), connection.cursor() as cursor:
            series = _series_of(connection, sender)
            parameters = {"origin": sender.device, "area": sender.area}
            known = set(connection.execute(QUERIES["subjects_of_origin"], parameters).fetchall())

            def store(one: ForwardedAnomaly) -> None:
                nonlocal changed
                row = _anomaly_row(one, sender, series, known)
                was_changed = cursor.execute(QUERIES["upsert_federated_anomaly"], row).fetchone() is not None
                cursor.execute(QUERIES["upsert_anomaly_of_origin"], row)
                changed += was_changed

            store_each(connection, "anomalies", enumerate(anomalies), store, refused)
        return changed

    @contextmanager
    def message(self, sender: ForwarderIdentity) -> Iterator[tuple[Connection[Any], bool]]:
        """Open the transaction of a message; yields it, and whether no message of a later block was received.

        A stored forwarder of a time to come, from a release that did not refuse it (`forwarder_clock`), is
        forgotten: it would lock its town out until then.

        Raises `ForwardingRefusedError`, `ForwarderFencedError` and `ShardLostError`.
        """
        with translated_errors(), self._database.transaction() as connection:
            with connection.cursor() as cursor:
                shard_lease.check_epoch(cursor, self._epoch)
            _check_sender(connection, sender)
            stored = connection.execute(QUERIES["federation_source"], (sender.device,)).fetchone() or (0, 0)
            if sender.block is None:
                yield connection, False
                return
            latest = int((time.time() + federation.FORWARDER_AHEAD_S) * 1e6)
            if sender.forwarder <= latest < stored[0]:
                connection.execute(
                    QUERIES["forget_future_forwarder"], {"device": sender.device, "latest": latest}
                )
                log.warning("future_forwarder_forgotten", device=sender.device, forwarder=stored[0])
                stored = (0, 0)
            if sender.forwarder < stored[0]:
                raise ForwarderFencedError(
                    f"forwarder {sender.forwarder} of {sender.device!r} was replaced by a later one,"
                    f" {stored[0]}: let one machine forward for {sender.area!r}, and start it again there"
                )
            connection.execute(QUERIES["upsert_federation_source"], sender._asdict())
            yield connection, (sender.forwarder, sender.block) >= tuple(stored)


def _check_sender(connection: Connection[Any], sender: ForwarderIdentity) -> None:
    found = connection.execute(QUERIES["federation_sender"], (sender.device,)).fetchone()
    if found != (sender.area, federation.DEVICE_KIND, None):
        raise ForwardingRefusedError(
            f"device {sender.device!r} may not forward for area {sender.area!r}: enrol it there, with the"
            f" kind {federation.DEVICE_KIND!r}"
        )


def _series_of(connection: Connection[Any], sender: ForwarderIdentity) -> dict[tuple[str, str], int]:
    rows = connection.execute(QUERIES["series_of_origin"], (sender.device,)).fetchall()
    return {(site_id, quantity): series_id for site_id, quantity, series_id in rows}


def _refused_columns(
    columns: Sequence[ReadingColumns], series: dict[tuple[str, str], int]
) -> list[ItemRefusal]:
    """Return the columns of series that are not defined here, and those that differ in length."""
    refused = []
    for index, one in enumerate(columns):
        lists = (one.received_us, one.value, one.expected, one.spread, one.quality, one.rules)
        if (one.site_id, one.quantity) not in series:
            refused.append(undefined_series("series", index, one))
        elif any(len(column) != len(one.time_us) for column in lists):
            detail = (
                f"the columns of {one.site_id}/{one.quantity} differ in length: see whether both platforms"
                " are of neighbouring releases"
            )
            refused.append(ItemRefusal("series", index, "federation", detail))
    return refused


def undefined_series(field: str, index: int, one: ReadingColumns | RollupColumns) -> ItemRefusal:
    """Return the refusal of columns of a series that is not defined here."""
    return ItemRefusal(
        field,
        index,
        "federation",
        f"series {one.site_id}/{one.quantity} is not defined here: see the dead letter of the definitions, or"
        " update this platform if its quantity is new, then replay this one",
    )


def _reading_rows(columns: Sequence[tuple[int, ReadingColumns]]) -> NDArray[np.void]:
    """Convert columns, given with the numbers of their series, to READING rows by series and time."""
    blocks = [np.empty(0, READING)]
    for series_id, one in columns:
        block = np.empty(len(one.time_us), READING)
        block["series_id"] = series_id
        for name in ("time_us", "received_us", "value", "quality", "rules"):
            block[name] = getattr(one, name)
        for name in ("expected", "spread"):
            block[name] = [np.nan if value is None else value for value in getattr(one, name)]
        blocks.append(block)
    rows: NDArray[np.void] = np.concatenate(blocks)
    return rows[np.lexsort((rows["time_us"], rows["series_id"]))]


def _once(rows: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the first row of each series and time, and those of the others that have another value."""
    keys = rows[["series_id", "time_us"]]
    is_repeat = np.append(False, keys[1:] == keys[:-1]) if len(rows) else np.empty(0, bool)
    if not is_repeat.any():
        return rows, rows[:0]
    firsts = rows[~is_repeat]
    first_of = firsts[np.cumsum(~is_repeat) - 1]
    return firsts, rows[is_repeat & (rows["value"] != first_of["value"])]


def _conflicts(
    columns: Sequence[tuple[int, int, ReadingColumns]], conflicting: NDArray[np.void]
) -> list[ItemRefusal]:
    """Return the rows of columns, given with series and number, that have another value than is stored."""
    if not len(conflicting):
        return []
    keys = set(zip(*(conflicting[name].tolist() for name in ("series_id", "time_us", "value")), strict=True))
    refused = []
    for series_id, index, one in columns:
        rows = tuple(
            row
            for row, (time_us, value) in enumerate(zip(one.time_us, one.value, strict=True))
            if (series_id, time_us, value) in keys
        )
        if rows:
            detail = (
                f"another value is stored for {len(rows)} readings of {one.site_id}/{one.quantity}: see which"
                " of the two is right"
            )
            refused.append(ItemRefusal("series", index, "conflict", detail, rows))
    return refused


def _revise(cursor: Cursor[Any]) -> int:
    changed = cursor.execute(QUERIES["revise_staged"]).fetchall()
    rows = np.array(changed, REVISION) if changed else np.empty(0, REVISION)
    write_batch.upsert_revisions(cursor, rows)
    return len(rows)


def _anomaly_row(
    one: ForwardedAnomaly,
    sender: ForwarderIdentity,
    series: dict[tuple[str, str], int],
    known: set[tuple[Any, ...]],
) -> dict[str, Any]:
    """Return the parameters of an anomaly's row. Raises `ForwardingRefusedError` if it is not the town's."""
    series_id = None if one.quantity is None else series.get((one.site_id, one.quantity))
    kind, _, name = one.subject.partition("/")
    subject_is_known = {
        "series": series_id is not None,
        "site": name == one.site_id or name.startswith(f"{one.site_id}/"),
        "device": ("device", name.partition("/")[0]) in known,
        "area": ("area", name.partition("/")[0]) in known,
    }.get(kind, False)
    device_is_known = one.device_id is None or ("device", one.device_id) in known
    if ("site", one.site_id) not in known or not subject_is_known or not device_is_known:
        raise ForwardingRefusedError(
            f"anomaly {one.anomaly_id} of {one.subject!r} at site {one.site_id!r} ({one.quantity}) is of"
            f" nothing that {sender.device!r} has defined here"
        )
    return msgspec.structs.asdict(one) | {
        "subject": f"series/{series_id}" if kind == "series" else one.subject,
        "series_id": series_id,
        "evidence": Jsonb(one.evidence),
        "origin": sender.device,
        "forwarder": sender.forwarder,
    }
