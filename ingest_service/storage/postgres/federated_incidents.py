"""Stores at a county the incidents that the platforms of its towns forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.federation import ForwardingRefusedError
from ingest_service.storage.contract.incidents import Incident
from ingest_service.storage.postgres.federated_items import store_each
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from edge.wire.federation import ForwardedIncident
    from ingest_service.storage.contract.federation import ForwarderIdentity, RefusedItems
    from ingest_service.storage.postgres.federated_rows import FederatedRows


class FederatedIncidents:
    """Incidents of the towns in a county's database; its method raises as those of `FederatedRows` do."""

    def __init__(self, rows: FederatedRows) -> None:
        self._rows = rows

    def store(
        self,
        sender: ForwarderIdentity,
        incidents: Sequence[ForwardedIncident],
        refused: RefusedItems | None = None,
    ) -> int:
        """Insert incidents, or replace them by newer changes; return the number of those changed.

        Anomalies in them that are not here yet are left out: a later change of the incident has them. An
        incident that refers to a refused one of its message is refused too, for it would lose its relation.
        """
        changed = 0
        with self._rows.message(sender) as (connection, _):
            below = {area for (area,) in connection.execute(QUERIES["federation_areas"], (sender.area,))}
            parameters = {"origin": sender.device, "area": sender.area}
            known = set(connection.execute(QUERIES["subjects_of_origin"], parameters).fetchall())

            def store(one: ForwardedIncident) -> None:
                nonlocal changed
                if refused is not None:  # until it is stored
                    refused.incident_ids.add(one.incident_id)
                if one.area_id not in below or ("site", one.main_site_id) not in known:
                    raise ForwardingRefusedError(
                        f"incident {one.incident_id} at site {one.main_site_id!r} in area {one.area_id!r} is"
                        f" of nothing that {sender.device!r} has defined here"
                    )
                for reference in (one.parent_id, one.merged_into):
                    is_refused = refused is not None and reference in refused.incident_ids
                    if is_refused and _id_here(connection, sender, reference) is None:
                        raise ForwardingRefusedError(
                            f"incident {one.incident_id} refers to incident {reference}, which is not stored"
                            " here: replay the dead letter of that one first"
                        )
                changed += _store_incident(connection, sender, one, below)
                if refused is not None:
                    refused.incident_ids.discard(one.incident_id)

            store_each(connection, "incidents", enumerate(incidents), store, refused)
        return changed


def _store_incident(
    connection: Connection[Any], sender: ForwarderIdentity, one: ForwardedIncident, below: set[str]
) -> bool:
    """Store an incident; False if this change of it with all of the entries, or a newer one, is stored."""
    origin = {
        "origin": sender.device,
        "incident_id": one.incident_id,
        "opened_s": one.opened_s,
        "forwarder": sender.forwarder,
        "revision": one.revision,
    }
    stored = connection.execute(QUERIES["federated_incident"], origin).fetchone()
    if stored is not None:
        newest = tuple(stored[2:])
        if newest > (sender.forwarder, one.revision):
            return False
        if newest == (sender.forwarder, one.revision) and not _lacks_entries(connection, one, stored[0]):
            return False
    incident = _incident(connection, sender, one, below)
    if stored is None:
        row = connection.execute(QUERIES["insert_incident"], msgspec.structs.asdict(incident)).fetchone()
    else:
        found = msgspec.structs.replace(incident, incident_id=stored[0], revision=stored[1])
        row = connection.execute(QUERIES["update_incident"], msgspec.structs.asdict(found)).fetchone()
    assert row is not None  # noqa: S101 - it is inserted, or was locked with this revision
    stored_id, revision, _ = row
    if stored is None:
        connection.execute(QUERIES["set_incident_origin"], origin | {"stored_id": stored_id})
    connection.execute(QUERIES["upsert_federated_incident"], origin | {"stored_id": stored_id})
    _store_members(connection, sender, one, stored_id)
    for entry in _entries(one, stored_id):
        connection.execute(QUERIES["insert_federated_history"], entry | {"revision": revision})
    return True


def _lacks_entries(connection: Connection[Any], one: ForwardedIncident, stored_id: int) -> bool:
    """Return whether an incident came with entries that are not stored: a further part of a long history."""
    found = (
        connection.execute(QUERIES["lacks_federated_history"], entry).fetchone()
        for entry in _entries(one, stored_id)
    )
    return any(row is not None and row[0] for row in found)


def _entries(one: ForwardedIncident, stored_id: int) -> list[dict[str, Any]]:
    return [
        msgspec.structs.asdict(entry) | {"incident_id": stored_id, "detail": Jsonb(entry.detail)}
        for entry in one.entries
    ]


def _incident(
    connection: Connection[Any], sender: ForwarderIdentity, one: ForwardedIncident, below: set[str]
) -> Incident:
    """Return the incident as it is stored here. Raises `ForwardingRefusedError` if a field is not known."""
    fields = {name: value for name, value in one.incident.items() if name in Incident.__struct_fields__}
    fields |= {
        "incident_id": 0,
        "revision": 0,
        "opened_s": one.opened_s,
        "area_id": one.area_id,
        "area_ids": [area for area in one.area_ids if area in below],
        "main_site_id": one.main_site_id,
        "parent_id": _id_here(connection, sender, one.parent_id) or _own_parent(connection, sender, one),
        "merged_into": _id_here(connection, sender, one.merged_into),
        "team_id": None,
    }
    try:
        return msgspec.convert(fields, Incident)
    except msgspec.ValidationError as error:
        raise ForwardingRefusedError(
            f"incident {one.incident_id} can't be read: {error}; if the town has a newer release, update this"
            " platform and replay the message"
        ) from error


def _id_here(connection: Connection[Any], sender: ForwarderIdentity, incident_id: int | None) -> int | None:
    if incident_id is None:
        return None
    row = connection.execute(QUERIES["incident_of_origin"], (sender.device, incident_id)).fetchone()
    return None if row is None else int(row[0])


def _own_parent(connection: Connection[Any], sender: ForwarderIdentity, one: ForwardedIncident) -> int | None:
    """Return the incident of this platform below which one of the town is; the town does not know it."""
    parameters = {"origin": sender.device, "incident_id": one.incident_id, "opened_s": one.opened_s}
    row = connection.execute(QUERIES["own_parent"], parameters).fetchone()
    return None if row is None else row[0]


def _store_members(
    connection: Connection[Any], sender: ForwarderIdentity, one: ForwardedIncident, stored_id: int
) -> None:
    by_number = {member.anomaly_id: member for member in one.members}
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(QUERIES["anomalies_of_origin"], (sender.device, list(by_number))).fetchall()
        rows = [
            anomaly
            | {"incident_id": stored_id}
            | {
                name: getattr(by_number[anomaly["origin_id"]], name)
                for name in ("role", "reason", "reason_en", "reason_zh", "by")
            }
            for anomaly in found
        ]
        if rows:
            cursor.executemany(QUERIES["upsert_incident_anomaly"], rows)
    connection.execute(
        QUERIES["release_incident_anomalies"], (stored_id, [row["anomaly_id"] for row in rows])
    )
