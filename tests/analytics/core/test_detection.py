"""Tests that planted faults are detected in time, and that clean series give no anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core.flags import Rule
from analytics.core.judge import judge
from analytics.core.parameters import Parameters
from analytics.core.state import State

if TYPE_CHECKING:
    from analytics.core.events import Events

N = 60
STEP_S = 300.0
DAYS = 9
FAULT = int(7 * 86_400 / STEP_S)
FLAT = {"flat_suspect_s": 7_200.0, "flat_fail_s": 21_600.0, "flat_tolerance": 0.005}


def clean(seed: int, days: int = DAYS) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(n_ticks, N) a daily rhythm whose noise is larger by day, with memory; two decimals."""
    random = np.random.default_rng(seed)
    ticks = int(days * 86_400 / STEP_S)
    day = 2 * np.pi * (np.arange(ticks)[:, None] * STEP_S / 86_400 + random.random(N))
    noise = np.zeros((ticks, N))
    for tick in range(1, ticks):
        noise[tick] = 0.9 * noise[tick - 1] + random.normal(0, 0.1, N)
    return np.round(10 + 2 * np.sin(day) + noise * (1.5 + np.sin(day)), 2)


def events_of(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Events:
    ticks, n = values.shape
    series = np.repeat(np.arange(n), ticks)
    time_s = np.tile(1.7e9 + STEP_S * np.arange(ticks), n)
    parameters = Parameters.of(n, spread_floor=0.02, **FLAT)
    return judge(State.empty(n), parameters, series, time_s, values.T.ravel()).events


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_series_raise_less_than_one_alarm_in_a_hundred_days(seed: int) -> None:
    assert len(events_of(clean(seed)).series) < N * DAYS / 100


# kind -> (change of the values from the fault on, found within [s], names it may bear)
def spike(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    x[FAULT : FAULT + 2] += 8


def stuck(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    x[FAULT : FAULT + 48] = x[FAULT]


def shift(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    x[FAULT:] += 5


def drift(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    x[FAULT:] += np.minimum(np.arange(len(x) - FAULT) / 144, 1)[:, None] * 8


def slug(x: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    x[FAULT : FAULT + 24] += 6 * np.sin(np.linspace(0, np.pi, 24))[:, None]


@pytest.mark.parametrize(
    ("fault", "within_s", "names"),
    [
        (spike, 300, {Rule.SPIKE}),
        (stuck, 8_100, {Rule.FLAT_LINE}),
        (shift, 900, {Rule.RATE_OF_CHANGE, Rule.SHIFT}),
        (drift, 36_000, {Rule.RATE_OF_CHANGE, Rule.RESIDUAL, Rule.SHIFT}),
        (slug, 2_400, {Rule.RATE_OF_CHANGE, Rule.RESIDUAL}),
    ],
)
def test_what_is_planted_is_found_in_time_once_and_by_its_name(
    fault: object, within_s: float, names: set[Rule]
) -> None:
    values = clean(5)
    fault(values)  # type: ignore[operator]
    found = events_of(values)
    begins_s = 1.7e9 + STEP_S * FAULT
    answers = (found.start_s >= begins_s - STEP_S) & (found.start_s <= begins_s + within_s)
    assert len(set(found.series[answers].tolist())) >= 0.9 * N
    assert answers.sum() <= 1.1 * N, "one physical event is one anomaly"
    named = np.isin(found.rule[answers], [int(name) for name in names])
    assert named.mean() >= 0.9


def test_a_new_level_is_learned_after_a_day_and_is_then_no_anomaly() -> None:
    values = clean(6, DAYS + 2)  # an event closes up to a day after its last evidence
    values[FAULT:] += 5
    found = events_of(values)
    late = found.start_s > 1.7e9 + STEP_S * FAULT + 1.5 * 86_400
    assert late.sum() < N / 10
    closed = ~np.isnan(found.end_s[found.rule == Rule.SHIFT])
    assert closed.mean() > 0.8


def test_a_drift_is_named_a_shift_whatever_the_step_by_which_it_returns() -> None:
    values = clean(8)
    drift(values)
    values[FAULT + 144 :] -= 8
    found = events_of(values)
    is_long = (found.start_s >= 1.7e9 + STEP_S * (FAULT - 1)) & (found.end_s - found.start_s >= 4 * 3_600)
    assert is_long.sum() >= 0.8 * N
    assert (found.rules[is_long] & Rule.RATE_OF_CHANGE).all()
    assert (found.rule[is_long] == Rule.SHIFT).mean() >= 0.9


@pytest.mark.parametrize(("scale", "add"), [(1000.0, 0.0), (1.0, -500.0), (0.01, 3.0)])
def test_another_unit_makes_no_other_event(scale: float, add: float) -> None:
    values = clean(7)
    shift(values)
    ticks, n = values.shape
    series, time_s = np.repeat(np.arange(n), ticks), np.tile(1.7e9 + STEP_S * np.arange(ticks), n)
    found = [
        judge(
            State.empty(n),
            Parameters.of(n, spread_floor=0.02 * by),
            series,
            time_s,
            (values * by + plus).T.ravel(),
        ).events
        for by, plus in ((1.0, 0.0), (scale, add))
    ]
    assert found[0].series.tolist() == found[1].series.tolist()
    np.testing.assert_allclose(found[0].start_s, found[1].start_s)
    np.testing.assert_allclose(found[0].score, found[1].score, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e4, 1e-3])
@pytest.mark.parametrize("per_day", [6, 24, 48])
def test_a_series_of_few_readings_a_day_is_no_anomaly_from_its_second_day_on(
    per_day: int, scale: float
) -> None:
    """Its first spread is the floor; readings were clipped to multiples of it, and then lay in an event."""
    time_s = 1.7e9 + 86_400 / per_day * np.arange(20 * per_day, dtype=np.float64)
    noise = np.random.default_rng(1).normal(0, 0.5, len(time_s))
    values = scale * (15 + 10 * np.sin(2 * np.pi * time_s / 86_400) + noise)
    found = judge(State.empty(1), Parameters.of(1), np.zeros(len(time_s), np.intp), time_s, values)
    residual = np.abs(values - found.expected)[len(time_s) // 2 :]
    assert not len(found.events.start_s)
    assert residual.mean() < 2 * scale
