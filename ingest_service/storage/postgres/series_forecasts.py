"""Stores the newest forecasts of series in PostgreSQL, for the dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.series_forecasts import StoredForecast
    from ingest_service.storage.contract.store import Database


class SeriesForecasts:
    """Forecasts in the database, one of a series. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, series_id: int, forecast: StoredForecast | None) -> None:
        """Store the forecast of a series in place of the one before; None deletes that."""
        with self._database.transaction() as connection:
            if forecast is None:
                connection.execute(QUERIES["delete_series_forecast"], {"series_id": series_id})
            else:
                parameters = {"series_id": series_id, **msgspec.structs.asdict(forecast)}
                connection.execute(QUERIES["upsert_series_forecast"], parameters)

    def keep_only(self, series_ids: Sequence[int]) -> None:
        """Delete the forecasts of all other series."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["delete_other_forecasts"], {"series_ids": list(series_ids)})
