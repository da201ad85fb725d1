"""Reads all anomalies that match a query page by page, each after the last row of the page before.

No limit truncates them in silence, and no page shifts while new anomalies are recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from ingest_service.storage.contract.models import AnomalyFields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
    from ingest_service.storage.contract.store import Reader

T = TypeVar("T", bound=AnomalyFields)

PAGE_ROWS: Final = 5_000  # a page of anomalies with their evidence takes some 10 MB


def all_anomalies(reader: Reader, query: AnomalyQuery) -> list[Anomaly]:
    """Return every anomaly that matches, newest start first; the query's ``limit`` is replaced.

    Raises
    ------
    StoreError
        As `Reader.anomalies` does.

    """
    return [one for page in anomaly_pages(reader.anomalies, query, rows=PAGE_ROWS) for one in page]


def anomaly_pages(
    read: Callable[[AnomalyQuery], list[T]], query: AnomalyQuery, *, rows: int
) -> Iterator[list[T]]:
    """Yield the pages of ``rows`` anomalies that ``read`` returns; only the last one is shorter.

    Raises as ``read`` does.
    """
    while True:
        page = read(msgspec.structs.replace(query, limit=rows))
        yield page
        if len(page) < rows:
            return
        query = msgspec.structs.replace(query, after=page[-1].position)
