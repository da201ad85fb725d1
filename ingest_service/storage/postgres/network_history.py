"""Changes the networks by valid time, and keeps what they were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg.types.json import Jsonb

from ingest_service.storage.contract.models import Directory
from ingest_service.storage.contract.network_changes import plan_change
from ingest_service.storage.postgres import read_rows, write_batch
from ingest_service.storage.postgres.named_queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from ingest_service.storage.contract.models import Link, Node
    from ingest_service.storage.contract.network_changes import NetworkChange, PlannedChange


def change_network(connection: Connection[Any], change: NetworkChange) -> None:
    """Apply a change in the caller's transaction. Raises `NetworkChangeError` as `plan_change`."""
    connection.execute(QUERIES["lock_directory"])
    enrolled = read_rows.read_directory(connection)
    planned = plan_change(enrolled, change, time.time())
    new = Directory(areas=change.areas, sites=change.sites, nodes=planned.nodes, links=planned.links)
    rows = list(_history_rows(enrolled, planned))
    with connection.cursor() as cursor:
        if rows:
            cursor.executemany(QUERIES["insert_past_network"], rows)
        cursor.execute(QUERIES["delete_links"], {"names": planned.ended_links})
        n_changed = write_batch.enrol_directory(connection, new)
        cursor.execute(QUERIES["delete_nodes"], {"names": planned.ended_nodes})
        if change.valid_from_s is not None:
            for query, names in (
                ("set_node_valid_from", [one.node_id for one in planned.nodes]),
                ("set_link_valid_from", [one.link_id for one in planned.links]),
            ):
                values = [{"name": name, "valid_from_s": change.valid_from_s} for name in names]
                if values:
                    cursor.executemany(QUERIES[query], values)
        if n_changed or not planned.is_empty:
            cursor.execute(QUERIES["directory_changed"])


def _history_rows(enrolled: Directory, planned: PlannedChange) -> Iterator[dict[str, Any]]:
    area_by_node = {one.node_id: one.area_id for one in enrolled.nodes}
    for past_node in planned.past_nodes:
        node = past_node.node
        yield _history_row("node", node.node_id, [node.area_id], node, past_node.valid_to_s)
    for past_link in planned.past_links:
        link = past_link.link
        areas = sorted({area_by_node[link.from_node], area_by_node[link.to_node]})
        yield _history_row("link", link.link_id, areas, link, past_link.valid_to_s)


def _history_row(
    feature: str, feature_id: str, area_ids: list[str], old: Node | Link, valid_to_s: float
) -> dict[str, Any]:
    content = msgspec.to_builtins(old)
    return {
        "feature": feature,
        "feature_id": feature_id,
        "area_ids": area_ids,
        "valid_from_s": content.pop("valid_from_s"),
        "valid_to_s": valid_to_s,
        "content": Jsonb(content),
    }
