"""Reads all anomalies that match a query, page by page, so that no limit truncates them in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
    from ingest_service.storage.contract.store import Reader

PAGE_ROWS: Final = 5_000  # a page of anomalies with their evidence takes some 10 MB


def all_anomalies(reader: Reader, query: AnomalyQuery) -> list[Anomaly]:
    """Return every anomaly that matches, newest start first; the query's ``limit`` is replaced.

    Raises
    ------
    StoreError
        As `Reader.anomalies` does.

    """
    anomalies: list[Anomaly] = []
    while True:
        page = reader.anomalies(msgspec.structs.replace(query, limit=PAGE_ROWS))
        anomalies += page
        if len(page) < PAGE_ROWS:
            return anomalies
        query = msgspec.structs.replace(query, after=(page[-1].start_s, page[-1].anomaly_id))
