"""Stores at a county rollups, health of devices, assessments, estimates and forecasts of its towns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from psycopg.types.json import Jsonb

from edge.wire import federation
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.federation import ForwardingRefusedError
from ingest_service.storage.postgres.assessments import Assessment
from ingest_service.storage.postgres.federated_items import store_each
from ingest_service.storage.postgres.federated_rows import undefined_series
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import Connection

    from edge.wire.federation import (
        ForwardedAssessment,
        ForwardedAssessments,
        ForwardedDeviceHealth,
        ForwardedDevices,
        ForwardedEstimates,
        ForwardedForecast,
        ForwardedForecasts,
        RollupColumns,
    )
    from ingest_service.storage.contract.federation import ForwarderIdentity, ItemRefusal, RefusedItems
    from ingest_service.storage.postgres.federated_rows import FederatedRows

QUARTER_US: Final = 900_000_000


class FederatedState:
    """Rows of the towns in a county's database; methods raise as those of `FederatedRows` do."""

    def __init__(self, rows: FederatedRows) -> None:
        self._rows = rows

    def store(
        self,
        sender: ForwarderIdentity,
        found: ForwardedDevices | ForwardedAssessments | ForwardedEstimates | ForwardedForecasts,
        refused: RefusedItems | None = None,
    ) -> None:
        """Store what replaces a state that was stored before."""
        match found:
            case federation.ForwardedDevices():
                self._store_devices(sender, found.devices, refused)
            case federation.ForwardedAssessments():
                self._store_assessments(sender, found, refused)
            case federation.ForwardedEstimates():
                self._store_estimates(sender, found)
            case federation.ForwardedForecasts():
                self._store_forecasts(sender, found, refused)

    def store_rollups(
        self,
        sender: ForwarderIdentity,
        columns: Sequence[RollupColumns],
        refused: RefusedItems | None = None,
    ) -> list[ItemRefusal]:
        """Insert or replace rollups, from which the service makes the coarser ones.

        A repeat of an earlier block replaces none. Returns the columns of series that are not defined here
        as ones of rollups.
        """
        undefined = []
        with self._rows.message(sender) as (connection, is_newest):
            found = connection.execute(QUERIES["series_of_rollups_of_origin"], (sender.device,)).fetchall()
            series = {(site_id, quantity): series_id for site_id, quantity, series_id in found}
            defined = []
            for index, one in enumerate(columns):
                if (one.site_id, one.quantity) in series:
                    defined.append((index, one))
                else:
                    undefined.append(undefined_series("series", index, one))

            def store(one: RollupColumns) -> None:
                series_id = series[one.site_id, one.quantity]
                _store_rollups(connection, series_id, one, is_newest=is_newest)

            store_each(connection, "series", defined, store, refused)
        return undefined

    def _store_devices(
        self,
        sender: ForwarderIdentity,
        devices: Sequence[ForwardedDeviceHealth],
        refused: RefusedItems | None,
    ) -> None:
        """Store the health of devices that the sender has defined; that of others is left out."""
        with self._rows.message(sender) as (connection, _):

            def store(one: ForwardedDeviceHealth) -> None:
                row = msgspec.structs.asdict(one) | {"status": Jsonb(one.status), "origin": sender.device}
                connection.execute(QUERIES["store_device_health"], row)

            store_each(connection, "devices", enumerate(devices), store, refused)

    def _store_assessments(
        self, sender: ForwarderIdentity, found: ForwardedAssessments, refused: RefusedItems | None
    ) -> None:
        """Replace the assessments of a month; this platform computes none for their subjects then.

        Those that the town has no more are deleted by a message of which nothing was refused, and by no
        replay: a dead letter has a part of the month.
        """
        month = f"{found.month}-01"
        with self._rows.message(sender) as (connection, _):
            parameters = {"origin": sender.device, "area": sender.area}
            known = set(connection.execute(QUERIES["subjects_of_origin"], parameters).fetchall())
            if refused is None and sender.block is not None:
                kept = [f"{one.kind} {one.subject}" for one in found.assessments]
                connection.execute(
                    QUERIES["forget_federated_assessments"],
                    {"month": month, "origin": sender.device, "kept": kept},
                )

            def store(one: ForwardedAssessment) -> None:
                row = _assessment_row(one, found.month, sender, known)
                connection.execute(QUERIES["store_federated_assessment"], row)

            store_each(connection, "assessments", enumerate(found.assessments), store, refused)

    def _store_estimates(self, sender: ForwarderIdentity, found: ForwardedEstimates) -> None:
        """Replace the sender's estimates of a quantity at some nodes; nodes of others are left out.

        A repeat of an earlier block is left out: what it has was replaced since.
        """
        if found.quantity not in QUANTITIES:
            raise ForwardingRefusedError(
                f"estimates of {found.quantity!r}, which is no quantity here: update this platform"
            )
        row = msgspec.structs.asdict(found) | {"origin": sender.device}
        _check_lengths(row, len(found.node_id), f"estimates of {found.quantity}")
        with self._rows.message(sender) as (connection, is_newest):
            if is_newest:
                connection.execute(QUERIES["forget_forwarded_estimates"], row)
                connection.execute(QUERIES["store_forwarded_estimates"], row)

    def _store_forecasts(
        self, sender: ForwarderIdentity, found: ForwardedForecasts, refused: RefusedItems | None
    ) -> None:
        """Replace the forecasts of series that the sender has defined; those of others are left out.

        A repeat of an earlier block is left out: what it has was replaced since.
        """
        with self._rows.message(sender) as (connection, is_newest):

            def store(one: ForwardedForecast) -> None:
                row = msgspec.structs.asdict(one) | {"origin": sender.device}
                _check_lengths(row, len(one.times_us), f"the forecast of {one.site_id}/{one.quantity}")
                if not is_newest:
                    return
                connection.execute(QUERIES["forget_forwarded_forecast"], row)
                if one.times_us:
                    connection.execute(QUERIES["store_forwarded_forecast"], row)

            store_each(connection, "forecasts", enumerate(found.forecasts), store, refused)


