"""Working days and hours in mainland China: weekends, public holidays, and adjusted working days (调休).

The State Council (国务院办公厅) publishes the holidays of a year in the November before it; the package
`chinesecalendar` carries its notices. A year that it does not have yet is computed from weekdays alone:
`is_published` is False for it, and an update of the package mends it.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import chinese_calendar
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL_ZONE: Final = ZoneInfo("Asia/Shanghai")
SATURDAY: Final = 5
MAX_DAYS: Final = 3_660
"""Days that a deadline may be away; a longer search means that no day has working hours."""


class WorkingHours(msgspec.Struct, frozen=True):
    """Local times of the day between which a working day is worked, without a break at noon."""

    start: str = "08:30"
    end: str = "17:30"

    def on(self, day: date) -> tuple[datetime, datetime]:
        """Return start and end on a day, with their offset."""
        return local_time(day, self.start), local_time(day, self.end)


def local_time(day: date, clock: str) -> datetime:
    """Return the time of a day from ``HH:MM``.

    >>> local_time(date(2026, 10, 1), "08:30").isoformat()
    '2026-10-01T08:30:00+08:00'
    """
    return datetime.combine(day, time.fromisoformat(clock), LOCAL_ZONE)


def local_datetime(time_s: float) -> datetime:
    """Return the local time of Unix seconds [s]."""
    return datetime.fromtimestamp(time_s, LOCAL_ZONE)


def is_published(day: date) -> bool:
    """Whether the holidays of the day's year are known."""
    try:
        chinese_calendar.is_workday(day)
    except NotImplementedError:
        return False
    return True


def is_working_day(day: date) -> bool:
    """Whether a day is worked; in years whose holidays are not known, from Monday to Friday.

    National Day of 2026 is a holiday, and the Saturday after it is worked instead:

    >>> is_working_day(date(2026, 10, 1)), is_working_day(date(2026, 10, 10))
    (False, True)
    """
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return day.weekday() < SATURDAY


def add_working_hours(start_s: float, hours: float, working_hours: WorkingHours | None = None) -> float:
    """Return when so many working hours have passed since a time, Unix seconds [s].

    >>> friday_s = local_time(date(2026, 11, 27), "16:30").timestamp()
    >>> local_datetime(add_working_hours(friday_s, 2)).isoformat()
    '2026-11-30T09:30:00+08:00'
    """
    remaining_s = hours * 3600
    for begin, end in _spans_after(start_s, working_hours or WorkingHours()):
        begin_s = max(begin.timestamp(), start_s)
        if begin_s + remaining_s <= end.timestamp():
            return begin_s + remaining_s
        remaining_s -= end.timestamp() - begin_s
    raise ValueError(f"{hours} working hours do not pass within {MAX_DAYS} days: check the working hours")


def add_working_days(start_s: float, days: int, working_hours: WorkingHours | None = None) -> float:
    """Return the end of the ``days``-th working day after the day of a time, Unix seconds [s].

    The day of the start does not count, as in administrative deadlines:

    >>> friday_s = local_time(date(2026, 11, 27), "10:00").timestamp()
    >>> local_datetime(add_working_days(friday_s, 1)).isoformat()
    '2026-11-30T17:30:00+08:00'
    """
    if days < 1:
        raise ValueError(f"{days} working days: give one at least, or hours")
    day, working_hours = local_datetime(start_s).date(), working_hours or WorkingHours()
    for _ in range(MAX_DAYS):
        day += timedelta(days=1)
        days -= is_working_day(day)
        if days == 0:
            return working_hours.on(day)[1].timestamp()
    raise ValueError(f"working days do not pass within {MAX_DAYS} days")


def _spans_after(start_s: float, working_hours: WorkingHours) -> Iterator[tuple[datetime, datetime]]:
    """Yield the worked time of each working day that ends after a time."""
    day = local_datetime(start_s).date()
    for _ in range(MAX_DAYS):
        begin, end = working_hours.on(day)
        if is_working_day(day) and end.timestamp() > start_s and end > begin:
            yield begin, end
        day += timedelta(days=1)
