"""Stores the verdicts on the sensors of anomalies in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.contract.sensor_verdicts import AnomalyToVerify, StoredVerdict
from ingest_service.storage.postgres import read_rows
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest_service.storage.contract.store import Database


class SensorVerdicts:
    """Verdicts in the database, as far as its area scope allows. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def to_verify(self, since_s: float, *, limit: int) -> list[AnomalyToVerify]:
        """Return anomalies without a final verdict that started at most ``since_s`` ago [s]."""
        parameters = {"since_s": since_s, "limit": limit}
        with self._database.transaction() as connection:
            return read_rows.fetch_structs(connection, "anomalies_to_verify", parameters, AnomalyToVerify)

    def replace(self, verdict: StoredVerdict) -> None:
        """Store the verdict on the sensor of an anomaly in place of its last one."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["upsert_sensor_verdict"], msgspec.structs.asdict(verdict))

    def of_anomalies(self, anomaly_ids: Iterable[int]) -> dict[int, StoredVerdict]:
        """Return the verdicts on the sensors of some anomalies, by anomaly."""
        with self._database.transaction() as connection:
            rows = read_rows.fetch_structs(connection, "sensor_verdicts", (list(anomaly_ids),), StoredVerdict)
        return {one.anomaly_id: one for one in rows}
