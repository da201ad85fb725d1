"""Defines and validates the limits and constants of detection: defaults, and one value per series."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite, log10
from typing import TYPE_CHECKING, Self

import numpy as np

from analytics.core import seasonal_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

# Default of each limit. NaN switches a check off: absolute limits have no default that fits all series.
DEFAULTS: dict[str, float] = {
    "fail_low": np.nan,
    "fail_high": np.nan,
    "suspect_low": np.nan,
    "suspect_high": np.nan,
    "rate_suspect_per_s": np.nan,
    "rate_fail_per_s": np.nan,
    "spike_suspect": np.nan,
    "spike_fail": np.nan,
    "flat_suspect_s": np.nan,
    "flat_fail_s": np.nan,
    "flat_tolerance": 0.0,
    "spread_floor": 1e-9,
    "spread_share": 0.0,
    "warm_up_s": 86_400.0,
    "warm_up_step": np.nan,
    "level_memory_s": 43_200.0,
    "profile_memory_days": 7.0,
    "score_weak": 7.0,
    "score_strong": 8.0,
    "score_close": 7.0,
    "shift_memory_s": 7_200.0,
    "shift_least": 2.0,
    "novelty_least": np.nan,
    "step_deviations": np.nan,
    "attenuated_s": 7_200.0,
    "attenuated_suspect": np.nan,
    "attenuated_fail": np.nan,
    "gap_suspect_s": np.nan,
    "gap_fail_s": np.nan,
    "stuck_clock_suspect_s": np.nan,
    "stuck_clock_fail_s": np.nan,
    "adopt_s": 86_400.0,
    "event_gap_s": 3_600.0,
    "day_offset_s": 0.0,
}
ALARM_BUDGET = "alarms_per_month"
"""Name under which the score limits can be given together, as false alarms a series-month."""
MAX_ALARM_BUDGET = 100.0
_SCORE_AT_ONE_A_MONTH = 8.0  # the judge's score of an excursion that a series shows once a month
MAX_DAY_OFFSET_S = 86_400.0
"""Largest difference of local time and UTC [s]; by it the compiled judge indexes the bins, unchecked."""
_HYSTERESIS = 1.0  # by which weak evidence, and what keeps an event open, may be less rare
PARAMETER_COLUMN = {name: column for column, name in enumerate(DEFAULTS)}

# Pairs (lower, upper): the first limit must not be above the second.
_LIMITS_IN_ORDER = (
    ("fail_low", "suspect_low"),
    ("suspect_low", "suspect_high"),
    ("suspect_high", "fail_high"),
    ("fail_low", "fail_high"),
    ("rate_suspect_per_s", "rate_fail_per_s"),
    ("spike_suspect", "spike_fail"),
    ("flat_suspect_s", "flat_fail_s"),
    ("gap_suspect_s", "gap_fail_s"),
    ("stuck_clock_suspect_s", "stuck_clock_fail_s"),
    ("score_close", "score_weak"),
    ("score_weak", "score_strong"),
    ("attenuated_fail", "attenuated_suspect"),
)
_POSITIVE_LIMITS = (
    "spread_floor",
    "level_memory_s",
    "profile_memory_days",
    "shift_memory_s",
    "attenuated_s",
    "event_gap_s",
    "adopt_s",
)
# Times, distances, shares and scores: a negative one would flag every reading, or none.
_NOT_NEGATIVE_LIMITS = (
    "rate_suspect_per_s",
    "rate_fail_per_s",
    "spike_suspect",
    "spike_fail",
    "flat_suspect_s",
    "flat_fail_s",
    "flat_tolerance",
    "spread_share",
    "warm_up_s",
    "warm_up_step",
    "score_weak",
    "score_strong",
    "score_close",
    "shift_least",
    "novelty_least",
    "step_deviations",
    "attenuated_suspect",
    "attenuated_fail",
    "gap_suspect_s",
    "gap_fail_s",
    "stuck_clock_suspect_s",
    "stuck_clock_fail_s",
)


def with_budget_scores(limits: Mapping[str, float | None]) -> dict[str, float | None]:
    """Replace an alarm budget by the score limits that it stands for; score limits given beside it are kept.

    A budget out of range is left as it is, so that `parameter_problems` reports it.

    Parameters
    ----------
    limits : by name; ``alarms_per_month`` is the accepted number of false alarms a series-month, None
        switches the detectors that score off

    Examples
    --------
    >>> with_budget_scores({"alarms_per_month": 0.1, "fail_high": 9})
    {'score_close': 8.0, 'score_weak': 8.0, 'score_strong': 9.0, 'fail_high': 9}

    """
    if ALARM_BUDGET not in limits:
        return dict(limits)
    others = {name: value for name, value in limits.items() if name != ALARM_BUDGET}
    budget = limits[ALARM_BUDGET]
    if budget is None:
        return dict.fromkeys(("score_close", "score_weak", "score_strong")) | others
    if not 0 < budget <= MAX_ALARM_BUDGET:
        return dict(limits)
    strong = _SCORE_AT_ONE_A_MONTH - log10(budget)
    return {
        "score_close": strong - _HYSTERESIS,
        "score_weak": strong - _HYSTERESIS,
        "score_strong": strong,
    } | others


def parameter_problems(limits: Mapping[str, float | None], base: Mapping[str, float] = DEFAULTS) -> list[str]:
    """Return the errors in given limits, one sentence each; empty if they are usable.

    Parameters
    ----------
    limits : by name; None switches one off
    base : the limits that they override, by name: contradictions with these are errors, too

    Examples
    --------
    >>> parameter_problems({"suspectlow": 6.5})
    ["there is no limit 'suspectlow' (did you mean 'suspect_low'?)"]
    >>> parameter_problems({"suspect_low": 9, "suspect_high": 6})
    ['suspect_low 9 is above suspect_high 6']
    >>> parameter_problems({"flat_suspect_s": -1})
    ['flat_suspect_s -1 is below 0']
    >>> parameter_problems({"fail_high": float("inf")})
    ['fail_high inf is not a finite number']
    >>> parameter_problems({"alarms_per_month": 0})
    ['alarms_per_month 0 must be above 0 and at most 100 (false alarms that are accepted a month)']

    """
    limits = with_budget_scores(limits)
    problems: list[str] = []
    for name, value in limits.items():
        if name == ALARM_BUDGET:
            problems.append(
                f"{name} {value:g} must be above 0 and at most {MAX_ALARM_BUDGET:g} (false alarms that are"
                " accepted a month)"
            )
        elif seasonal_limits.is_seasonal(name):
            problems += _name_problems(name)
        elif name not in DEFAULTS:
            suggestions = get_close_matches(name.lower(), [*DEFAULTS, ALARM_BUDGET], 1)
            remedy = (
                f" (did you mean {suggestions[0]!r}?)"
                if suggestions
                else f": there are {', '.join([ALARM_BUDGET, *DEFAULTS])}"
            )
            problems.append(f"there is no limit {name[:80]!r}{remedy}")
        if name != ALARM_BUDGET and value is not None and not isfinite(value):
            problems.append(f"{name} {value:g} is not a finite number")
    if problems:
        return problems
    effective = DEFAULTS | dict(base) | {name: np.nan if one is None else one for name, one in limits.items()}
    for low, high in _LIMITS_IN_ORDER:
        if effective[low] > effective[high] and (low in limits or high in limits):
            problems.append(f"{low} {effective[low]:g} is above {high} {effective[high]:g}")
    given = {name: value for name, value in limits.items() if value is not None}
    problems += seasonal_limits.contradictions(seasonal_limits.seasonal_table(given))
    problems += [
        f"{name} {effective[name]:g} must be above 0"
        for name in _POSITIVE_LIMITS
        if name in limits and not effective[name] > 0
    ]
    problems += [
        f"{name} {effective[name]:g} is below 0"
        for name in _NOT_NEGATIVE_LIMITS
        if name in limits and effective[name] < 0
    ]
    if "day_offset_s" in limits and not abs(effective["day_offset_s"]) <= MAX_DAY_OFFSET_S:
        problems.append(_day_offset_problem(effective["day_offset_s"]))
    return problems


def _day_offset_problem(offset_s: float) -> str:
    return (
        f"day_offset_s {offset_s:g} must be between {-MAX_DAY_OFFSET_S:g} and {MAX_DAY_OFFSET_S:g}"
        " (local time less UTC, in seconds)"
    )


def _name_problems(name: str) -> list[str]:
    """Return what is wrong with the name of a seasonal limit, at most one sentence."""
    try:
        seasonal_limits.parse_name(name)
    except ValueError as error:
        return [str(error)]
    return []


@dataclass(frozen=True, slots=True)
class Parameters:
    """Limits of n series, each ``(n_series,) float64``; values in the series' canonical unit.

    Attributes
    ----------
    fail_low, fail_high, suspect_low, suspect_high : gross range (QARTOD test 4)
    rate_suspect_per_s, rate_fail_per_s : rate of change (QARTOD test 7) [1/s]
    spike_suspect, spike_fail : spike (QARTOD test 6), distance from the mean of both neighbours
    flat_suspect_s, flat_fail_s : flat line (QARTOD test 8), time within ``flat_tolerance`` [s]
    flat_tolerance : largest range of values that counts as constant
    spread_floor : lower bound of the spread: the sensor's resolution, or a little more
    spread_share : lower bound of the spread as a share of the expected value
    warm_up_s : time after its first reading during which a series is not scored, at least until 20 values [s]
    warm_up_step : step from the value before, at most an hour old, above which a reading is suspect during
        that time, when the series has no scale of its own
    level_memory_s, profile_memory_days : time constants of the baseline [s], [d]
    score_weak, score_strong, score_close : scores (`Judgement`) above which a reading is weak evidence, opens
        an event, or keeps one open; 8 is an alarm budget of one false alarm a month, 9 one in ten months
    shift_memory_s, shift_least : memory [s] and smallest alarm limit [spreads] of the EWMA control chart
    novelty_least : share of the range so far by which an anomalous reading must exceed a record
    step_deviations : number of usual steps (root mean square) above which a step is physically implausible
    attenuated_s, attenuated_suspect, attenuated_fail : memory [s] and smallest standard deviations
    gap_suspect_s, gap_fail_s : gap (QARTOD test 1), time since the value before [s]
    stuck_clock_suspect_s, stuck_clock_fail_s : times for which the clock of a device may stand still while
        readings arrive [s]; applied by ingest, which knows when a reading was received
    adopt_s : duration after which a new level is learned [s]; this and all memories in seconds are at least
        8 reporting intervals
    event_gap_s : flagged readings closer than this, or than 36 reporting intervals, belong to one event [s]
    day_offset_s : local time minus UTC, for the daily profile [s]
    table : ``(len(DEFAULTS), n_series)``, whose rows the other attributes are
    by_series : its transpose, (n_series, len(DEFAULTS)), contiguous
    seasonal : (n_tables, 4, 12, 24), limits by month and hour of the local day (QARTOD test 5)
    seasonal_of : (n_series,), index of the table of each series; −1 without one
    needs_records : whether a series has a limit of novelty or of steps, which need records of novelty

    """

    table: NDArray[np.float64]
    by_series: NDArray[np.float64]
    seasonal: NDArray[np.float64]
    seasonal_of: NDArray[np.intp]
    needs_records: bool
    fail_low: NDArray[np.float64]
    fail_high: NDArray[np.float64]
    suspect_low: NDArray[np.float64]
    suspect_high: NDArray[np.float64]
    rate_suspect_per_s: NDArray[np.float64]
    rate_fail_per_s: NDArray[np.float64]
    spike_suspect: NDArray[np.float64]
    spike_fail: NDArray[np.float64]
    flat_suspect_s: NDArray[np.float64]
    flat_fail_s: NDArray[np.float64]
    flat_tolerance: NDArray[np.float64]
    spread_floor: NDArray[np.float64]
    spread_share: NDArray[np.float64]
    warm_up_s: NDArray[np.float64]
    warm_up_step: NDArray[np.float64]
    level_memory_s: NDArray[np.float64]
    profile_memory_days: NDArray[np.float64]
    score_weak: NDArray[np.float64]
    score_strong: NDArray[np.float64]
    score_close: NDArray[np.float64]
    shift_memory_s: NDArray[np.float64]
    shift_least: NDArray[np.float64]
    novelty_least: NDArray[np.float64]
    step_deviations: NDArray[np.float64]
    attenuated_s: NDArray[np.float64]
    attenuated_suspect: NDArray[np.float64]
    attenuated_fail: NDArray[np.float64]
    gap_suspect_s: NDArray[np.float64]
    gap_fail_s: NDArray[np.float64]
    stuck_clock_suspect_s: NDArray[np.float64]
    stuck_clock_fail_s: NDArray[np.float64]
    adopt_s: NDArray[np.float64]
    event_gap_s: NDArray[np.float64]
    day_offset_s: NDArray[np.float64]

    @classmethod
    def of(cls, n_series: int, **limits: ArrayLike) -> Self:
        """Build the limits of n series; those not given have their defaults.

        Raises
        ------
        ValueError
            If limits contradict each other, naming both and the series; on an unknown name.

        Examples
        --------
        >>> Parameters.of(2, fail_low=0, fail_high=[14, 40]).fail_high
        array([14., 40.])

        """
        unknown_names = limits.keys() - DEFAULTS.keys()
        if unknown_names:
            raise ValueError(f"there is no limit {min(unknown_names)!r}; there are {', '.join(DEFAULTS)}")
        table = np.empty((len(DEFAULTS), n_series))
        for row, (name, default) in zip(table, DEFAULTS.items(), strict=True):
            row[:] = np.asarray(limits.get(name, default), np.float64)
        parameters = cls.from_table(table)
        parameters.check()
        return parameters

    @classmethod
    def from_table(
        cls,
        table: NDArray[np.float64],
        seasonal: NDArray[np.float64] | None = None,
        seasonal_of: NDArray[np.intp] | None = None,
    ) -> Self:
        """Build limits, unvalidated, from rows in the order of `DEFAULTS`, ``(len(DEFAULTS), n_series)``."""
        if seasonal is None or seasonal_of is None:
            seasonal = np.empty((0, *seasonal_limits.SHAPE))
            seasonal_of = np.full(table.shape[1], -1, np.intp)
        record_limits = table[[PARAMETER_COLUMN["novelty_least"], PARAMETER_COLUMN["step_deviations"]]]
        needs_records = bool((record_limits >= 0).any())
        return cls(table, np.ascontiguousarray(table.T), seasonal, seasonal_of, needs_records, *table)

    def with_seasonal(self, limits_by_series: Mapping[int, Mapping[str, float]]) -> Self:
        """Return these limits with the seasonal ones (`seasonal_limits`) of some series, by their index.

        Raises
        ------
        ValueError
            On the name of no seasonal limit.

        """
        tables = [seasonal_limits.seasonal_table(limits) for limits in limits_by_series.values()]
        seasonal_of = np.full(self.table.shape[1], -1, np.intp)
        seasonal_of[list(limits_by_series)] = np.arange(len(tables))
        return type(self).from_table(
            self.table, np.array(tables).reshape(-1, *seasonal_limits.SHAPE), seasonal_of
        )

    def check(self) -> None:
        """Raise ValueError if limits contradict each other."""
        for low, high in _LIMITS_IN_ORDER:
            lower, upper = getattr(self, low), getattr(self, high)
            for series in np.flatnonzero(lower > upper)[:1]:
                raise ValueError(
                    f"series {series}: {low} {lower[series]:g} is above {high} {upper[series]:g}"
                )
        for name in _POSITIVE_LIMITS:
            for series in np.flatnonzero(~(getattr(self, name) > 0))[:1]:
                raise ValueError(f"series {series}: {name} {getattr(self, name)[series]:g} must be above 0")
        for series in np.flatnonzero(~(np.abs(self.day_offset_s) <= MAX_DAY_OFFSET_S))[:1]:
            raise ValueError(f"series {series}: {_day_offset_problem(float(self.day_offset_s[series]))}")

    def select_series(self, series: NDArray[np.intp] | slice) -> Self:
        """Return the limits of some series."""
        return type(self).from_table(self.table[:, series], self.seasonal, self.seasonal_of[series])
