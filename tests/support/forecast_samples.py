"""Series of some days up to now that can be forecast, or not: daily wave, rush hours, random walk."""

from __future__ import annotations

import csv
import gzip
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analytics.service import process
from analytics.service.settings import Settings
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest_service.storage.contract.store import Store

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("TOWNTWIN_DATA", Path(__file__).parents[3] / "shared/data"))
DAY_S = 86_400.0
TOWNS = ("330483-f1", "330483-f2")


def around(n: int, share: float, spread: float, seed: int = 7) -> Floats:
    """Return an autocorrelated series around zero."""
    noise, values = np.random.default_rng(seed).normal(0, spread, n), np.zeros(n)
    for at in range(1, n):
        values[at] = share * values[at - 1] + noise[at]
    return values


def wave(times_s: Floats) -> Floats:
    """Return dissolved oxygen with a daily wave [mg/L], the last value on its rise at any hour of the day."""
    phase = 2 * np.pi * (times_s - times_s[-1]) / DAY_S
    return np.asarray(8 + 1.5 * np.sin(phase) + around(len(times_s), 0.97, 0.06))


def rush_hours(times_s: Floats, *, ahead_s: float = 0.0) -> Floats:
    """Return the speed of a road that is congested twice a day, now earlier and now later [km/h].

    The last time is at seven o'clock, before the first congestion: at night nothing has skill. With
    ``ahead_s``, the same happens so much earlier [s].
    """
    times_s = times_s - times_s[-1] + 1000 * DAY_S + 7 * 3600 + ahead_s
    day = (times_s // DAY_S).astype(int)
    shifts_h = np.random.default_rng(5).normal(0, 0.7, day.max() - day.min() + 1)[day - day.min()]
    hour = times_s % DAY_S / 3600 - shifts_h
    congestion = np.exp(-(((hour - 8) / 1.2) ** 2)) + np.exp(-(((hour - 18) / 1.5) ** 2))
    return np.asarray(55 - 30 * congestion + around(len(times_s), 0.8, 1.0))


def walk(times_s: Floats) -> Floats:
    """Return a random walk, which nothing forecasts better than its newest value."""
    return 400 + np.cumsum(np.random.default_rng(3).normal(0, 1, len(times_s)))


def recorded_oxygen(n: int) -> Floats:
    """Return dissolved oxygen of the Logan River every 15 min, from July 2019 on [mg/L]; NaN is missing."""
    values = list[float]()
    with gzip.open(DATA / "logan_river" / "Mendon2019.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["datetime"] >= "2019-07-01" and len(values) < n:
                text = row["do_cor"]
                values.append(float(text) if text not in {"", "NULL"} and float(text) > 0 else np.nan)
    return np.array(values)


NETWORK_OF_KIND: dict[str, Literal["river", "road"]] = {"river_section": "river", "road_section": "road"}


def grid(days: float, interval_s: float, end_s: float | None = None) -> Floats:
    """Return times up to now, or to an end, every so often [Unix s]."""
    end_s = (time.time() if end_s is None else end_s) // interval_s * interval_s
    return end_s - interval_s * np.arange(days * DAY_S // interval_s, dtype=np.float64)[::-1]


def rows(series_id: int, times_s: Floats, values: Floats) -> NDArray[np.void]:
    """Return good READING rows; NaN is left out."""
    there = np.isfinite(values)
    found = np.zeros(int(there.sum()), READING)
    found["series_id"], found["quality"] = series_id, 1
    found["time_us"] = np.round(times_s[there] * 1e6)
    found["received_us"] = found["time_us"] + 1_000_000
    found["value"] = values[there]
    found["expected"] = found["spread"] = np.nan
    return found


def enrol_towns(store: Store) -> dict[str, int]:
    """Enrol two towns with a river and a road site each; return the ids of series by area and quantity."""
    position: Any = {"lon": 120.5, "lat": 30.7}
    areas = [Area(area_id="330483", level="county", en="Tongxiang", zh="桐乡市")]
    sites, nodes, series = list[Site](), list[Node](), list[Series]()
    for town in TOWNS:
        areas.append(Area(area_id=town, parent="330483", level="town", en="Town", zh="镇"))
        for kind, network in NETWORK_OF_KIND.items():
            site: Any = (
                {"en": "West weir", "zh": "西堰"} if network == "river" else {"en": "Road", "zh": "公路"}
            )
            site_id = f"{town}-{network}"
            sites.append(Site(site_id=site_id, area_id=town, kind=kind, **position, **site))
            nodes.append(
                Node(
                    node_id=site_id,
                    network=network,
                    area_id=town,
                    kind="section",
                    site_id=site_id,
                    **position,
                    **site,
                )
            )
        for quantity, interval_s in WATER_INTERVALS_S.items():
            series.append(Series(site_id=f"{town}-river", quantity=quantity, interval_s=interval_s))
        series.append(Series(site_id=f"{town}-road", quantity="traffic_speed", interval_s=300))
    links = [
        Link(
            link_id="road",
            en="Road",
            zh="公路",
            network="road",
            from_node=f"{TOWNS[0]}-road",
            to_node=f"{TOWNS[1]}-road",
            length_m=500,
            speed_m_s=10,
        )
    ]
    enrolled = store.enrol(Directory(areas=areas, sites=sites, nodes=nodes, links=links, series=series))
    towns = {one.site_id: one.area_id for one in sites}
    return {
        f"{towns[one.site_id]} {one.quantity}": one.series_id
        for one in enrolled.series
        if one.site_id in towns
    }


WATER_INTERVALS_S = {
    "dissolved_oxygen": 900.0,
    "water_temperature": 900.0,
    "conductivity": 900.0,  # a random walk
    "turbidity": 900.0,  # three days
    "ph": 900.0,  # ended two days ago
    "ammonia_nitrogen": 14_400.0,
    "total_phosphorus": 86_400.0,
    "rainfall": 900.0,
    "chlorophyll_a": 900.0,  # no readings
}


def fill_towns(store: Store) -> dict[str, int]:
    """Enrol the towns and store the histories of the first; return the ids of series by area and quantity."""
    ids = enrol_towns(store)
    water, short, ended = grid(40, 900), grid(3, 900), grid(20, 900, time.time() - 2 * DAY_S)
    rare, road = grid(90, 14_400), grid(10, 300)
    histories = {
        "dissolved_oxygen": (water, wave(water)),
        "water_temperature": (water, recorded_oxygen(len(water))),
        "conductivity": (water, walk(water)),
        "turbidity": (short, wave(short)),
        "ph": (ended, wave(ended)),
        "ammonia_nitrogen": (rare, 1 + np.sin(2 * np.pi * rare / DAY_S) + around(len(rare), 0.85, 0.1)),
        "total_phosphorus": (grid(90, DAY_S), walk(grid(90, DAY_S)) / 1000),
        "rainfall": (water, np.zeros(len(water))),
        "traffic_speed": (road, rush_hours(road)),
    }
    for quantity, (times_s, values) in histories.items():
        store.commit(Batch(fresh=rows(ids[f"{TOWNS[0]} {quantity}"], times_s, values)))
    return ids


def extend_history(store: Store, series_id: int, days: int) -> None:
    """Store some days before the first reading of a series, each the first stored day with other noise."""
    now_s = time.time()
    first = store.readings(series_id, now_s - 30 * DAY_S, now_s, limit=1)
    first_s = float(first["time_us"][0]) / 1e6
    day = store.readings(series_id, first_s, first_s + DAY_S, limit=100_000)
    spread = 0.1 * float(day["value"].std())
    for back in range(1, days + 1):
        times_s = day["time_us"] / 1e6 - back * DAY_S
        values = day["value"] + around(len(day), 0.9, spread, seed=back)
        store.commit(Batch(fresh=rows(series_id, times_s, values)))
    process.roll_up(store, Settings())
