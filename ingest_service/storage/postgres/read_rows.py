"""Reads directory, readings and anomalies from PostgreSQL to structs and arrays of the data model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import structlog
from psycopg.rows import dict_row

from ingest_service.storage.contract.models import (
    READING,
    Area,
    Channel,
    Device,
    Directory,
    Link,
    Node,
    PastLink,
    PastNode,
    Series,
    Site,
)
from ingest_service.storage.postgres import binary_copy, feedback
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection

    from ingest_service.storage.contract.models import AnomalyQuery

T = TypeVar("T")

log = structlog.get_logger()


def fetch_structs(connection: Connection[Any], query: str, parameters: Any, kind: type[T]) -> list[T]:
    """Run a named query and convert its rows to structs."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return msgspec.convert(cursor.execute(QUERIES[query], parameters).fetchall(), list[kind])  # type: ignore[valid-type]


def fetch_valid_structs(connection: Connection[Any], query: str, kind: type[T]) -> list[T]:
    """Run a named query and convert its rows to structs; rows that are invalid are logged and left out.

    A JSON column may contain anything, and one invalid row must not make the others unreadable.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        raw_rows = cursor.execute(QUERIES[query]).fetchall()
    try:
        return msgspec.convert(raw_rows, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError:
        pass
    valid_rows = []
    for row in raw_rows:
        if kind is Series:
            row |= {name: _numeric_limits(row[name]) for name in ("limits", "adopted")}
        try:
            valid_rows.append(msgspec.convert(row, kind))
        except msgspec.ValidationError as error:
            log.error("row_unreadable", query=query, error=str(error), row=str(row)[:200])  # noqa: TRY400
    return valid_rows


def _numeric_limits(limits: object) -> dict[str, float | None]:
    """Convert stored limits; those that are not numbers become NaN, which the validation of limits rejects.

    >>> _numeric_limits({"fail_low": 1, "fail_high": "high"}), _numeric_limits([1])
    ({'fail_low': 1.0, 'fail_high': nan}, {'limits': nan})
    """
    if not isinstance(limits, dict):
        return {"limits": math.nan}
    return {
        str(name): float(one) if isinstance(one, int | float) and not isinstance(one, bool) else math.nan
        for name, one in limits.items()
    }


def read_directory(connection: Connection[Any]) -> Directory:
    """Read the directory, in the caller's transaction; invalid rows are logged and left out."""
    (version,) = connection.execute(QUERIES["directory_version"]).fetchone() or (0,)
    series = fetch_valid_structs(connection, "series", Series)
    past_nodes, past_links = past_networks(connection)
    return Directory(
        areas=fetch_valid_structs(connection, "areas", Area),
        sites=fetch_valid_structs(connection, "sites", Site),
        devices=fetch_valid_structs(connection, "devices", Device),
        series=feedback.with_score_shifts(series, feedback.score_shifts(connection)),
        channels=fetch_valid_structs(connection, "channels", Channel),
        nodes=fetch_valid_structs(connection, "nodes", Node),
        links=fetch_valid_structs(connection, "links", Link),
        version=version,
        maintenance=maintenance_windows(connection),
        enrolled_s=dict(connection.execute(QUERIES["enrolled"]).fetchall()),
        origins=dict(connection.execute(QUERIES["site_origins"]).fetchall()),
        past_nodes=past_nodes,
        past_links=past_links,
        only_rollups=[one for (one,) in connection.execute(QUERIES["series_of_rollups"]).fetchall()],
    )


def past_networks(connection: Connection[Any]) -> tuple[list[PastNode], list[PastLink]]:
    """Read what nodes and links were, by the time of their change."""
    nodes, links = list[PastNode](), list[PastLink]()
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(QUERIES["past_network"]):
            if row["feature"] == "node":
                node = msgspec.convert(row["content"], Node)
                nodes.append(PastNode(node=node, valid_to_s=row["valid_to_s"]))
            else:
                link = msgspec.convert(row["content"], Link)
                links.append(PastLink(link=link, valid_to_s=row["valid_to_s"]))
    return nodes, links


def maintenance_windows(connection: Connection[Any]) -> dict[int, list[tuple[float, float]]]:
    """Read the windows of maintenance of the last three months by series id, Unix seconds [s]."""
    windows: dict[int, list[tuple[float, float]]] = {}
    for series_id, begins_s, ends_s in connection.execute(QUERIES["maintenance_windows"]):
        windows.setdefault(series_id, []).append((begins_s, ends_s))
    return windows


def read_readings(
    connection: Connection[Any], series_id: int, from_s: float, to_s: float, limit: int
) -> NDArray[np.void]:
    """Read the READING rows of a series in ``[from_s, to_s)``, by time."""
    parameters = {
        "series_id": series_id,
        "from_us": round(from_s * 1e6),
        "to_us": round(to_s * 1e6),
        "limit": limit,
    }
    blocks = list(_copy_blocks(connection, "readings", parameters))
    return np.concatenate(blocks) if blocks else np.empty(0, READING)


def read_received_after(
    connection: Connection[Any], series_ids: Sequence[int], after_s: float, limit: int
) -> NDArray[np.void]:
    """Read the READING rows of some series received after a time, in the order of reception."""
    blocks = list(_copy_blocks(connection, "received", (list(series_ids), after_s, after_s, limit)))
    return np.concatenate(blocks) if blocks else np.empty(0, READING)


def read_committed_after(
    connection: Connection[Any], since_us: Mapping[int, int]
) -> Iterator[NDArray[np.void]]:
    """Yield READING blocks after a time [us] given for each series."""
    start_times = [max(0, one) for one in since_us.values()]
    yield from _copy_blocks(connection, "committed_after", (list(since_us), start_times))


def anomaly_parameters(query: AnomalyQuery) -> dict[str, Any]:
    """Build the parameters of ``anomaly_filter``."""
    after_us, after_id = query.after or (None, None)
    query_parameters = msgspec.structs.asdict(query) | {"after_us": after_us, "after_id": after_id}
    query_parameters["text"] = None if query.text is None else query.text.lower()
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in query_parameters.items()
    }


def _copy_blocks(
    connection: Connection[Any], query: str, parameters: tuple[Any, ...] | dict[str, Any]
) -> Iterator[NDArray[np.void]]:
    with connection.cursor() as cursor, cursor.copy(QUERIES[query], parameters) as copy:
        yield from binary_copy.decode_copy(copy)
