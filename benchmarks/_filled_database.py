"""Fills a database in bulk with a year of readings, rollups and anomalies of many sites."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psycopg

from ingest_service.storage.contract.models import READING, Area, Directory, Link, Node, Series, Site
from ingest_service.storage.postgres import binary_copy
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.named_queries import QUERIES, load_queries
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOWNS, SITES_A_TOWN, QUANTITIES = 5, 10, ("ph", "dissolved_oxygen", "conductivity", "turbidity")
SITES = TOWNS * SITES_A_TOWN
STEP_US = 300_000_000  # five minutes
END_US = 1_795_219_200_000_000  # 2026-11-21 00:00 UTC

STATEMENTS = load_queries("_filled.sql", "benchmarks")


class FilledDatabase(NamedTuple):
    """Counts of the loaded data, and the time of loading [s]."""

    readings: int
    series: int
    anomalies: int
    took_s: float


def directory() -> Directory:
    """Return five towns with ten sites each, on one river per town."""
    county = Area(area_id="330400", level="county", en="Bench", zh="基准")
    towns = [
        Area(area_id=f"330400-t{town}", parent="330400", level="town", en=f"Town {town}", zh=f"{town}镇")
        for town in range(TOWNS)
    ]
    names = [(f"330400-t{at % TOWNS}", f"site-{at:03}") for at in range(SITES)]
    nodes = [
        Node(
            node_id=f"n-{name}",
            network="river",
            area_id=area,
            kind="section",
            en=name,
            zh=name,
            lon=120,
            lat=30,
            site_id=name,
        )
        for area, name in names
    ]
    links = [
        Link(
            link_id=f"l-{below.node_id}",
            network="river",
            from_node=above.node_id,
            to_node=below.node_id,
            en="reach",
            zh="河段",
            length_m=1000,
            speed_m_s=0.3,
        )
        for above, below in zip(nodes, nodes[TOWNS:], strict=False)
    ]
    return Directory(
        areas=[county, *towns],
        sites=[
            Site(site_id=name, area_id=area, kind="river_section", en=name, zh=name, lon=120, lat=30)
            for area, name in names
        ],
        series=[Series(site_id=name, quantity=one) for _, name in names for one in QUANTITIES],
        nodes=nodes,
        links=links,
    )


def fill_database(dsn: str, *, readings: int, anomalies: int) -> FilledDatabase:
    """Migrate, enrol and load; each week of all series in one COPY, in the order of arrival."""
    began_s = time.perf_counter()
    migrate(dsn)
    store = PostgresStore.open(dsn)
    enrolled = store.enrol(directory())
    store.close()
    ids = np.array([one.series_id for one in enrolled.series], np.int32)
    per_series = readings // len(ids)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for begin in range(0, per_series, 2016):  # a week
            block = _block(ids, begin, min(begin + 2016, per_series), per_series)
            with connection.cursor() as cursor, cursor.copy(QUERIES["copy_readings"]) as copy:
                copy.write(binary_copy.encode_copy(block))
        for rollup in ("rollup_15min", "rollup_1h", "rollup_1day"):
            connection.execute(STATEMENTS[rollup])
        anomaly_parameters = {"anomalies": anomalies, "series": len(ids), "end_s": END_US / 1e6}
        connection.execute(STATEMENTS["anomalies"], anomaly_parameters)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return FilledDatabase(per_series * len(ids), len(ids), anomalies, time.perf_counter() - began_s)


def _block(ids: NDArray[np.int32], begin: int, end: int, readings_per_series: int) -> NDArray[np.void]:
    ticks = np.arange(begin, end)
    rows = np.zeros(len(ids) * len(ticks), READING)
    rows["series_id"] = np.repeat(ids, len(ticks))
    rows["time_us"] = np.tile(END_US - (readings_per_series - ticks) * STEP_US, len(ids))
    rows["received_us"] = rows["time_us"] + 2_000_000
    noise = np.random.default_rng(begin).normal(0, 0.05, len(rows))
    day = np.sin(2 * np.pi * (rows["time_us"] % 86_400_000_000) / 86_400_000_000)
    rows["value"] = np.round(7 + day + noise, 3)
    rows["expected"], rows["spread"] = 7 + day, 0.05
    bad = np.abs(noise) > 0.15
    rows["quality"], rows["rules"] = np.where(bad, 3, 1), np.where(bad, 16, 0)
    return rows
