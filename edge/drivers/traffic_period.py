"""Aggregates passages of vehicles at a detector to flow, occupancy and mean speeds of a period.

Flow is the number of vehicles over time, occupancy the share of time in which the detector is covered (FHWA,
Traffic Detector Handbook, FHWA-HRT-06-108). The *time-mean* speed is the arithmetic mean of spot speeds; the
*space-mean* speed is their harmonic mean, and the one that fits flow = density x speed (Wardrop 1952, Some
theoretical aspects of road traffic research; Edie 1963). It is never above the time-mean speed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from edge.drivers.measured_record import measured_record

if TYPE_CHECKING:
    from edge.wire.senml import Record


class TrafficPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic at one detector in one period.

    Attributes
    ----------
    start_s, end_s : the period, Unix seconds [s]
    vehicles : number of vehicles whose front passed
    flow : vehicles / period [1/s]
    occupancy : share of the period in which the detector was covered, 0 to 1; None if it was not measured
    time_mean_speed : arithmetic mean of spot speeds [m/s]; None without a speed
    space_mean_speed : harmonic mean of spot speeds [m/s], or flow x effective length / occupancy where single
        speeds are not measured; None without either

    """

    start_s: float
    end_s: float
    vehicles: int
    flow: float
    occupancy: float | None = None
    time_mean_speed: float | None = None
    space_mean_speed: float | None = None

    def records(self, prefix: str = "") -> list[Record]:
        """Return the records of the period, of the time of its end.

        The channel ``traffic_speed`` has the space-mean speed, ``traffic_speed_time_mean`` the other one.
        """
        values = {
            "traffic_flow": (self.flow, "1/s"),
            "occupancy": (self.occupancy, "/"),
            "traffic_speed": (self.space_mean_speed, "m/s"),
            "traffic_speed_time_mean": (self.time_mean_speed, "m/s"),
        }
        return [
            record
            for name, (value, unit) in values.items()
            if value is not None
            and (record := measured_record(prefix + name, value, unit, self.end_s)) is not None
        ]


class TrafficAggregator:
    """Collects the passages at one detector, period by period.

    Parameters
    ----------
    effective_length_m : length of a mean vehicle plus that of the detector [m], to estimate the speed from
        flow and occupancy where spot speeds are not measured; None if it is not known
    shortest_gap_s : a gap shorter than this lies within one vehicle (a trailer, a bouncing contact) [s]

    Examples
    --------
    >>> detector = TrafficAggregator()
    >>> for speed in (10.0, 30.0):
    ...     detector.add_vehicle(speed)
    >>> period = detector.finish(0.0, 60.0)
    >>> period.time_mean_speed, round(period.space_mean_speed, 9)
    (20.0, 15.0)

    """

    def __init__(self, *, effective_length_m: float | None = None, shortest_gap_s: float = 0.0) -> None:
        self._effective_length_m = effective_length_m
        self._shortest_gap_s = shortest_gap_s
        self._covered_since_s: float | None = None
        self._uncovered_s = -math.inf
        self._measures_occupancy = False
        self._clear()

    def _clear(self) -> None:
        self._vehicles = 0
        self._occupied_s = 0.0
        self._speeds: list[float] = []

    def cover(self, time_s: float) -> None:
        """Note the front of a vehicle over the detector."""
        self._measures_occupancy = True
        if self._covered_since_s is not None:
            return  # an edge was lost, or came twice
        self._covered_since_s = time_s
        self._vehicles += time_s - self._uncovered_s >= self._shortest_gap_s

    def uncover(self, time_s: float) -> None:
        """Note the end of a vehicle."""
        self._measures_occupancy = True
        if self._covered_since_s is None:
            return
        self._occupied_s += max(0.0, time_s - self._covered_since_s)
        self._covered_since_s = None
        self._uncovered_s = time_s

    def add_vehicle(self, speed: float | None = None, occupied_s: float | None = None) -> None:
        """Note a vehicle of an instrument that counts by itself.

        Parameters
        ----------
        speed : spot speed [m/s]; None, zero or a negative one (the other direction) counts as no speed
        occupied_s : time over the detector [s]

        """
        self._vehicles += 1
        if speed is not None and math.isfinite(speed) and speed > 0:
            self._speeds.append(speed)
        if occupied_s is not None and occupied_s >= 0:
            self._measures_occupancy = True
            self._occupied_s += occupied_s

    def finish(self, start_s: float, end_s: float) -> TrafficPeriod:
        """Return the traffic of a period that has ended; a vehicle over the detector belongs to both periods.

        Parameters
        ----------
        start_s, end_s : the period, Unix seconds [s], end_s > start_s

        """
        if self._covered_since_s is not None:
            self._occupied_s += max(0.0, end_s - self._covered_since_s)
            self._covered_since_s = end_s
        duration_s = end_s - start_s
        flow = self._vehicles / duration_s
        occupancy = min(1.0, self._occupied_s / duration_s) if self._measures_occupancy else None
        time_mean = space_mean = None
        if self._speeds:
            time_mean = math.fsum(self._speeds) / len(self._speeds)
            space_mean = len(self._speeds) / math.fsum(1 / speed for speed in self._speeds)
        elif self._effective_length_m is not None and occupancy and flow:
            space_mean = flow * self._effective_length_m / occupancy
        period = TrafficPeriod(
            start_s=start_s,
            end_s=end_s,
            vehicles=self._vehicles,
            flow=flow,
            occupancy=occupancy,
            time_mean_speed=time_mean,
            space_mean_speed=space_mean,
        )
        self._clear()
        return period
