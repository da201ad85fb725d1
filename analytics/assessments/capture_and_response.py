"""Computes data capture rates, shares of good data, and durations of and response times to anomalies."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class CaptureRate:
    """Counts of expected, received and good readings (flag 1 or 2) over a period."""

    expected: float
    count: int
    good: int

    def __add__(self, other: CaptureRate) -> CaptureRate:
        """Return the sums of both."""
        return CaptureRate(self.expected + other.expected, self.count + other.count, self.good + other.good)

    @property
    def capture(self) -> float | None:
        """Share of the expected readings that were received, at most 1; None where none was expected."""
        return min(1.0, self.count / self.expected) if self.expected > 0 else None

    @property
    def validity(self) -> float | None:
        """Share of the received readings that are good (flag 1 or 2); None where none was received."""
        return self.good / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class ResponseStatistics:
    """Number and duration of anomalies, and time to the first feedback of an operator.

    Attributes
    ----------
    anomalies, is_open : number of all, and of those still open
    answered : number with feedback
    in_time : share that closed within the target time, without open ones that are still within it; None
        where there is none
    median_h : median duration of the closed ones [h]
    longest_h : longest duration of all [h]
    median_answer_h : median time from start to first feedback [h]

    """

    anomalies: int
    is_open: int
    answered: int
    in_time: float | None
    median_h: float | None
    longest_h: float | None
    median_answer_h: float | None


def response_statistics(
    spans: Sequence[tuple[float, float | None, float | None]], *, now_s: float, target_h: float
) -> ResponseStatistics:
    """Return the statistics of anomalies.

    Parameters
    ----------
    spans : start, end (None while open) and first feedback (None without) of each, Unix seconds [s]
    now_s : time up to which open anomalies are known to last [s]
    target_h : target time within which an anomaly should end [h]

    """
    durations_h = [max(0.0, (now_s if end is None else end) - start) / HOUR_S for start, end, _ in spans]
    closed_h = [
        duration_h for duration_h, (_, end, _) in zip(durations_h, spans, strict=True) if end is not None
    ]
    was_in_time = [
        duration_h <= target_h
        for duration_h, (_, end, _) in zip(durations_h, spans, strict=True)
        if end is not None or duration_h > target_h
    ]
    answers = [
        max(0.0, feedback_s - start) / HOUR_S for start, _, feedback_s in spans if feedback_s is not None
    ]
    return ResponseStatistics(
        anomalies=len(spans),
        is_open=len(spans) - len(closed_h),
        answered=len(answers),
        in_time=sum(was_in_time) / len(was_in_time) if was_in_time else None,
        median_h=median(closed_h) if closed_h else None,
        longest_h=max(durations_h) if durations_h else None,
        median_answer_h=median(answers) if answers else None,
    )
