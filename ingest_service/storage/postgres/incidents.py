"""Stores incidents, the anomalies in them, their history, requests and photos in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.incidents import (
    Incident,
    IncidentAnomaly,
    IncidentCursor,
    IncidentHistory,
    IncidentPhoto,
    IncidentQuery,
    IncidentRequest,
    IncidentToTrace,
    IncidentTrace,
    PlannedMaintenance,
    RevisionConflictError,
)
from ingest_service.storage.contract.models import Anomaly
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from ingest_service.storage.contract.incidents import HistoryEntry, IncidentUpdate, RequestState
    from ingest_service.storage.contract.store import Database

T = TypeVar("T")

MAX_HISTORY_ROWS = 10_000


class Incidents:
    """Incidents in the database, as far as its area scope allows. Methods raise the errors of the store.

    Each call is one transaction. All changes go through `apply`, which checks the revisions that were read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- incidents ---------------------------------------------------------------------------------

    def found(self, query: IncidentQuery) -> list[Incident]:
        """Return incidents by filter, newest opening first."""
        return self._rows("incidents", _query_parameters(query), Incident)

    def incident(self, incident_id: int) -> Incident | None:
        """Return one incident; None if there is none with this id in the area scope."""
        return next(iter(self.found(IncidentQuery(incident_ids=[incident_id], limit=1))), None)

    def count(self, query: IncidentQuery) -> int:
        """Count the incidents that match a filter; its limit is ignored."""
        return int(self._value("count_incidents", _query_parameters(query)))

    def changed(self, revision: int, *, limit: int, settled: int | None = None) -> list[Incident]:
        """Return incidents changed after a revision, oldest change first, up to a settled one.

        ``settled`` is a revision known to be settled; None is the newest one.
        """
        settled = self.settled_revision() if settled is None else settled
        if settled <= revision:
            return []
        return self._rows("incidents_changed", (revision, settled, limit), Incident)

    def groupable(self, since_s: float, incident_ids: Iterable[int] = ()) -> list[Incident]:
        """Return the incidents that may be joined (not over, or changed since), and some others by id."""
        return self._rows("groupable_incidents", (since_s, list(incident_ids)), Incident)

    def apply(
        self,
        updates: Sequence[IncidentUpdate],
        *,
        cursor: tuple[int, IncidentCursor] | None = None,
        kept_out: Sequence[IncidentAnomaly] = (),
    ) -> list[Incident]:
        """Store changes of several incidents, all or nothing; return them with new ids and revisions.

        Parameters
        ----------
        updates : changes; a negative ``parent_id`` or ``merged_into`` refers to the update at that place of
            the list (-1 is the first), for incidents that have no id yet
        cursor : revision up to which the area's anomalies were grouped before, and the cursor to store
        kept_out : anomalies that belong to no incident

        Raises
        ------
        RevisionConflictError
            If an incident, or the cursor, was changed since it was read; then nothing is stored.

        """
        stored: list[Incident] = []
        with self._database.transaction() as connection:
            if cursor is not None:
                _move_cursor(connection, *cursor)
            for update in updates:
                stored.append(apply_update(connection, update, stored))
            _upsert_members(connection, kept_out, None)
        return stored

    # -- anomalies ---------------------------------------------------------------------------------

    def members(
        self, incident_ids: Iterable[int], *, since_s: float | None = None, limit: int | None = None
    ) -> list[IncidentAnomaly]:
        """Return the anomalies of some incidents at visible sites, in the order of their start.

        With ``since_s``, suppressed ones that started before it [s] are left out.
        """
        parameters = {"incident_ids": list(incident_ids), "since_s": since_s, "limit": limit}
        return self._rows("anomalies_of_incidents", parameters, IncidentAnomaly)

    def kept_out(self, since_s: float) -> list[IncidentAnomaly]:
        """Return the anomalies in no incident that are open, or that started after a time."""
        return self._rows("kept_out_anomalies", (since_s,), IncidentAnomaly)

    def anomalies(self, anomaly_ids: Iterable[int]) -> dict[int, Anomaly]:
        """Return some anomalies by id."""
        return {one.anomaly_id: one for one in self._rows("anomalies_by_id", (list(anomaly_ids),), Anomaly)}

    def memberships(self, anomaly_ids: Iterable[int]) -> dict[int, IncidentAnomaly]:
        """Return where some anomalies belong, by anomaly id."""
        rows = self._rows("incidents_of_anomalies", (list(anomaly_ids),), IncidentAnomaly)
        return {one.anomaly_id: one for one in rows}

    def suppressed(
        self, from_s: float, to_s: float, *, site_ids: Sequence[str] | None = None, limit: int
    ) -> list[IncidentAnomaly]:
        """Return the anomalies kept out or suppressed that started in a time range, newest first."""
        sites = None if site_ids is None else list(site_ids)
        parameters = {"from_s": from_s, "to_s": to_s, "site_ids": sites, "limit": limit}
        return self._rows("suppressed_anomalies", parameters, IncidentAnomaly)

    def ungrouped(self, area_id: str, revision: int, settled: int, *, limit: int) -> list[Anomaly]:
        """Return the anomalies of an area changed after a revision, up to a settled one, oldest first."""
        parameters = {"area_id": area_id, "after": revision, "settled": settled, "limit": limit}
        return self._rows("ungrouped_anomalies", parameters, Anomaly)

    def cursors(self) -> dict[str, int]:
        """Return up to which revision the anomalies of each area were grouped."""
        return {one.area_id: one.revision for one in self._rows("incident_cursors", None, IncidentCursor)}

    def settled_revision(self) -> int:
        """Return the newest settled revision: no older one can still be committed."""
        return int(self._value("settled_revision", None))

    # -- incidents of towns ------------------------------------------------------------------------

    def newest_of_towns(self) -> int:
        """Return the newest revision of the incidents that towns forwarded; 0 without any."""
        return int(self._value("newest_of_towns", None))

    def of_towns(self, since_s: float) -> list[Incident]:
        """Return incidents of towns that are active, or had an anomaly since; below none of a town."""
        return self._rows("incidents_of_towns", (since_s,), Incident)

    def put_below(self, update: IncidentUpdate, incident_ids: Sequence[int]) -> Incident:
        """Store an incident of this platform, and put incidents of towns below it.

        Raises `RevisionConflictError` as `apply` does.
        """
        with self._database.transaction() as connection:
            stored = apply_update(connection, update, [])
            parameters = {"parent_id": stored.incident_id, "incident_ids": list(incident_ids)}
            if incident_ids:
                connection.execute(QUERIES["put_below"], parameters)
        return stored

    # -- history -----------------------------------------------------------------------------------

    def history(
        self,
        incident_id: int,
        *,
        after_id: int = 0,
        events: Sequence[str] | None = None,
        limit: int = MAX_HISTORY_ROWS,
    ) -> list[IncidentHistory]:
        """Return the history of an incident (some events of it) after an entry, oldest first."""
        parameters = {
            "incident_id": incident_id,
            "after_id": after_id,
            "events": None if events is None else list(events),
            "limit": limit,
        }
        return self._rows("incident_history", parameters, IncidentHistory)

    def history_changed(self, revision: int, *, limit: int) -> list[IncidentHistory]:
        """Return the history entries of all incidents after a revision, up to the newest settled one.

        A reader that continues after the last revision misses none, if ``limit`` exceeds the number of
        entries of one revision.
        """
        settled = int(self._value("settled_revision", None))
        return self._rows("incident_history_changed", (revision, settled, limit), IncidentHistory)

    def history_between(
        self,
        from_s: float,
        to_s: float,
        *,
        area_ids: Sequence[str] | None = None,
        own_only: bool = False,
        limit: int,
    ) -> list[IncidentHistory]:
        """Return the transitions of incidents (of some home areas) in a time range, oldest first.

        With ``own_only``, those of incidents that a town's platform forwarded are left out.
        """
        areas = None if area_ids is None else list(area_ids)
        parameters = {
            "from_s": from_s,
            "to_s": to_s,
            "area_ids": areas,
            "own_only": own_only,
            "limit": limit,
        }
        return self._rows("incident_history_between", parameters, IncidentHistory)

    # -- requests ----------------------------------------------------------------------------------

    def requests(
        self, *, incident_id: int | None = None, state: RequestState | None = None, limit: int = 1000
    ) -> list[IncidentRequest]:
        """Return the requests of an incident, or those in a state, oldest first."""
        parameters = {"incident_id": incident_id, "state": state, "limit": limit}
        return self._rows("incident_requests", parameters, IncidentRequest)

    def add_request(self, request: IncidentRequest, update: IncidentUpdate) -> IncidentRequest | None:
        """Store a request with the change to its incident; None if one of its kind is waiting already.

        Raises `RevisionConflictError` as `apply` does.
        """
        with self._database.transaction() as connection:
            parameters = msgspec.structs.asdict(request)
            row = connection.execute(QUERIES["insert_incident_request"], parameters).fetchone()
            if row is None:
                return None
            apply_update(connection, update, [])
            return msgspec.structs.replace(request, request_id=row[0])

    def decide_request(self, request: IncidentRequest, update: IncidentUpdate) -> Incident | None:
        """Store the decision on a request with the change to its incident; None if it no longer waits.

        Raises `RevisionConflictError` as `apply` does.
        """
        with self._database.transaction() as connection:
            parameters = msgspec.structs.asdict(request)
            if not connection.execute(QUERIES["decide_incident_request"], parameters).rowcount:
                return None
            return apply_update(connection, update, [])

    # -- traces ------------------------------------------------------------------------------------

    def to_trace(self, severity: int, since_s: float, *, limit: int) -> list[IncidentToTrace]:
        """Return open water incidents of a severity and above, those without a trace first.

        Only those with an anomaly that started or ended at most ``since_s`` ago [s].
        """
        parameters = {"severity": severity, "since_s": since_s, "limit": limit}
        return self._rows("incidents_to_trace", parameters, IncidentToTrace)

    def replace_trace(self, trace: IncidentTrace) -> None:
        """Store the trace of an incident in place of its last one."""
        parts = {"posterior": trace.posterior, "missing": trace.missing}
        documents = {name: None if one is None else Jsonb(one) for name, one in parts.items()}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["upsert_incident_trace"], msgspec.structs.asdict(trace) | documents)

    def traces(self, incident_ids: Iterable[int]) -> dict[int, IncidentTrace]:
        """Return the traces of some incidents, by incident."""
        rows = self._rows("incident_traces", (list(incident_ids),), IncidentTrace)
        return {one.incident_id: one for one in rows}

    # -- photos and maintenance --------------------------------------------------------------------

    def add_photo(self, photo: IncidentPhoto, content: bytes, update: IncidentUpdate) -> IncidentPhoto:
        """Store a photo with the change to its incident. Raises `RevisionConflictError` as `apply` does."""
        with self._database.transaction() as connection:
            parameters = msgspec.structs.asdict(photo) | {"content": content}
            row = connection.execute(QUERIES["insert_incident_photo"], parameters).fetchone()
            apply_update(connection, update, [])
        assert row is not None  # noqa: S101 - INSERT … RETURNING without a condition
        return msgspec.structs.replace(photo, photo_id=row[0], size_bytes=len(content))

    def photos(self, incident_id: int) -> list[IncidentPhoto]:
        """Return the photos of an incident without their content, oldest first."""
        return self._rows("incident_photos", (incident_id,), IncidentPhoto)

    def photo_content(self, incident_id: int, photo_id: int) -> tuple[str, bytes] | None:
        """Return media type and content of a photo; None if the incident has no such photo."""
        with self._database.transaction() as connection:
            found = connection.execute(QUERIES["incident_photo_content"], (incident_id, photo_id)).fetchone()
        return None if found is None else (found[0], bytes(found[1]))

    def maintenance(self, after_s: float) -> list[PlannedMaintenance]:
        """Return the planned work that ends after a time, by its begin."""
        return self._rows("planned_maintenance", (after_s,), PlannedMaintenance)

    def add_maintenance(self, work: PlannedMaintenance) -> PlannedMaintenance:
        """Store planned work at a site."""
        number = self._value("insert_planned_maintenance", msgspec.structs.asdict(work))
        return msgspec.structs.replace(work, maintenance_id=int(number))

    def delete_maintenance(self, maintenance_id: int) -> bool:
        """Delete planned work; False if there is none with this id in the area scope."""
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES["delete_planned_maintenance"], (maintenance_id,)).rowcount)

    def _rows(self, query: str, parameters: Any, kind: type[T]) -> list[T]:
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, query, parameters, kind)

    def _value(self, query: str, parameters: Any) -> Any:
        with self._database.transaction() as connection:
            return (connection.execute(QUERIES[query], parameters).fetchone() or (0,))[0]


