"""What is read from the database, as the model's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from psycopg.rows import dict_row

from ingest_service.storage import binary, opinions
from ingest_service.storage.model import (
    READING,
    Anomaly,
    Area,
    Channel,
    Device,
    Directory,
    Link,
    Node,
    Series,
    Site,
)
from ingest_service.storage.sql import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection

    from ingest_service.storage.model import AnomalyQuery

T = TypeVar("T")


def rows(connection: Connection[Any], query: str, parameters: Any, kind: type[T]) -> list[T]:
    """The rows of a named query, as structs."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return msgspec.convert(cursor.execute(QUERIES[query], parameters).fetchall(), list[kind])  # type: ignore[valid-type]


def directory(connection: Connection[Any]) -> Directory:
    """Everything enrolled, of one moment."""
    (version,) = connection.execute(QUERIES["directory_version"]).fetchone() or (0,)
    series = rows(connection, "series", None, Series)
    return Directory(
        areas=rows(connection, "areas", None, Area),
        sites=rows(connection, "sites", None, Site),
        devices=rows(connection, "devices", None, Device),
        series=opinions.applied(series, opinions.shifts(connection)),
        channels=rows(connection, "channels", None, Channel),
        nodes=rows(connection, "nodes", None, Node),
        links=rows(connection, "links", None, Link),
        version=version,
    )


def readings(
    connection: Connection[Any], series_id: int, from_s: float, to_s: float, limit: int
) -> NDArray[np.void]:
    """READING rows of a series, by time."""
    parameters = {
        "series_id": series_id,
        "from_us": round(from_s * 1e6),
        "to_us": round(to_s * 1e6),
        "limit": limit,
    }
    blocks = list(_copied(connection, "readings", parameters))
    return np.concatenate(blocks) if blocks else np.empty(0, READING)


def received(
    connection: Connection[Any], series_ids: Sequence[int], after_s: float, limit: int
) -> NDArray[np.void]:
    """READING rows of some series in the order in which they were received."""
    blocks = list(_copied(connection, "received", (list(series_ids), after_s, after_s, limit)))
    return np.concatenate(blocks) if blocks else np.empty(0, READING)


def committed_after(connection: Connection[Any], since_us: Mapping[int, int]) -> Iterator[NDArray[np.void]]:
    """READING blocks after a time for each series."""
    since = [max(0, one) for one in since_us.values()]
    yield from _copied(connection, "committed_after", (list(since_us), since))


def anomalies(
    connection: Connection[Any], query: AnomalyQuery, anomaly_id: int | None = None
) -> list[Anomaly]:
    """Anomalies by filter."""
    after_s, after_id = query.after or (None, None)
    parameters = msgspec.structs.asdict(query) | {
        "anomaly_id": anomaly_id,
        "after_us": None if after_s is None else round(after_s * 1e6),
        "after_id": after_id,
    }
    return rows(connection, "anomalies", parameters, Anomaly)


def _copied(
    connection: Connection[Any], query: str, parameters: tuple[Any, ...] | dict[str, Any]
) -> Iterator[NDArray[np.void]]:
    with connection.cursor() as cursor, cursor.copy(QUERIES[query], parameters) as copy:
        yield from binary.decode(copy)
