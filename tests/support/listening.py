"""Two towns that are listened to, and what happens there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.known import Directories
from gateway.live import Hub
from gateway.news import News, Place
from gateway.settings import Settings
from gateway.wanted import Wanted
from ingest_service.storage.batch import Batch
from ingest_service.storage.memory import MemoryStore
from ingest_service.storage.model import Area, Channel, Device, DeviceStatus, Directory, Series, Site
from tests.support.kept import anomaly, readings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = Settings(live_poll_s=0.01, live_waiting=10, heartbeat_s=0.05, requests_burst=10_000)


def two_towns() -> MemoryStore:
    """Two towns, each with a site, and there a device that measures two quantities."""
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


def find(store: MemoryStore, town: str, number: int = 0) -> None:
    """An anomaly of the first quantity in a town."""
    series = {"a": 1, "b": 3}[town]
    store.record([anomaly(subject=f"{town}/{number}", site_id=f"s{town}", series_id=series)])


def measure(store: MemoryStore, series_id: int, *, ago_s: float = 0.0, n: int = 1) -> None:
    """The newest readings of a series, received a moment ago."""
    rows = readings(series_id, range(n))
    rows["received_us"] = round((time.time() - ago_s) * 1e6) + np.arange(n)
    rows["time_us"] = rows["received_us"] - 1_000_000
    store.commit(Batch(fresh=rows))


def say(store: MemoryStore, device: str) -> None:
    said = DeviceStatus(device_id=device, received_s=time.time(), status={"online": True})
    store.commit(Batch(statuses=[said]))


def listening(
    store: MemoryStore, *, hub: Hub | None = None, after: Place | None = None, **filters: Any
) -> Any:
    directories = Directories(store)
    hub = hub or Hub(store, directories, SETTINGS)
    return hub.listen(Wanted(directories.known, **filters), after)


async def take(stream: AsyncIterator[News | Place], n: int) -> list[News]:
    """The next news, without heartbeats."""
    found: list[News] = []
    async with asyncio.timeout(20):
        while len(found) < n:
            one = await anext(stream)
            found += [one] if isinstance(one, News) else []
    return found


def of(news: list[News]) -> list[tuple[str, object]]:
    return [(one.kind, one.series_id or one.device_id) for one in news]