def _query_parameters(query: IncidentQuery) -> dict[str, Any]:
    after_us, after_id = query.after or (None, None)
    parameters = msgspec.structs.asdict(query) | {"after_us": after_us, "after_id": after_id}
    return {
        name: list(value) if isinstance(value, (tuple, set, frozenset)) else value
        for name, value in parameters.items()
        if name != "after"
    }


def _move_cursor(connection: Connection[Any], before: int, cursor: IncidentCursor) -> None:
    parameters = {"before": before, "area_id": cursor.area_id, "revision": cursor.revision}
    if not connection.execute(QUERIES["move_incident_cursor"], parameters).rowcount:
        raise RevisionConflictError(0, None)


def apply_update(connection: Connection[Any], update: IncidentUpdate, stored: Sequence[Incident]) -> Incident:
    """Insert or update an incident with its members and history. Raises `RevisionConflictError`."""
    incident = msgspec.structs.replace(
        update.incident,
        parent_id=_resolved_id(update.incident.parent_id, stored),
        merged_into=_resolved_id(update.incident.merged_into, stored),
    )
    query = "update_incident" if incident.incident_id else "insert_incident"
    row = connection.execute(QUERIES[query], msgspec.structs.asdict(incident)).fetchone()
    if row is None:
        newest = connection.execute(QUERIES["incident_revision"], (incident.incident_id,)).fetchone()
        raise RevisionConflictError(incident.incident_id, None if newest is None else newest[0])
    incident_id, revision, updated_s = row
    _upsert_members(connection, update.members, incident_id)
    _insert_history(connection, update.entries, incident_id, revision)
    return msgspec.structs.replace(incident, incident_id=incident_id, revision=revision, updated_s=updated_s)


def _resolved_id(reference: int | None, stored: Sequence[Incident]) -> int | None:
    """Return the id of an incident; a negative reference is the place of an update in the same call."""
    return reference if reference is None or reference > 0 else stored[-reference - 1].incident_id


def _upsert_members(
    connection: Connection[Any], members: Sequence[IncidentAnomaly], incident_id: int | None
) -> None:
    if members:
        with connection.cursor() as cursor:
            cursor.executemany(
                QUERIES["upsert_incident_anomaly"],
                [msgspec.structs.asdict(one) | {"incident_id": incident_id} for one in members],
            )


def _insert_history(
    connection: Connection[Any], entries: Sequence[HistoryEntry], incident_id: int, revision: int
) -> None:
    if entries:
        with connection.cursor() as cursor:
            cursor.executemany(
                QUERIES["insert_incident_history"],
                [
                    msgspec.structs.asdict(one)
                    | {"incident_id": incident_id, "revision": revision, "detail": Jsonb(one.detail)}
                    for one in entries
                ],
            )
