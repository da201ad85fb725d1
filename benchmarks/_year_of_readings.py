"""Loads a year of readings through the store (one per five minutes, five series per site) and rolls it up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Rule
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Anomaly, Area, Device, Directory, Series, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ingest_service.storage.postgres.store import PostgresStore

DAY_S, STEP_S = 86_400, 300
YEAR = 365 * DAY_S // STEP_S  # readings of a series
TOWNS, PER_SITE = 10, 5
WATER = ("dissolved_oxygen", "ph", "turbidity", "water_temperature", "conductivity")
ROAD = ("traffic_speed", "traffic_flow", "traffic_occupancy", "air_temperature", "rainfall")
PER_BATCH = 36  # readings per series: three hours, as after a short outage
ANOMALIES = 20  # of a series
BACKLOG = 200_000  # readings in one refresh transaction, the service's default


class LoadTimes(NamedTuple):
    """Number of readings, and the times of storing them and of rolling them up [s]."""

    readings: int
    stored_s: float
    rolled_up_s: float


def directory(sites: int) -> Directory:
    """Return a directory of ``sites`` sites in ten towns; every fifth is a road."""
    areas = [
        Area(area_id="33", level="city", en="City", zh="市"),
        Area(area_id="3304", parent="33", level="county", en="County", zh="县"),
        *(Area(area_id=f"t{n}", parent="3304", level="town", en=f"T{n}", zh=f"镇{n}") for n in range(TOWNS)),
    ]
    enrolled = Directory(areas=areas)
    for number in range(sites):
        town, name, is_road = f"t{number % TOWNS}", f"s{number}", number % 5 == 4
        kind = "road_section" if is_road else "river_section"
        position = {"lon": 120 + number / 500, "lat": 30 + number / 700}
        enrolled.sites.append(Site(site_id=name, area_id=town, kind=kind, en=name, zh=name, **position))
        enrolled.devices.append(Device(device_id=f"d{number}", area_id=town))
        enrolled.series += [Series(site_id=name, quantity=one) for one in (ROAD if is_road else WATER)]
    return enrolled


def load_year(store: PostgresStore, series: int, until_s: float) -> LoadTimes:
    """Store a year of ``series`` series, then roll it up as one backlog."""
    enrolled = store.enrol(directory(series // PER_SITE))
    ids = np.array([one.series_id for one in enrolled.series], np.int32)
    began_s = time.monotonic()
    for batch in batches(ids, until_s):
        store.commit(Batch(fresh=batch))
    stored_s = time.monotonic()
    while store.refresh_rollups(limit=BACKLOG):
        pass
    rolled_s = time.monotonic()
    store.record_anomalies([one for series in enrolled.series for one in anomalies(series, until_s)])
    return LoadTimes(len(ids) * YEAR, stored_s - began_s, rolled_s - stored_s)


def batches(ids: NDArray[np.int32], until_s: float) -> Iterator[NDArray[np.void]]:
    """Yield rows (READING) of all series, three hours at a time, by series and time; 3 % suspect or worse."""
    random = np.random.default_rng(1)
    n = len(ids) * PER_BATCH
    rows = np.zeros(n, READING)
    rows["series_id"] = np.repeat(ids, PER_BATCH)
    rows["expected"], rows["spread"] = 40.0, 3.0
    first_us = round((until_s // STEP_S - YEAR) * STEP_S * 1e6)
    for begin in range(0, YEAR, PER_BATCH):
        ticks = np.tile(np.arange(begin, begin + PER_BATCH), len(ids))
        rows["time_us"] = first_us + ticks * STEP_S * 1_000_000
        rows["received_us"] = rows["time_us"] + 2_000_000
        rows["value"] = random.normal(40.0, 3.0, n)
        rows["quality"] = random.choice(np.array([1, 3, 4], "u1"), n, p=[0.97, 0.02, 0.01])
        rows["rules"] = np.where(rows["quality"] > 1, int(Rule.SPIKE), 0)
        yield rows


def anomalies(series: Series, until_s: float) -> Iterator[Anomaly]:
    """Yield anomalies of a series spread over the year; every tenth series has an open one."""
    for number in range(ANOMALIES):
        start_s = until_s - (number + 0.5) * 365 * DAY_S / ANOMALIES - series.series_id
        is_open = number == 0 and series.series_id % 10 == 0
        yield Anomaly(
            subject=f"series/{series.series_id}",
            site_id=series.site_id,
            series_id=series.series_id,
            detector="residual",
            version="1",
            start_s=start_s,
            end_s=None if is_open else start_s + 3600,
            peak_s=start_s,
            score=5.0,
            severity=1 + number % 3,
            n_readings=12,
            state="open" if is_open else "closed",
            reason_en="high",
            reason_zh="偏高",
        )
