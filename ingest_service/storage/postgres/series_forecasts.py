"""Stores the newest forecasts of series in PostgreSQL, for the dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ingest_service.storage.contract.series_forecasts import StoredForecast
    from ingest_service.storage.contract.store import Database


class SeriesForecasts:
    """Forecasts in the database, one of a series. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, series_id: int, forecast: StoredForecast | None) -> None:
        """Store the forecast of a series in place of the one before; None deletes that.

        One that a town has forwarded stays until it has ended.
        """
        with self._database.transaction() as connection:
            if forecast is None:
                connection.execute(QUERIES["delete_series_forecast"], {"series_id": series_id})
            else:
                parameters = {"series_id": series_id, **msgspec.structs.asdict(forecast)}
                connection.execute(QUERIES["upsert_series_forecast"], parameters)

    def keep_only(self, series_ids: Sequence[int]) -> None:
        """Delete the own forecasts of all other series, and forwarded ones that have ended."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["delete_other_forecasts"], {"series_ids": list(series_ids)})

    def forwarded(self) -> set[int]:
        """Return the series with a forecast of a town that has not ended."""
        with self._database.transaction() as connection:
            return {one for (one,) in connection.execute(QUERIES["series_with_forwarded_forecast"])}

    def to_forward(self, series_ids: Collection[int]) -> dict[int, dict[str, Any]]:
        """Return the columns of forecasts that have not ended, by series; times are Unix time [us]."""
        names = ("issued_us", "times_us", "values", "low", "high")
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["forecasts_to_forward"], (list(series_ids),))
            return {series_id: dict(zip(names, row, strict=True)) for series_id, *row in rows}
