"""Daily, weekly, yearly and tidal cycles as functions of time, in local time."""

from __future__ import annotations

from math import cos, pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_S = 3600.0
DAY_S = 86_400.0
YEAR_S = 365.2425 * DAY_S
LOCAL_UTC_OFFSET_S = 8 * HOUR_S  # China Standard Time is UTC+8 all year
M2_S = 44_714.16  # principal lunar tide, 12.4206 h
S2_S = 43_200.0  # principal solar tide
S2_SHARE = 0.3
SATURDAY = 5


def clock_h(time_s: float) -> float:
    """Return the local time of day [h].

    >>> clock_h(0.0)
    8.0
    """
    return (time_s + LOCAL_UTC_OFFSET_S) % DAY_S / HOUR_S


def is_weekend(time_s: float) -> bool:
    """Whether it is Saturday or Sunday, local time.

    >>> is_weekend(0.0), is_weekend(2 * DAY_S)  # 1970-01-01 was a Thursday
    (False, True)
    """
    return (int((time_s + LOCAL_UTC_OFFSET_S) // DAY_S) + 3) % 7 >= SATURDAY


def daily(time_s: float, peak_h: float) -> float:
    """Cosine over the local day, 1 at ``peak_h`` and -1 half a day later."""
    return cos(2 * pi * (time_s + LOCAL_UTC_OFFSET_S - peak_h * HOUR_S) / DAY_S)


def twice_daily(time_s: float, peak_h: float) -> float:
    """Cosine over half the local day, 1 at ``peak_h`` and again twelve hours later."""
    return cos(4 * pi * (time_s + LOCAL_UTC_OFFSET_S - peak_h * HOUR_S) / DAY_S)


def yearly(time_s: float, peak_day: float) -> float:
    """Cosine over the year, 1 on about the ``peak_day``-th day of the year."""
    return cos(2 * pi * (time_s - peak_day * DAY_S) / YEAR_S)


def tide(time_s: float) -> float:
    """Semi-diurnal tide of M2 and S2, between -1 and 1; springs and neaps alternate in 14.8 days."""
    return (cos(2 * pi * time_s / M2_S) + S2_SHARE * cos(2 * pi * time_s / S2_S)) / (1 + S2_SHARE)


def interpolate_day(knots: Sequence[float], hour: float) -> float:
    """Interpolate linearly in a daily curve given by its values at whole hours.

    knots : 25 values, hour 0 to hour 24
    hour : local time of day, 0 to 24 exclusive [h]

    >>> interpolate_day([0.0, 10.0, *[0.0] * 23], 0.25)
    2.5
    """
    whole_hour = int(hour)
    low = knots[whole_hour]
    return low + (knots[whole_hour + 1] - low) * (hour - whole_hour)
