"""Tests that operator feedback moves limits by small steps, within bounds, in order, and reversibly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core import feedback
from analytics.core.judge import judge
from analytics.core.parameters import DEFAULTS, Parameters
from analytics.core.state import State

COUNTS = st.integers(0, 10_000)


@given(COUNTS, COUNTS)
def test_a_shift_is_bounded_and_each_verdict_moves_it_its_way_or_not_at_all(false: int, true: int) -> None:
    here = feedback.shift_of_verdicts(false, true)
    assert feedback.MIN_SHIFT <= here <= feedback.MAX_SHIFT
    assert feedback.shift_of_verdicts(false + 1, true) >= here >= feedback.shift_of_verdicts(false, true + 1)


def test_no_verdict_moves_nothing() -> None:
    assert feedback.shift_of_verdicts(0, 0) == 0.0
    limits = dict(DEFAULTS) | {"novelty_least": 0.3, "step_deviations": 10.0}
    names = (*feedback.SCORE_LIMITS, *feedback.SHARE_LIMITS)
    assert feedback.shifted_limits(limits, 0.0) == {name: limits[name] for name in names}


@given(st.floats(feedback.MIN_SHIFT, feedback.MAX_SHIFT))
def test_moved_limits_keep_their_order_and_are_limits(by: float) -> None:
    moved = feedback.shifted_limits(dict(DEFAULTS) | {"novelty_least": 0.3, "step_deviations": 10.0}, by)
    assert 0 < moved["score_close"] <= moved["score_weak"] < moved["score_strong"]
    assert moved["novelty_least"] > 0
    Parameters.of(1, **moved)


def test_a_limit_that_is_off_stays_off() -> None:
    off = dict(DEFAULTS) | dict.fromkeys((*feedback.SCORE_LIMITS, *feedback.SHARE_LIMITS), math.nan)
    assert all(math.isnan(limit) for limit in feedback.shifted_limits(off, 2.0).values())


@pytest.mark.parametrize(("by", "sign"), [(feedback.MAX_SHIFT, -1), (feedback.MIN_SHIFT, 1)])
def test_a_series_alarms_less_after_false_alarms_and_more_after_confirmations(by: float, sign: int) -> None:
    random = np.random.default_rng(3)
    time_s = 300 * np.arange(20 * 288, dtype=np.float64)
    value = np.asarray(random.standard_t(3, len(time_s)), np.float64)

    def alarms(**limits: float) -> int:
        slots = np.zeros(len(time_s), np.intp)
        return len(judge(State.empty(1), Parameters.of(1, **limits), slots, time_s, value).events.series)

    assert (alarms(**feedback.shifted_limits(DEFAULTS, by)) - alarms()) * sign > 0


def test_no_score_limit_is_shifted_below_zero() -> None:
    """Below zero the first reading of a series was flagged as a spike before there was a time to flag."""
    lowest = dict(DEFAULTS) | dict.fromkeys(feedback.SCORE_LIMITS, 0.5)
    assert feedback.shifted_limits(lowest, feedback.MIN_SHIFT)["score_strong"] == 0
