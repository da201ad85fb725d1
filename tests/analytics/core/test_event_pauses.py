"""Tests that an event of a series goes on after a pause, the longer the longer it lasted."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.core import events
from analytics.core.state import SCALARS

HOUR_S, INTERVAL_S = 3_600.0, 300.0
GAP_H = events.EVENT_GAP_READINGS * INTERVAL_S / HOUR_S


def evidence(time_s: float) -> events.TickEvidence:
    """Return strong evidence from one reading."""
    yes, no, number = np.array([True]), np.array([False]), np.array([time_s])
    one = np.ones(1)
    return events.TickEvidence(
        yes, no, no, np.array([1]), 9 * one, number, number, number, one, one, one, one
    )


def events_ended(hours: list[float]) -> int:
    """Return how many events ended while evidence came from each first to each second of some hours."""
    rows = {name: np.array([initial]) for name, initial in SCALARS.items()}
    rows["interval"][:] = INTERVAL_S
    ended = 0
    for begin_h, end_h in zip(hours[::2], hours[1::2], strict=True):
        for time_s in np.arange(begin_h * HOUR_S, end_h * HOUR_S + 1, INTERVAL_S):
            closed, is_open = events.advance_events(
                rows, evidence(time_s), np.array([HOUR_S]), np.zeros(1, np.intp)
            )
            assert is_open[0]
            ended += len(closed)
    return ended


@pytest.mark.parametrize(
    ("lasted_h", "longest_pause_h"), [(0.5, GAP_H), (1.0, 4.0), (4.0, 16.0), (6.0, 24.0), (60.0, 24.0)]
)
def test_an_event_may_pause_for_four_times_as_long_as_it_lasted_up_to_a_day(
    lasted_h: float, longest_pause_h: float
) -> None:
    shorter, longer = lasted_h + longest_pause_h - 0.1, lasted_h + longest_pause_h + 0.1
    assert events_ended([0.0, lasted_h, shorter, shorter + 1]) == 0
    assert events_ended([0.0, lasted_h, longer, longer + 1]) == 1
