"""Simulates rain and its runoff, light, and warm and cold spells as functions of seed and time.

Random numbers are keyed by the day relative to the present (``origin_s``), so that the same seed gives the
same rain at any present, independently of the order of calls.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, floor, pi, sin, sqrt
from random import Random
from typing import TYPE_CHECKING

import msgspec

from edge.simulator import time_cycles
from edge.simulator.time_cycles import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Callable

RAINS_PER_DAY = 0.35
DEPTH_SHAPE, DEPTH_SCALE_MM = 2.0, 2.5  # gamma distribution, mean 5 mm: plum rain (梅雨), not typhoons
DEPTH_MAX_MM = 12.0
RUNOFF_S = 8 * HOUR_S  # time from the start of a rain to the peak of a town's runoff
RAIN_MEMORY_DAYS = 3  # after which the runoff of a rain is neglected
DARKEST_HOUR = 3.5  # darkest hour, at which the cloud cover of the next day begins
SUN_PEAK_H = 15.5  # oxygen production peaks after noon
CACHED_DAYS = 64


class Rain(msgspec.Struct, frozen=True):
    """One rain event.

    Attributes
    ----------
    start_s : relative to the present [s]
    duration_s : duration [s]
    depth_mm : total depth [mm]
    """

    start_s: float
    duration_s: float
    depth_mm: float

    def intensity(self, since_s: float) -> float:
        """Return the intensity at a time after its start: half a sine wave [mm/h]."""
        if not 0 <= since_s < self.duration_s:
            return 0.0
        return self.depth_mm * HOUR_S * pi / (2 * self.duration_s) * sin(pi * since_s / self.duration_s)

    def runoff(self, since_s: float) -> float:
        """Return its runoff in the river at a time after its start: rises to the depth, then recedes [mm]."""
        share = since_s / RUNOFF_S
        return self.depth_mm * share * exp(1 - share) if share > 0 else 0.0


class Weather:
    """Weather of one seed; thread-safe.

    Parameters
    ----------
    seed : of the town
    origin_s : the present, Unix seconds [s]
    """

    def __init__(self, seed: int, origin_s: float) -> None:
        self._seed = seed
        self._origin_s = origin_s
        self._rains: Callable[[int], tuple[Rain, ...]] = lru_cache(CACHED_DAYS)(self._rains_around)
        self._cloud: Callable[[int], float] = lru_cache(CACHED_DAYS)(self._cloud_of)
        self._front: Callable[[int], float] = lru_cache(CACHED_DAYS)(self._front_of)

    def rain(self, time_s: float) -> float:
        """Return the rain intensity [mm/h]."""
        since_s = time_s - self._origin_s
        return sum(rain.intensity(since_s - rain.start_s) for rain in self._rains(floor(since_s / DAY_S)))

    def runoff_mm(self, time_s: float) -> float:
        """Return the runoff of rain [mm]; 0 in dry weather."""
        since_s = time_s - self._origin_s
        return sum(rain.runoff(since_s - rain.start_s) for rain in self._rains(floor(since_s / DAY_S)))

    def sun(self, time_s: float) -> float:
        """Return the light available for photosynthesis, 0 to 1."""
        share = (1 + time_cycles.daily(time_s, SUN_PEAK_H)) / 2
        day = floor((time_s + time_cycles.LOCAL_UTC_OFFSET_S - DARKEST_HOUR * HOUR_S) / DAY_S)
        return self._cloud(day) * share * sqrt(share)

    def front(self, time_s: float) -> float:
        """Return the temperature anomaly of warm and cold spells, about -1 to 1, smooth over days."""
        day, share = divmod((time_s - self._origin_s) / DAY_S, 1.0)
        share *= share * (3 - 2 * share)
        before, after = self._front(int(day)), self._front(int(day) + 1)
        return before + (after - before) * share

    def _rains_around(self, day: int) -> tuple[Rain, ...]:
        return tuple(rain for one in range(day - RAIN_MEMORY_DAYS, day + 1) for rain in self._rains_of(one))

    def _rains_of(self, day: int) -> list[Rain]:
        random_source = Random(f"{self._seed}/rain/{day}")
        if random_source.random() >= RAINS_PER_DAY:
            return []
        depth_mm = min(DEPTH_MAX_MM, random_source.gammavariate(DEPTH_SHAPE, DEPTH_SCALE_MM))
        return [Rain((day + random_source.random()) * DAY_S, random_source.uniform(3, 8) * HOUR_S, depth_mm)]

    def _cloud_of(self, day: int) -> float:
        origin_day = floor((self._origin_s + time_cycles.LOCAL_UTC_OFFSET_S) / DAY_S)
        return Random(f"{self._seed}/cloud/{day - origin_day}").uniform(0.85, 1.0)

    def _front_of(self, day: int) -> float:
        return Random(f"{self._seed}/front/{day}").uniform(-1.0, 1.0)
