"""How far back readings and rollups are kept, and what is compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from ingest_service.storage.postgres import PostgresStore


class Retention:
    """Of a store; every method is one transaction, or a few rows or chunks of the work."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def keep_since(self, what: str, since_s: float) -> float:
        """Let go of what lies before the local day of a time, but of nothing that waits to be rolled up.

        What was let go of is never rolled up again, even if it is still there.

        Parameters
        ----------
        what : ``reading`` or a rollup (``rollup_1min``)

        Returns since when it is kept [s].

        """
        parameters = {"what": what, "since_s": since_s, "zone": self._store.zone.key}
        return float(self._one("keep_since", parameters).timestamp())

    def forget(self, what: str, *, most: int) -> int:
        """Drop some of what was let go of: all of its chunks, or ``most`` rows; 0 when nothing is left."""
        return int(self._one("forget", {"what": what, "most": most}))

    def compress(self, what: str, before_s: float, *, most: int) -> int:
        """Compress ``most`` chunks before a time; 0 when none is left, or the edition can not."""
        return int(self._one("compress_before", {"what": what, "before_s": before_s, "most": most}))

    def _one(self, query: str, parameters: dict[str, Any]) -> Any:
        with self._store.transaction() as connection:
            return (connection.execute(QUERIES[query], parameters).fetchone() or (None,))[0]
