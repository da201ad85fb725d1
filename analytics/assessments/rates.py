"""Data capture, share of good data, and response times to anomalies."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Readings expected, come and good."""

    expected: float
    count: int
    good: int

    def __add__(self, other: Rate) -> Rate:
        """Both together."""
        return Rate(self.expected + other.expected, self.count + other.count, self.good + other.good)

    @property
    def capture(self) -> float | None:
        """Share of the expected readings that came, at most 1; None where none was expected."""
        return min(1.0, self.count / self.expected) if self.expected > 0 else None

    @property
    def validity(self) -> float | None:
        """Share of what came that is good (flag 1 or 2); None where nothing came."""
        return self.good / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Response:
    """How anomalies went: how many, how long they lasted, how soon somebody said what they were [h]."""

    anomalies: int
    is_open: int
    answered: int
    in_time: float | None  # share that closed within the wanted time; those still within it don't count
    median_h: float | None
    longest_h: float | None
    median_answer_h: float | None


def response(
    spans: Sequence[tuple[float, float | None, float | None]], *, now_s: float, wanted_h: float
) -> Response:
    """What anomalies add up to.

    Parameters
    ----------
    spans : start, end (None while open) and first feedback (None without) of each, Unix seconds [s]
    now_s : until when it is known how open ones went on [s]
    wanted_h : within so many hours an anomaly should be over [h]

    """
    lasted = [max(0.0, (now_s if end is None else end) - start) / HOUR_S for start, end, _ in spans]
    closed = [long for long, (_, end, _) in zip(lasted, spans, strict=True) if end is not None]
    due = [
        long <= wanted_h
        for long, (_, end, _) in zip(lasted, spans, strict=True)
        if end is not None or long > wanted_h
    ]
    answers = [max(0.0, said - start) / HOUR_S for start, _, said in spans if said is not None]
    return Response(
        anomalies=len(spans),
        is_open=len(spans) - len(closed),
        answered=len(answers),
        in_time=sum(due) / len(due) if due else None,
        median_h=median(closed) if closed else None,
        longest_h=max(lasted) if lasted else None,
        median_answer_h=median(answers) if answers else None,
    )
