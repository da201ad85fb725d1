"""Compares the evaluation of detections against labels with a slow reference implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core.evaluation import f1, in_any_window, match_events_to_windows, pointwise_scores
from tests.support import slow_evaluation as naive

MOMENT = st.integers(0, 30).map(float)
SPANS = st.lists(st.tuples(MOMENT, MOMENT).map(sorted).map(tuple), max_size=8)


@given(events=SPANS, windows=SPANS, opened=st.integers(0, 8))
def test_events_against_windows_equals_its_twin(
    events: list[tuple[float, float]], windows: list[tuple[float, float]], opened: int
) -> None:
    events = [(start, math.nan if i == opened else end) for i, (start, end) in enumerate(events)]
    hits, missed, false, delay_s = naive.events_against_windows(events, windows)
    found = match_events_to_windows(
        [start for start, _ in events],
        [end for _, end in events],
        [start for start, _ in windows],
        [end for _, end in windows],
    )
    assert found[:3] == (hits, missed, false)
    np.testing.assert_array_equal(found.delay_s, np.array(delay_s))


@given(time_s=st.lists(MOMENT), windows=SPANS)
def test_inside_equals_its_twin(time_s: list[float], windows: list[tuple[float, float]]) -> None:
    found = in_any_window(np.array(time_s), [start for start, _ in windows], [end for _, end in windows])
    assert found.tolist() == naive.in_any_window(time_s, windows)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_pointwise_equals_its_twin(pairs: list[tuple[bool, bool]]) -> None:
    found = pointwise_scores([off for off, _ in pairs], [flagged for _, flagged in pairs])
    assert found == pytest.approx(naive.pointwise(pairs), nan_ok=True)


def test_nothing_found_is_a_recall_of_zero_and_no_precision() -> None:
    found = pointwise_scores([True, False], [False, False])
    assert (found.recall, found.f1, found.far, found.mar) == (0, 0, 0, 1)
    assert math.isnan(found.precision)
    assert math.isnan(f1(1.0, math.nan))


def test_what_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="window 1 ends at 3 s, before it starts at 4 s"):
        match_events_to_windows([1], [2], [1, 4], [2, 3])
    with pytest.raises(ValueError, match="2 readings against flags of 1"):
        pointwise_scores([True, False], [True])
