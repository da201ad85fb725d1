"""Stores at a county what the platforms of its towns forward, each message in one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from psycopg.types.json import Jsonb

from edge.wire import federation
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.federation import (
    ForwarderFencedError,
    ForwarderIdentity,
    ForwardingRefusedError,
    StoredReadings,
)
from ingest_service.storage.contract.models import READING, REVISION
from ingest_service.storage.postgres import binary_copy, shard_lease, write_batch
from ingest_service.storage.postgres.named_queries import QUERIES
from ingest_service.storage.postgres.sqlstate import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from edge.wire.federation import Definitions, ForwardedAnomaly, ReadingColumns
    from ingest_service.storage.contract.batch import Epoch
    from ingest_service.storage.contract.store import Database


class FederatedRows:
    """Rows of the towns in a county's database.

    Methods raise `ForwardingRefusedError` if a message names what is not the sender's, `ForwarderFencedError`
    if a later forwarder has replaced the sender, `ShardLostError` if another process receives now, and the
    errors of the store; nothing of the message is stored then.
    """

    def __init__(self, database: Database, epoch: Epoch | None = None) -> None:
        self._database = database
        self._epoch = epoch

    def store_definitions(self, sender: ForwarderIdentity, found: Definitions) -> list[str]:
        """Insert or update areas, sites, devices and series; return the series of unknown quantities."""
        with self.message(sender) as (connection, _):
            below = connection.execute(QUERIES["federation_areas"], (sender.area,)).fetchall()
            _check_definitions(connection, sender, found, {area for (area,) in below})
            kinds = (
                ("define_area", found.areas),
                ("define_site", found.sites),
                ("define_device", found.devices),
                ("define_series", [one for one in found.series if one.quantity in QUANTITIES]),
                ("define_node", found.nodes),
                ("define_link", found.links),
            )
            changed = 0
            with connection.cursor() as cursor:
                for query, items in kinds:
                    rows = [_defined_row(one) | {"origin": sender.device} for one in items]
                    if rows:
                        cursor.executemany(QUERIES[query], rows)
                        changed += cursor.rowcount
            if changed:
                connection.execute(QUERIES["directory_changed"])
        return [f"{one.site_id}/{one.quantity}" for one in found.series if one.quantity not in QUANTITIES]

    def store_readings(self, sender: ForwarderIdentity, columns: Sequence[ReadingColumns]) -> StoredReadings:
        """Insert the readings that are not stored yet, and note changed flags of the others.

        They are not judged: they keep the flags of the town. Changed flags are left out of a repeat of an
        earlier block, for newer ones may be stored.
        """
        with self.message(sender) as (connection, is_newest), connection.cursor() as cursor:
            series = _series_of(connection, sender)
            rows = _reading_rows(columns, series)
            undefined = [
                f"{one.site_id}/{one.quantity}"
                for one in columns
                if (one.site_id, one.quantity) not in series
            ]
            if not len(rows):
                return StoredReadings(0, 0, 0, undefined)
            cursor.execute(QUERIES["staging"])
            with cursor.copy(QUERIES["copy_staging"]) as copy:
                copy.write(binary_copy.encode_copy(rows))
            cursor.execute(QUERIES["insert_staged"])
            inserted = np.array(cursor.fetchall(), np.int64).reshape(-1, 3)
            if len(inserted):
                order = np.lexsort((inserted[:, 1], inserted[:, 0]))
                write_batch.mark_rollups_due(cursor, inserted[order, 0], inserted[order, 1])
                write_batch.upsert_latest(cursor, rows)
            conflicts = revised = 0
            if len(inserted) < len(rows):
                with cursor.copy(QUERIES["select_conflicts"]) as copy:
                    conflicts = sum(len(block) for block in binary_copy.decode_copy(copy))
                if is_newest:
                    write_batch.judge_repeats(cursor, rows)
                    revised = _revise(cursor)
            return StoredReadings(len(inserted), revised, conflicts, undefined)

    def store_anomalies(self, sender: ForwarderIdentity, anomalies: Sequence[ForwardedAnomaly]) -> int:
        """Insert anomalies, or replace them by newer changes; return the number of those changed."""
        with self.message(sender) as (connection, _), connection.cursor() as cursor:
            series = _series_of(connection, sender)
            parameters = {"origin": sender.device, "area": sender.area}
            known = set(connection.execute(QUERIES["subjects_of_origin"], parameters).fetchall())
            changed = 0
            for one in anomalies:
                row = _anomaly_row(one, sender, series, known)
                changed += cursor.execute(QUERIES["upsert_federated_anomaly"], row).fetchone() is not None
                cursor.execute(QUERIES["upsert_anomaly_of_origin"], row)
        return changed

    @contextmanager
    def message(self, sender: ForwarderIdentity) -> Iterator[tuple[Connection[Any], bool]]:
        """Open the transaction of a message; yields it, and whether no message of a later block was received.

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


