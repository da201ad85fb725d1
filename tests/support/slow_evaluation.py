"""Slow reference implementations of the evaluation against labels, each event with each window."""

from __future__ import annotations

import math

Span = tuple[float, float]


def events_against_windows(events: list[Span], windows: list[Span]) -> tuple[int, int, int, list[float]]:
    """Return hits, missed windows, false events, and the delay of each window [s]."""
    delays = [
        min((max(0.0, event[0] - window[0]) for event in events if _overlap(event, window)), default=math.nan)
        for window in windows
    ]
    missed = sum(math.isnan(delay) for delay in delays)
    false = sum(not any(_overlap(event, window) for window in windows) for event in events)
    return len(windows) - missed, missed, false, delays


def in_any_window(time_s: list[float], windows: list[Span]) -> list[bool]:
    """Return for each time whether it is in a window."""
    return [any(start <= one_time_s <= end for start, end in windows) for one_time_s in time_s]


def pointwise(pairs: list[tuple[bool, bool]]) -> tuple[float, float, float, float, float]:
    """Return precision, recall, F1, false-alarm and missed-alarm rate of pairs (in event, flagged)."""
    true, false = pairs.count((True, True)), pairs.count((False, True))
    missed, quiet = pairs.count((True, False)), pairs.count((False, False))

    def ratio(part: float, rest: float) -> float:
        return part / (part + rest) if part + rest else math.nan

    both = math.nan if true + missed == 0 else 2 * true / (2 * true + false + missed)
    return ratio(true, false), ratio(true, missed), both, ratio(false, quiet), ratio(missed, true)


def _overlap(event: Span, window: Span) -> bool:
    end = math.inf if math.isnan(event[1]) else event[1]
    return event[0] <= window[1] and end >= window[0]
