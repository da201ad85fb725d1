"""Measures a backtest on Dask: one process, its threads, and clusters of one and two workers.

``make bench NAME=backtest_cluster``. Each worker is a process with one thread on this machine, as started by
``dask worker --nthreads 1``. Reported are readings per second through the judge of `towntwin backtest`, with
all that goes to the workers and comes back, best of three rounds; results are compared. Last, one JSON line.
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench NAME=backtest_cluster", description=__doc__)
    parser.add_argument("--series", type=int, default=100, help="(default %(default)s)")
    parser.add_argument(
        "--days", type=int, default=365, help="of a reading every 5 min (default %(default)s)"
    )
    options = parser.parse_args(sys.argv[2:])
    given = histories(options.series, options.days)
    readings = sum(len(one.time_s) for one in given)
    core.warm_up()
    took: dict[str, float] = {}
    took["one after the other"], reference = best_s(
        lambda: [backtest.judge_history(one) for one in given], None
    )
    took["threads"], _ = best_s(lambda: parallel.map_in_parallel(backtest.judge_history, given), reference)
    for workers in WORKERS:
        with LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
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