def _check_definitions(
    connection: Connection[Any], sender: ForwarderIdentity, found: Definitions, permitted: set[str]
) -> None:
    """Raise `ForwardingRefusedError` where definitions reach beyond the sender's area."""
    rest = list(found.areas)
    while attached := [one for one in rest if one.parent in permitted and one.area_id != sender.area]:
        permitted |= {one.area_id for one in attached}
        rest = [one for one in rest if one not in attached]
    outside = [f"area {one.area_id!r}" for one in rest]
    outside += [f"site {one.site_id!r}" for one in found.sites if one.area_id not in permitted]
    outside += [f"device {one.device_id!r}" for one in found.devices if one.area_id not in permitted]
    sites = {one.site_id for one in found.sites}
    outside += [f"node {one.node_id!r}" for one in found.nodes if one.area_id not in permitted]
    outside += [f"series of site {one.site_id!r}" for one in found.series if one.site_id not in sites]
    if outside:
        raise ForwardingRefusedError(
            f"{_some(outside)} outside area {sender.area!r}, for which {sender.device!r} forwards: it may"
            " define nothing elsewhere"
        )
    parameters = {
        "origin": sender.device,
        "areas": [one.area_id for one in found.areas],
        "sites": list(sites),
        "devices": [one.device_id for one in found.devices],
    }
    foreign = connection.execute(QUERIES["federation_foreign"], parameters).fetchall()
    if foreign:
        names = _some([f"{kind} {name!r}" for kind, name in foreign])
        raise ForwardingRefusedError(
            f"{names} here already, and not from {sender.device!r}: give it another id in the town"
        )


def _defined_row(one: msgspec.Struct) -> dict[str, Any]:
    row = msgspec.structs.asdict(one)
    return row | {"coordinates": Jsonb(row["coordinates"])} if "coordinates" in row else row


def _series_of(connection: Connection[Any], sender: ForwarderIdentity) -> dict[tuple[str, str], int]:
    rows = connection.execute(QUERIES["series_of_origin"], (sender.device,)).fetchall()
    return {(site_id, quantity): series_id for site_id, quantity, series_id in rows}


def _reading_rows(columns: Sequence[ReadingColumns], series: dict[tuple[str, str], int]) -> NDArray[np.void]:
    """Convert the columns of defined series to READING rows by series and time, each time once."""
    blocks = [np.empty(0, READING)]
    for one in columns:
        series_id = series.get((one.site_id, one.quantity))
        if series_id is None:
            continue
        lists = (one.received_us, one.value, one.expected, one.spread, one.quality, one.rules)
        if any(len(column) != len(one.time_us) for column in lists):
            raise ForwardingRefusedError(
                f"the columns of {one.site_id}/{one.quantity} differ in length: see whether both platforms"
                " are of neighbouring releases"
            )
        block = np.empty(len(one.time_us), READING)
        block["series_id"] = series_id
        for name in ("time_us", "received_us", "value", "quality", "rules"):
            block[name] = getattr(one, name)
        for name in ("expected", "spread"):
            block[name] = [np.nan if value is None else value for value in getattr(one, name)]
        blocks.append(block)
    rows: NDArray[np.void] = np.concatenate(blocks)
    rows = rows[np.lexsort((rows["time_us"], rows["series_id"]))]
    keys = rows[["series_id", "time_us"]]
    return rows[np.append(True, keys[1:] != keys[:-1])] if len(rows) else rows


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


def _some(names: Sequence[str]) -> str:
    """Return a few names with their verb.

    >>> _some(["a"]), _some(["a", "b", "c", "d"])
    ('a is', 'a, b, c and 1 more are')
    """
    if len(names) == 1:
        return f"{names[0]} is"
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} are"
