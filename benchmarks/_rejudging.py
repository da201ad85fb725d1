"""Measures a turn of the service that judges late readings again, alone and on a Dask cluster."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.flags import Rule
from analytics.service.block_judging import ClusterJudge
from analytics.service.rejudge_late_data import rejudge
from analytics.service.service_state import ServiceState
from analytics.service.settings import Settings
from analytics.service.time_slice import UNLIMITED
from deploy.debian_servers.installation import PROGRAMS
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import READING, Area, Directory, Series, Site
from ingest_service.storage.postgres.store import PostgresStore
from tests.support import server_installation
from tests.support.throwaway_servers import TIMESCALE, PostgresServer, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SERIES, DAYS, STEP_US = 100, 33, 300_000_000
READINGS = DAYS * 288
BEGIN_US = 1_790_000_000_000_000
LATE_TICK = 30 * 288  # with 30 days to warm up before it, and two after it that are judged again


class RejudgingTimes(NamedTuple):
    """Time of a turn over all series, and processor time of the service in it [s]."""

    took_s: float
    own_s: float


@contextmanager
def filled_store() -> Iterator[PostgresStore]:
    """Provide a store with the readings of `SERIES` series of pH."""
    database = PostgresServer(server_installation.provide(print), "postgres", PROGRAMS, TIMESCALE)
    try:
        database.create()
        with fresh_database(database) as dsn:
            store = PostgresStore.open(dsn)
            _enrol(store)
            for one in range(1, SERIES + 1):
                store.commit(Batch(fresh=_rows(one, np.arange(READINGS))))
            yield store
            store.close()
    finally:
        database.remove()


def times_of_a_turn(
    store: PostgresStore, cluster: str, rounds: int, first_round: int
) -> tuple[RejudgingTimes, int]:
    """Return the best of some turns, each after one late reading of every series; and the next round."""
    state = ServiceState()
    settings = Settings(rejudge_cluster=cluster, rejudge_series=SERIES)
    found: list[RejudgingTimes] = []
    for number in range(first_round, first_round + rounds + 1):  # the first one compiles on the workers
        for one in range(1, SERIES + 1):
            late = _rows(one, np.array([LATE_TICK]))
            late["time_us"] += number * 1_000_000  # between two readings
            late["rules"] = Rule.LATE
            store.commit(Batch(doubtful=late))
        began_s, own_s = time.perf_counter(), time.process_time()
        rejudge(store, settings, UNLIMITED, state)
        found.append(RejudgingTimes(time.perf_counter() - began_s, time.process_time() - own_s))
        assert store.health().rejudge_due == 0, "every series was judged again"
    assert isinstance(state.judge_choice.judge(cluster), ClusterJudge) is bool(cluster), (
        "the cluster is in use"
    )
    state.judge_choice.close()
    return min(found[1:]), first_round + rounds + 1


def _enrol(store: PostgresStore) -> None:
    sites = [f"s{number:03}" for number in range(1, SERIES + 1)]
    store.enrol(
        Directory(
            areas=[Area(area_id="330483", level="county", en="C", zh="县")],
            sites=[
                Site(
                    site_id=one,
                    area_id="330483",
                    kind="river_section",
                    en=one,
                    zh="断面",
                    lon=120.5,
                    lat=30.7,
                )
                for one in sites
            ],
            series=[Series(site_id=one, quantity="ph", interval_s=STEP_US / 1e6) for one in sites],
        )
    )


def _rows(series_id: int, ticks: NDArray[np.int64]) -> NDArray[np.void]:
    rows = np.zeros(len(ticks), READING)
    rows["series_id"] = series_id
    rows["time_us"] = BEGIN_US + ticks * STEP_US
    rows["received_us"] = rows["time_us"] + 1_000_000
    noise = np.random.default_rng(series_id).normal(0, 0.02, READINGS)
    rows["value"] = np.round(7.5 + 0.2 * np.sin(2 * np.pi * ticks / 288) + noise[ticks], 3)
    rows["quality"] = 1
    return rows
