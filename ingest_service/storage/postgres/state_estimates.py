"""Stores the estimated state of the networks in PostgreSQL, for the dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest_service.storage.contract.state_estimates import StoredEstimate
    from ingest_service.storage.contract.store import Database


class StateEstimates:
    """Estimates in the database. Methods raise the errors of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, quantity: str, at_s: float, estimates: Sequence[StoredEstimate]) -> None:
        """Store the estimates of a quantity at a time [Unix s] in place of its last ones."""
        columns = {
            name: [getattr(one, name) for one in estimates]
            for name in ("source", "estimated", "deviation", "measured", "expected", "quality", "age_s")
        }
        parameters = {
            "quantity": quantity, "at_s": at_s, "node_ids": [one.node_id for one in estimates], **columns,
        }  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(QUERIES["delete_state_estimates"], parameters)
            connection.execute(QUERIES["upsert_state_estimates"], parameters)
