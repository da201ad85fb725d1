"""Applies the retention policy: deletes old readings and rollups, and compresses old chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Database


class RetentionPolicy:
    """Retention of a store; each call is one transaction on a limited number of rows or chunks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_retention_start(self, table_name: str, since_s: float) -> float:
        """Move the retention limit to the start of a time's local day, or to the oldest rollup that is due.

        Rows before the limit are never rolled up again, even while they still exist.

        Parameters
        ----------
        table_name : ``reading`` or a rollup (``rollup_1min``)

        Returns the retention limit, Unix seconds [s].

        """
        parameters = {"what": table_name, "since_s": since_s, "zone": self._database.zone.key}
        return float(self._query_value("keep_since", parameters).timestamp())

    def delete_expired(self, table_name: str, *, max_rows: int) -> int:
        """Delete data before the limit: all of its chunks, or up to ``most`` rows; 0 when none is left."""
        return int(self._query_value("forget", {"what": table_name, "most": max_rows}))

    def compress(self, table_name: str, before_s: float, *, max_rows: int) -> int:
        """Compress up to ``most`` chunks before a time; 0 if none is left, or the edition can't compress."""
        return int(
            self._query_value("compress_before", {"what": table_name, "before_s": before_s, "most": max_rows})
        )

    def _query_value(self, query: str, parameters: dict[str, Any]) -> Any:
        with self._database.transaction() as connection:
            return (connection.execute(QUERIES[query], parameters).fetchone() or (None,))[0]
