"""Tests simulated weather and rhythms: moderate rain, bounded tide, values that depend on time alone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge.simulator import time_cycles
from edge.simulator.weather import DEPTH_MAX_MM, RAINS_PER_DAY, Rain, Weather

PRESENT_S = 1_764_000_000.0
DAY_S = 86_400.0


def test_the_intensity_of_a_rain_sums_to_its_depth() -> None:
    rain = Rain(0.0, 4 * 3600.0, 6.0)
    assert sum(rain.intensity(60.0 * minute) for minute in range(300)) / 60 == pytest.approx(6.0, rel=0.01)


def test_runoff_rises_to_the_depth_and_is_gone_when_it_is_forgotten() -> None:
    rain = Rain(0.0, 4 * 3600.0, 6.0)
    runoff = [rain.runoff(600.0 * tick) for tick in range(6 * 24 * 3 + 1)]
    assert max(runoff) == pytest.approx(6.0, rel=0.01)
    assert runoff[0] == 0
    assert runoff[-1] < 0.03


def test_rain_falls_about_as_often_as_stated_and_gently() -> None:
    weather = Weather(5, PRESENT_S)
    hours = [weather.rain(PRESENT_S + 3600.0 * hour) for hour in range(-24 * 400, 0)]
    starts = sum(one == 0 < other for one, other in pairwise(hours))
    assert starts / 400 == pytest.approx(RAINS_PER_DAY, rel=0.2)
    assert max(hours) < DEPTH_MAX_MM


def test_weather_depends_on_seed_and_time_alone() -> None:
    times = [PRESENT_S + 1000.0 * tick for tick in range(-500, 100)]
    one, other = Weather(5, PRESENT_S), Weather(5, PRESENT_S)
    forwards = [(one.runoff_mm(t), one.sun(t), one.front(t)) for t in times]
    backwards = [(other.runoff_mm(t), other.sun(t), other.front(t)) for t in reversed(times)]
    assert forwards == backwards[::-1]


def test_sun_and_front_move_without_jumps() -> None:
    weather = Weather(5, PRESENT_S)
    for of in (weather.sun, weather.front, weather.runoff_mm):
        values = [of(PRESENT_S + 300.0 * tick) for tick in range(-288 * 10, 0)]
        steps = [abs(other - one) for one, other in pairwise(values)]
        assert max(steps) < 0.03 * (max(values) - min(values))


def test_the_tide_is_semi_diurnal_with_springs_and_neaps() -> None:
    heights = [time_cycles.tide(600.0 * tick) for tick in range(6 * 24 * 15)]
    highs = sum(
        one < here > other for one, here, other in zip(heights, heights[1:], heights[2:], strict=False)
    )
    assert highs == pytest.approx(15 * DAY_S / time_cycles.M2_S, abs=1)
    assert max(heights) <= 1
    daily_ranges = [
        max(heights[i : i + 144]) - min(heights[i : i + 144]) for i in range(0, len(heights), 144)
    ]
    assert min(daily_ranges) < 0.65 * max(daily_ranges)
