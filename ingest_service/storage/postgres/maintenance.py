"""Stores maintenance of probes, in which readings are flagged and raise nothing, and their calibrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ingest_service.storage.contract import bounds
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.store import Database


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """A window in which readings of a series measured in ``[begins_s, ends_s)`` [s] are flagged."""

    maintenance_id: int
    series_id: int
    begins_s: float
    ends_s: float
    who: str
    note: str
    ended_by: str | None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration: the standard, and what the probe read in it before and after, in the quantity's unit."""

    calibration_id: int
    series_id: int
    calibrated_s: float
    reference: float
    before: float
    after: float
    tolerance: float | None
    who: str
    note: str


class MaintenanceLog:
    """Maintenance and calibrations in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, device_id: str, *, minutes: float, who: str, note: str, channels: Sequence[str] | None = None
    ) -> int:
        """Put the series of a device, or of some channels, into maintenance; returns their number.

        The directory's version grows, so ingest applies it within seconds. It ends by itself, because an end
        that is forgotten would conceal every later fault. Raises `StoreRefusedError` if the minutes are out
        of their bounds.
        """
        _check_bounds("minutes", minutes, *bounds.MAINTENANCE_MINUTES)
        return self._change("begin_maintenance", device_id, channels, who, minutes=minutes, note=note)

    def end(self, device_id: str, *, who: str, channels: Sequence[str] | None = None) -> int:
        """End the maintenance of the series of a device; returns their number."""
        return self._change("end_maintenance", device_id, channels, who)

    def of(self, device_id: str, *, limit: int = 100) -> list[Maintenance]:
        """Return the windows of a device's series, newest first."""
        with self._database.transaction() as connection:
            selected = {"device_id": device_id, "limit": limit}
            return read_rows.fetch_structs(connection, "maintenance_of", selected, Maintenance)

    def calibrate(
        self,
        series_id: int,
        *,
        calibrated_s: float,
        reference: float,
        before: float,
        after: float,
        tolerance: float | None,
        who: str,
        note: str,
    ) -> bool:
        """Store a calibration; False if there is no such series, or one of this time is stored.

        Raises `StoreRefusedError` if a value is out of its bounds.
        """
        for name, value in (("reference", reference), ("before", before), ("after", after)):
            _check_bounds(name, value, *bounds.CALIBRATION_VALUES)
        if tolerance is not None:
            _check_bounds("tolerance", tolerance, *bounds.CALIBRATION_TOLERANCES)
        row = {
            "series_id": series_id,
            "calibrated_s": calibrated_s,
            "reference": reference,
            "before": before,
            "after": after,
            "tolerance": tolerance,
            "who": who,
            "note": note,
        }
        with self._database.transaction() as connection:
            return bool(connection.execute(QUERIES["insert_calibration"], row).rowcount)

    def calibrations(self, series_ids: Sequence[int]) -> list[Calibration]:
        """Return the calibrations of series, those of each one oldest first."""
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "calibrations", (list(series_ids),), Calibration)

    def _change(
        self, query: str, device_id: str, channels: Sequence[str] | None, who: str, **values: Any
    ) -> int:
        row = {
            "device_id": device_id,
            "channels": None if channels is None else list(channels),
            "who": who,
            **values,
        }
        with self._database.transaction() as connection:
            count: int = connection.execute(QUERIES[query], row).rowcount
            if count:
                connection.execute(QUERIES["directory_changed"])
            return count


def _check_bounds(name: str, value: float, low: float, high: float) -> None:
    """Raise `StoreRefusedError` if a value is not from ``low`` to ``high``."""
    if not low <= value <= high:
        raise StoreRefusedError(f"{name} is {value:g}: it has to be from {low:g} to {high:g}")
