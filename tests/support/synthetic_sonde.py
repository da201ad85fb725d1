"""Fills a store in memory with the judged readings of synthetic sondes, with planted disturbances."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from analytics.core.judge import judge
from analytics.core.state import State
from analytics.quality import default_limits
from analytics.quality.anomaly_records import anomaly_from_event
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest_service.storage.contract.models import Anomaly

    Floats = NDArray[np.float64]
    Disturbance = Callable[[Floats, Floats], Floats]

AREA = "330421"
DAY_S, HOUR_S = 86_400.0, 3_600.0
BEGIN_S = 1_763_424_000.0  # midnight, UTC
LEVELS = {
    "conductivity": (440.0, 8.0, 2.0),
    "dissolved_oxygen": (8.0, 0.6, 0.08),
    "ph": (7.6, 0.1, 0.02),
    "turbidity": (22.0, 2.0, 1.0),
    "water_level": (1.4, 0.02, 0.004),
}
"""Mean, amplitude over the day and standard deviation of the noise of each quantity, canonical unit."""


def sonde_store(
    disturbances: Mapping[tuple[str, str], Disturbance],
    *,
    days: float,
    interval_s: float = 900.0,
    sites: Sequence[str] = ("s1",),
    travel_s: float = 2 * HOUR_S,
    rain_mm_h: Callable[[Floats], Floats] | None = None,
) -> MemoryStore:
    """Return a store with the judged readings and anomalies of sondes one below the other in a river.

    Parameters
    ----------
    disturbances : by site and quantity: from times since `BEGIN_S` [s] and values to the values measured
    days : length of the recording
    interval_s : between two readings [s]
    sites : from the uppermost to the lowest
    travel_s : travel time of the water from one site to the next [s]
    rain_mm_h : rain at times since `BEGIN_S` [mm/h], measured at the first site; None without a gauge

    """
    store = MemoryStore()
    quantities = [*LEVELS, *(["rainfall"] if rain_mm_h else [])]
    store.enrol(
        Directory(
            areas=[Area(area_id=AREA, level="county", en="Jiashan", zh="嘉善")],
            sites=[
                Site(site_id=one, area_id=AREA, kind="river_section", en=one, zh=one, lon=120.9, lat=30.8)
                for one in sites
            ],
            series=[
                Series(site_id=site, quantity=quantity, interval_s=interval_s)
                for site in sites
                for quantity in quantities
                if quantity != "rainfall" or site == sites[0]
            ],
            nodes=[
                Node(
                    node_id=f"n-{one}", network="river", area_id=AREA, kind="section", site_id=one,
                    en=one, zh=one, lon=120.9, lat=30.8,
                )
                for one in sites
            ],
            links=[
                Link(
                    link_id=f"l-{below}", network="river", from_node=f"n-{above}", to_node=f"n-{below}",
                    en=below, zh=below, length_m=travel_s, speed_m_s=1.0,
                )
                for above, below in itertools.pairwise(sites)
            ],
        )
    )  # fmt: skip
    since_s = np.arange(0.0, days * DAY_S, interval_s)
    for number, one in enumerate(store.directory().series):
        random = np.random.default_rng(number)
        value = (
            rain_mm_h(since_s)
            if one.quantity == "rainfall" and rain_mm_h
            else _usual_values(one.quantity, since_s, random)
        )
        disturb = disturbances.get((one.site_id, one.quantity))
        _store_series(store, one, since_s, value if disturb is None else disturb(since_s, value))
    return store


def _usual_values(quantity: str, since_s: Floats, random: np.random.Generator) -> Floats:
    mean, amplitude, noise = LEVELS[quantity]
    drift = np.zeros(len(since_s))
    for at, one in enumerate(random.normal(0.0, noise * 0.4, len(since_s))):
        drift[at] = one + (0.9 * drift[at - 1] if at else 0.0)
    cycle = amplitude * np.sin(2 * np.pi * since_s / DAY_S)
    resolution = {"conductivity": 0.1, "turbidity": 0.1}.get(quantity, 0.001)
    return np.asarray(np.round((mean + cycle + drift) / resolution) * resolution)


def _store_series(store: MemoryStore, series: Series, since_s: Floats, value: Floats) -> None:
    time_s = BEGIN_S + since_s
    outcome = judge(
        State.empty(1),
        default_limits.judge_parameters([series]),
        np.zeros(len(value), np.intp),
        time_s,
        value,
    )
    rows = np.zeros(len(value), READING)
    rows["series_id"], rows["value"] = series.series_id, value
    rows["time_us"] = rows["received_us"] = np.rint(time_s * 1e6)
    for field in ("expected", "spread", "quality", "rules"):
        rows[field] = getattr(outcome, field)
    anomalies: list[Anomaly] = [
        anomaly_from_event(series, outcome.events, i) for i in range(len(outcome.events.series))
    ]
    store.commit(Batch(fresh=rows, anomalies=anomalies))
