"""Measures a backtest, and judging again, on Dask: one process, and clusters of one and two workers.

``make bench NAME=backtest_cluster``. Each worker is a process with one thread on this machine, as started by
``dask worker --nthreads 1``. Reported are readings per second through the judge of `towntwin backtest`, with
all that goes to the workers and comes back, best of three rounds; results are compared. For judging again,
which needs root on Debian, a turn of the service over 100 series with a late reading each is timed, with its
queries to a real TimescaleDB. One JSON line each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from distributed import LocalCluster

from analytics.core import judge as core
from analytics.service import backtest, parallel
from analytics.service.backtest import SeriesHistory
from benchmarks import _rejudging
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics.service.backtest import JudgedHistory

STEP_S = 300.0
ROUNDS = 3
WORKERS = (1, 2)


def histories(series: int, days: int) -> list[SeriesHistory]:
    """Return histories of pH with a daily rhythm, noise, and a step of an hour every ten days."""
    n = round(days * 86_400 / STEP_S)
    time_s = 1.7e9 + np.arange(n, dtype=np.float64) * STEP_S
    source = np.random.default_rng(26)
    day = 0.2 * np.sin(2 * np.pi * time_s / 86_400)
    step = np.where(np.arange(n) % 2_880 < 12, 0.8, 0.0)
    return [
        SeriesHistory(
            series=Series(series_id=one + 1, site_id=f"s{one}", quantity="ph", interval_s=STEP_S),
            time_s=time_s,
            value=np.round(7.5 + day + step + source.normal(0, 0.02, n), 3),
        )
        for one in range(series)
    ]


def best_s(
    judge: Callable[[], list[JudgedHistory]], reference: list[JudgedHistory] | None
) -> tuple[float, list[JudgedHistory]]:
    """Return the shortest of some rounds [s] and the result, which must be the reference."""
    took_s: list[float] = []
    for _ in range(ROUNDS):
        begin_s = time.perf_counter()
        found = judge()
        took_s.append(time.perf_counter() - begin_s)
    for ours, theirs in zip(found, reference or found, strict=True):
        assert np.array_equal(ours.quality, theirs.quality), "the flags differ"
        assert np.array_equal(ours.rules, theirs.rules), "the rules differ"
        assert [one.start_s for one in ours.anomalies] == [one.start_s for one in theirs.anomalies]
    return min(took_s), found


def measure_rejudging() -> None:
    """Measure and print a turn of the service that judges late readings again."""
    took: dict[str, _rejudging.RejudgingTimes] = {}
    with _rejudging.filled_store() as store:
        took["one process"], following = _rejudging.times_of_a_turn(store, "", ROUNDS, 1)
        for workers in WORKERS:
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            ) as cluster:
                took[f"workers: {workers}"], following = _rejudging.times_of_a_turn(
                    store, cluster.scheduler_address, ROUNDS, following
                )
    base_s = took["one process"].took_s
    for name, one in took.items():
        print(
            f"{name:22}{one.took_s:8.2f} s{base_s / one.took_s:8.2f} times; the service {one.own_s:.2f} s CPU"
        )
    print(json.dumps({name: [round(number, 3) for number in one] for name, one in took.items()}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench NAME=backtest_cluster", description=__doc__)
    parser.add_argument("--series", type=int, default=100, help="(default %(default)s)")
    parser.add_argument(
        "--days", type=int, default=365, help="of a reading every 5 min (default %(default)s)"
    )
    parser.add_argument("--rejudging", action="store_true", help="measure only judging again")
    options = parser.parse_args(sys.argv[2:])
    core.warm_up()
    if not options.rejudging:
        measure_backtests(options.series, options.days)
    measure_rejudging()


def measure_backtests(series: int, days: int) -> None:
    """Measure and print a backtest of some series over some days."""
    given = histories(series, days)
    readings = sum(len(one.time_s) for one in given)
    took: dict[str, float] = {}
    took["one after the other"], reference = best_s(
        lambda: [backtest.judge_history(one) for one in given], None
    )
    took["threads"], _ = best_s(lambda: parallel.map_in_parallel(backtest.judge_history, given), reference)
    for workers in WORKERS:
        with LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster:
            address = cluster.scheduler_address
            parallel.map_in_parallel(backtest.judge_history, given[:workers], cluster=address)  # compiles
            took[f"workers: {workers}"], _ = best_s(
                lambda address=address: parallel.map_in_parallel(  # type: ignore[misc]
                    backtest.judge_history, given, cluster=address
                ),
                reference,
            )
    base_s = took["one after the other"]
    print(f"{len(given)} series, {readings:,} readings, the same result")
    for name, one_s in took.items():
        print(f"{name:22}{one_s:8.2f} s{readings / one_s / 1e6:8.2f} M readings/s{base_s / one_s:8.2f} times")
    print(json.dumps({"readings": readings, **{name: round(one_s, 3) for name, one_s in took.items()}}))


if __name__ == "__main__":
    main()