def _check_lengths(row: Mapping[str, Any], length: int, what: str) -> None:
    """Raise `ForwardingRefusedError` if a column has another length."""
    if any(len(value) != length for value in row.values() if isinstance(value, list)):
        raise ForwardingRefusedError(
            f"the columns of {what} differ in length: see whether both platforms are of neighbouring releases"
        )


def _store_rollups(
    connection: Connection[Any], series_id: int, columns: RollupColumns, *, is_newest: bool
) -> None:
    row = msgspec.structs.asdict(columns)
    _check_lengths(row, len(columns.bucket_us), f"{columns.site_id}/{columns.quantity}")
    row |= {"series_id": series_id, "is_newest": is_newest}
    changed = [us for (us,) in connection.execute(QUERIES["store_federated_rollups"], row).fetchall()]
    if changed:
        span = {"series_id": series_id, "since_us": min(changed), "until_us": max(changed) + QUARTER_US}
        connection.execute(QUERIES["note_federated_rollups"], span)


def _assessment_row(
    one: ForwardedAssessment, month: str, sender: ForwarderIdentity, known: set[tuple[Any, ...]]
) -> dict[str, Any]:
    """Return the parameters of an assessment's row; raises `ForwardingRefusedError` for one of others."""
    kind, _, name = one.subject.partition("/")
    own = (kind, name) in known and kind in {"site", "area"} and ("area", one.area_id) in known
    if not own or (kind == "site" and one.site_id != name):
        raise ForwardingRefusedError(
            f"the assessment {one.kind!r} of {one.subject!r} is of nothing that {sender.device!r} has defined"
        )
    fields = {**one.assessment, "kind": one.kind, "subject": one.subject, "area_id": one.area_id}
    try:
        found = msgspec.convert(fields | {"site_id": one.site_id, "month": month}, Assessment)
    except msgspec.ValidationError as error:
        raise ForwardingRefusedError(
            f"the assessment {one.kind!r} of {one.subject!r} can't be read: {error}; if the town has a newer"
            " release, update this platform and replay the message"
        ) from error
    row: dict[str, Any] = msgspec.to_builtins(found)
    return row | {"detail": Jsonb(row["detail"]), "month": f"{month}-01", "origin": sender.device}
