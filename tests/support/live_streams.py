"""Sets up two towns in a memory store, adds events to them, and subscribes to the live stream."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.api.directory_cache import DirectoryCache
from gateway.live.broadcaster import EventBroadcaster
from gateway.live.event_filter import EventFilter
from gateway.live.events import LiveEvent, StreamPosition
from gateway.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import (
    Area,
    Channel,
    Device,
    DeviceStatus,
    Directory,
    Series,
    Site,
)
from ingest_service.storage.memory.store import MemoryStore
from tests.support.store_samples import anomaly, readings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = Settings(live_poll_s=0.01, live_waiting=10, heartbeat_s=0.05, requests_burst=10_000)


def two_towns() -> MemoryStore:
    """Return a store with two towns, each with one site and one device that measures two quantities."""
    store = MemoryStore()
    for town in ("a", "b"):
        names: Any = {"en": town, "zh": town}
        site = f"s{town}"
        quantities = ("ph", "turbidity")
        store.enrol(
            Directory(
                areas=[Area(area_id=town, level="town", **names)],
                sites=[Site(site_id=site, area_id=town, kind="river_section", lon=0, lat=0, **names)],
                devices=[Device(device_id=f"d{town}", area_id=town)],
                series=[Series(site_id=site, quantity=one) for one in quantities],
                channels=[
                    Channel(device_id=f"d{town}", name=one, site_id=site, quantity=one) for one in quantities
                ],
            )
        )
    return store


def add_anomaly(store: MemoryStore, town: str, number: int = 0) -> None:
    """Record an anomaly of the first quantity in a town."""
    series = {"a": 1, "b": 3}[town]
    store.record_anomalies([anomaly(subject=f"{town}/{number}", site_id=f"s{town}", series_id=series)])


def add_readings(store: MemoryStore, series_id: int, *, ago_s: float = 0.0, n: int = 1) -> None:
    """Commit new readings of a series, received ``ago_s`` seconds ago."""
    rows = readings(series_id, range(n))
    rows["received_us"] = round((time.time() - ago_s) * 1e6) + np.arange(n)
    rows["time_us"] = rows["received_us"] - 1_000_000
    store.commit(Batch(fresh=rows))


def add_device_status(store: MemoryStore, device: str) -> None:
    device_status = DeviceStatus(device_id=device, received_s=time.time(), status={"online": True})
    store.commit(Batch(statuses=[device_status]))


def subscribe_to(
    store: MemoryStore,
    *,
    broadcaster: EventBroadcaster | None = None,
    after: StreamPosition | None = None,
    **filters: Any,
) -> Any:
    directories = DirectoryCache(store)
    broadcaster = broadcaster or EventBroadcaster(store, directories, SETTINGS)
    return broadcaster.subscribe(EventFilter(directories.directory_index, **filters), after)


async def take_events(stream: AsyncIterator[LiveEvent | StreamPosition], n: int) -> list[LiveEvent]:
    """Return the next ``n`` events, without heartbeats."""
    events: list[LiveEvent] = []
    async with asyncio.timeout(20):
        while len(events) < n:
            one = await anext(stream)
            events += [one] if isinstance(one, LiveEvent) else []
    return events


def kinds_and_sources(live_events: list[LiveEvent]) -> list[tuple[str, object]]:
    return [(one.kind, one.series_id or one.device_id) for one in live_events]
