"""Flags values outside of fixed limits (QARTOD test 4, gross range) or seasonal ones (5, climatology)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from analytics.core.checks.limits import aligned_arrays, check_limit_order
from analytics.core.flags import Flag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]
    Limit = float | Floats

MONTHS, HOURS = 12, 24


def gross_range(
    values: ArrayLike,
    *,
    fail_low: Limit = np.nan,
    fail_high: Limit = np.nan,
    suspect_low: Limit = np.nan,
    suspect_high: Limit = np.nan,
) -> Flags:
    """Flag values outside of the possible range (FAIL) or of the usual range (SUSPECT). QARTOD test 4.

    Parameters
    ----------
    values : (n,) float64, NaN means missing; infinities FAIL
    fail_low, fail_high, suspect_low, suspect_high : inclusive limits; one for all or (n,)

    Returns
    -------
    (n,) uint8 of `Flag`

    Raises
    ------
    ValueError
        Naming both limits if they contradict each other.

    Examples
    --------
    >>> gross_range([1, 7, 15, np.nan], fail_low=0, fail_high=14, suspect_low=4)
    array([3, 1, 4, 9], dtype=uint8)

    """
    check_limit_order(
        fail_low=fail_low, suspect_low=suspect_low, suspect_high=suspect_high, fail_high=fail_high
    )
    x = np.asarray(values, np.float64)
    flags = np.full(x.shape, Flag.PASS, np.uint8)
    flags[(x < suspect_low) | (x > suspect_high)] = Flag.SUSPECT
    flags[(x < fail_low) | (x > fail_high) | np.isinf(x)] = Flag.FAIL
    flags[np.isnan(x)] = Flag.MISSING
    return flags


class SeasonalLimits(NamedTuple):
    """Limits that apply in some months at some hours of the day.

    Attributes
    ----------
    months : first and last, 1 to 12; (11, 2) is November to February
    hours : first and last, 0 to 23; (22, 3) is 22:00 to 3:59:59
    suspect_low, suspect_high, fail_low, fail_high : as of `gross_range`

    """

    months: tuple[int, int] = (1, 12)
    hours: tuple[int, int] = (0, 23)
    suspect_low: float = np.nan
    suspect_high: float = np.nan
    fail_low: float = np.nan
    fail_high: float = np.nan


class ClimatologyLimits(NamedTuple):
    """Limits by month and hour of the local day, ``(12, 24)`` each; NaN means no limit."""

    suspect_low: Floats
    suspect_high: Floats
    fail_low: Floats
    fail_high: Floats

    @classmethod
    def of(cls, seasons: Iterable[SeasonalLimits]) -> Self:
        """Build the table from seasons; where they overlap, all limits of the last one apply.

        Raises
        ------
        ValueError
            If a month or an hour is out of range.

        """
        table = np.full((len(cls._fields), MONTHS, HOURS), np.nan)
        for season in seasons:
            months = cyclic_range("months", season.months, 1, MONTHS)
            hours = cyclic_range("hours", season.hours, 0, HOURS)
            limits = [getattr(season, name) for name in cls._fields]
            table[:, months[:, None], hours] = np.array(limits)[:, None, None]
        return cls(*table)


def climatology(
    values: ArrayLike, times_s: ArrayLike, climate: ClimatologyLimits, *, offset_s: float = 0.0
) -> Flags:
    """Flag values outside of the limits of their month and hour of the day. QARTOD test 5.

    Parameters
    ----------
    values : (n,) float64, NaN means missing; infinities FAIL
    times_s : (n,) float64, Unix seconds [s]
    climate : limits by month and hour
    offset_s : local time minus UTC [s]

    Returns
    -------
    (n,) uint8 of `Flag`; NOT_EVALUATED in months and hours without a limit

    Raises
    ------
    ValueError
        Naming both limits and the index in the table, from 0, if they contradict each other.

    Examples
    --------
    >>> summer = ClimatologyLimits.of([SeasonalLimits(months=(6, 8), suspect_high=28)])
    >>> climatology([30, 30], [1719835200, 1704110400], summer)  # July and January 2024
    array([3, 2], dtype=uint8)

    """
    suspect_low, suspect_high, fail_low, fail_high = climate
    check_limit_order(
        fail_low=fail_low, suspect_low=suspect_low, suspect_high=suspect_high, fail_high=fail_high
    )
    x, t = aligned_arrays(values, times_s)
    month, hour = month_and_hour(t, offset_s)
    cell_limits = {name: table[month, hour] for name, table in climate._asdict().items()}
    flags = gross_range(x, **cell_limits)
    has_no_limit = np.all([np.isnan(limit) for limit in cell_limits.values()], axis=0)
    flags[has_no_limit & ~np.isnan(x)] = Flag.NOT_EVALUATED
    return flags


def month_and_hour(times_s: Floats, offset_s: Limit) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the month and the hour of the local day of some times, both from 0, (n,) each."""
    local = np.floor(times_s + offset_s).astype("datetime64[s]")
    month = local.astype("datetime64[M]").astype(np.int64) % MONTHS
    hour = local.astype("datetime64[h]").astype(np.int64) % HOURS
    return month, hour


def cyclic_range(name_of_range: str, span: tuple[int, int], lowest: int, count: int) -> NDArray[np.intp]:
    """Return the table indices from the first to the last, wrapping around the end of the year or day."""
    first, last = span
    if not (lowest <= first < lowest + count and lowest <= last < lowest + count):
        raise ValueError(f"{name_of_range} {first} to {last} are not within {lowest} to {lowest + count - 1}")
    return (first - lowest + np.arange((last - first) % count + 1)) % count
