"""A river with two outfalls on which a cloud passed two sections, for traces and replays on a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Directory, Link, Node
from tests.support.incident_world import TRAVEL_S, town

if TYPE_CHECKING:
    from ingest_service.storage.postgres.store import PostgresStore

#  a-in ──▶ a-r0 ──▶ a-r1 ──▶ a-r2, an hour apart; outfalls a-o at a-r1 and a-p at a-r2
INFLOWS = {"a-in": ("source", "a-r0"), "a-o": ("outfall", "a-r1"), "a-p": ("outfall", "a-r2")}


def traced_river() -> Directory:
    """Return the town with the river and its outfalls."""
    found = town("a")
    shared: dict[str, Any] = {"area_id": "a", "network": "river", "lon": 120.0, "lat": 30.0, "zh": "某"}
    found.nodes += [Node(node_id=name, kind=kind, en=name, **shared) for name, (kind, _) in INFLOWS.items()]
    found.links += [
        Link(
            link_id=f"{name}:{to}",
            network="river",
            from_node=name,
            to_node=to,
            en="x",
            zh="某",
            length_m=600.0,
            speed_m_s=1.0,
        )
        for name, (_, to) in INFLOWS.items()
    ]
    return found


def add_cloud(
    store: PostgresStore, *, passed_s: float, now_s: float, quantity: str = "ammonia_nitrogen"
) -> None:
    """Commit readings of a cloud that passed a-r1 at a time, then a-r2, and not a-r0."""
    times_s = np.arange(now_s - 30 * 3600, now_s, 600.0)
    for one in store.directory().series:
        if one.quantity == quantity:
            arrival_s = {"a-r1": passed_s, "a-r2": passed_s + TRAVEL_S}.get(one.site_id, np.inf)
            rows = np.zeros(len(times_s), READING)
            rows["series_id"], rows["time_us"] = one.series_id, (times_s * 1e6).astype(np.int64)
            rows["received_us"], rows["quality"] = rows["time_us"], 1
            rows["expected"], rows["spread"] = 0.4, 0.03
            rows["value"] = 0.4 + 1.5 * np.exp(-0.5 * ((times_s - arrival_s) / 1800) ** 2)
            store.commit(Batch(fresh=rows))
