"""Measures the throughput of the judge (checks, baseline, detectors, scores, events) on one core.

The load is one reading per tick of 1,000, 10,000 and 100,000 series, and blocks of a day of 1,000 series.
Baselines are `numpy.copyto` of the readings as the limit, `ioos_qc`'s gross range, spike, rate of change and
flat line checks, and river's HalfSpaceTrees, which scores one reading at a time. Measured is the processor
time of this process, best of some rounds. Prints a table, and last one JSON line: readings per second and
core.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analytics.core.compiled import constants
from analytics.core.judge import judge, warm_up
from analytics.core.parameters import Parameters
from analytics.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STEP_S = 300.0
BEGIN_S = 1.7e9
DAY = 288  # ticks
ROUNDS = 5
LIMITS = {
    "fail_low": -50.0,
    "fail_high": 50.0,
    "suspect_low": -30.0,
    "suspect_high": 40.0,
    "rate_suspect_per_s": 1.0,
    "rate_fail_per_s": 2.0,
    "spike_suspect": 20.0,
    "spike_fail": 40.0,
    "flat_suspect_s": 7_200.0,
    "flat_fail_s": 21_600.0,
    "attenuated_suspect": 1e-3,
    "attenuated_fail": 1e-4,
    "spread_floor": 0.01,
}
RIVER_READINGS = 5_000
IOOS_READINGS = 200_000


class WarmedUpSeries(NamedTuple):
    """Series with a daily cycle and noise, judged for two days so that every stage is warmed up."""

    state: State
    parameters: Parameters
    value: Floats  # (ticks, n_series)
    next_tick: int


def warmed_up_series(n_series: int, ticks: int) -> WarmedUpSeries:
    """Return series that were judged for two days, and their readings of the next ``ticks`` ticks."""
    random = np.random.default_rng(1)
    n_distinct = min(n_series, 1_000)
    day = np.sin(np.arange(2 * DAY + ticks)[:, None] / DAY * 2 * np.pi + np.arange(n_distinct))
    value = np.tile(10 + 2 * day + random.normal(0, 0.3, day.shape), (1, n_series // n_distinct))
    state, parameters = State.empty(n_series), Parameters.of(n_series, **LIMITS)
    for begin in range(0, 2 * DAY, 32):
        judge_ticks(state, parameters, value[begin : begin + 32], begin)
    return WarmedUpSeries(state, parameters, value[2 * DAY :], 2 * DAY)


def judge_ticks(state: State, parameters: Parameters, value: Floats, first_tick: int) -> None:
    """Judge some ticks of all series at once."""
    ticks, n_series = value.shape
    series = np.repeat(np.arange(n_series), ticks)
    time_s = np.tile(BEGIN_S + STEP_S * (first_tick + np.arange(ticks)), n_series)
    judge(state, parameters, series, time_s, value.T.ravel())


def rate_by_ticks(n_series: int) -> float:
    """Return readings/s with one reading of each series per call."""
    ticks = max(20, 400_000 // n_series)
    one = warmed_up_series(n_series, ticks * ROUNDS)
    series = np.arange(n_series)
    best = 0.0
    for number in range(ROUNDS):
        began_s = time.process_time()
        for tick in range(number * ticks, (number + 1) * ticks):
            time_s = np.full(n_series, BEGIN_S + STEP_S * (one.next_tick + tick))
            judge(one.state, one.parameters, series, time_s, one.value[tick])
        best = max(best, ticks * n_series / (time.process_time() - began_s))
    return best


def rate_by_blocks(n_series: int) -> float:
    """Return readings/s with a day of each series per call."""
    one = warmed_up_series(n_series, DAY * ROUNDS)
    rates = []
    for number in range(ROUNDS):
        part = one.value[number * DAY : (number + 1) * DAY]
        rates.append(
            readings_per_second(
                partial(judge_ticks, one.state, one.parameters, part, one.next_tick), part.size
            )
        )
        one = one._replace(next_tick=one.next_tick + DAY)
    return max(rates)


def readings_per_second(work: Callable[[], object], readings: int) -> float:
    """Return readings per second of processor time of ``work``."""
    began_s = time.process_time()
    work()
    return readings / (time.process_time() - began_s)


def copy_rate() -> float:
    """Return readings/s that are only copied, the upper limit."""
    value = np.random.default_rng(1).normal(size=1_000_000)
    into = np.empty_like(value)
    return max(readings_per_second(lambda: np.copyto(into, value), value.size) for _ in range(20))


def ioos_qc_rate() -> float:
    """Return readings/s of four checks of one series by the reference library."""
    from ioos_qc import qartod  # noqa: PLC0415 - slow to load

    value = 10 + np.random.default_rng(1).normal(0, 0.3, IOOS_READINGS)
    timestamps = (BEGIN_S + STEP_S * np.arange(IOOS_READINGS)).astype("datetime64[s]")

    def work() -> None:
        qartod.gross_range_test(value, fail_span=(-50, 50), suspect_span=(-30, 40))
        qartod.spike_test(value, suspect_threshold=20, fail_threshold=40)
        qartod.rate_of_change_test(value, timestamps, threshold=1)
        qartod.flat_line_test(
            value, timestamps, suspect_threshold=7200, fail_threshold=21600, tolerance=0.005
        )

    return readings_per_second(work, IOOS_READINGS)


def river_rate() -> float:
    """Return readings/s of river's HalfSpaceTrees, one reading at a time."""
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415 - slow to load

    trees = HalfSpaceTrees(seed=1)
    readings = [{"x": one} for one in np.random.default_rng(1).random(RIVER_READINGS).tolist()]

    def work() -> None:
        for one in readings:
            trees.score_one(one)
            trees.learn_one(one)

    return readings_per_second(work, RIVER_READINGS)


def main() -> None:
    """Measure and print the table and the JSON line."""
    warm_up()
    found = {f"r{n // 1_000}k": rate_by_ticks(n) for n in (1_000, 10_000, 100_000)} | {
        "block": rate_by_blocks(1_000)
    }
    baselines = {
        "copy": copy_rate(),
        "ioos_qc, four checks": ioos_qc_rate(),
        "river HalfSpaceTrees": river_rate(),
    }
    size = sum(array[:1].nbytes for array in State.empty(1).arrays().values())
    print(f"compiled: {constants.NUMBA_AVAILABLE}; state: {size} bytes a series")
    for name, rate in (found | baselines).items():
        print(f"{name:24}{rate / 1e6:12.3f} M readings/s and core")
    times = found["r10k"] / baselines["river HalfSpaceTrees"]
    line = {name: round(rate) for name, rate in found.items()}
    print(json.dumps(line | {"bytes_per_series": size, "times_river": round(times)}))
