"""Compares the checks over time windows, clocks and seasons with slow reference implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core import checks
from analytics.core.checks import ClimatologyLimits, SeasonalLimits, windows
from tests.support import slow_checks

if TYPE_CHECKING:
    from collections.abc import Callable

values = st.lists(st.one_of(st.floats(-100, 100), st.sampled_from([0.0, 1.0, 1.5, np.nan])), max_size=40)
whole_gaps = st.lists(st.integers(1, 1000), min_size=40, max_size=40)
bound = st.one_of(st.just(np.nan), st.integers(0, 5000).map(float))


def pair(one: float, other: float) -> tuple[float, float]:
    return (min(one, other), max(one, other)) if not np.isnan(one + other) else (one, other)


def times(gap: list[int], n: int) -> list[float]:
    return [1.7e9 + float(total) for total in np.cumsum(gap)[:n]]


@given(values, whole_gaps, st.sampled_from([0.0, 0.5, 10.0]), bound, bound)
def test_flat_window(x: list[float], gap: list[int], tolerance: float, one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    limits = {"tolerance": tolerance, "suspect_s": suspect, "fail_s": fail}
    t = times(gap, len(x))
    found = checks.flat_window(x, t, **limits)
    assert found.tolist() == slow_checks.flat_window(x, t, **limits)
    assert (found >= checks.flat_line(x, t, **limits)).all(), "what a run finds, a window finds"


@given(values, whole_gaps, bound, bound)
def test_gap(x: list[float], gap: list[int], one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    t = times(gap, len(x))
    found = checks.gap(x, t, suspect_s=suspect, fail_s=fail)
    assert found.tolist() == slow_checks.gap(x, t, suspect_s=suspect, fail_s=fail)


@given(st.lists(st.sampled_from([0.0, 60.0, 120.0, np.nan]), max_size=40), whole_gaps, bound, bound)
def test_stuck_clock(measured: list[float], gap: list[int], one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    received = times(gap, len(measured))
    found = checks.stuck_clock(measured, received, suspect_s=suspect, fail_s=fail)
    assert found.tolist() == slow_checks.stuck_clock(measured, received, suspect_s=suspect, fail_s=fail)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("by", ["deviation", "range"])
def test_attenuated_signal(seed: int, by: str) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(1e4, 1, 150) * random.choice([1.0, 1.0001, 1.01], 150)
    x[60:90] = 12_345.678
    x[random.random(150) < 0.1] = np.nan
    x[random.random(150) < 0.02] = np.inf
    t = 1.7e9 + np.cumsum(random.integers(1, 600, 150)).astype(float)
    limits = {"period_s": 3000.0, "suspect": 5.0, "fail": 1.0, "least_n": int(random.integers(2, 5))}
    found = checks.attenuated_signal(x, t, by=by, **limits)  # type: ignore[arg-type]
    assert found.tolist() == slow_checks.attenuated_signal(x.tolist(), t.tolist(), by=by, **limits)  # type: ignore[arg-type]
    assert {1, 2, 3, 4, 9} >= set(found.tolist()) > {1, 4}


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), min_size=1),
)
def test_windows_hold_what_they_should(x: list[float], ends: list[tuple[int, int]]) -> None:
    array = np.array(x)
    begin, end = np.array([(min(*one, len(x)), min(max(one), len(x))) for one in ends]).T
    low, high = (
        np.array([one(x[b:e], default=np.nan) for b, e in zip(begin, end, strict=True)]) for one in (min, max)
    )
    full = begin < end
    np.testing.assert_array_equal(windows.window_ranges(array, begin, end)[full], (high - low)[full])
    expected = [np.std(x[b:e]) for b, e in zip(begin[full], end[full], strict=True)]
    np.testing.assert_allclose(
        windows.window_deviations(array, begin, end)[full], expected, rtol=1e-9, atol=1e-9
    )


def test_a_huge_value_is_forgotten_with_its_window() -> None:
    x = np.array([1e300, -1e300, 1.0, 2.0, 1.0, 2.0])
    found = checks.attenuated_signal(x, np.arange(6.0), period_s=2, fail=0.6)
    assert found.tolist() == [2, 1, 1, 4, 4, 4]


spans = st.tuples(st.integers(1, 12), st.integers(1, 12)), st.tuples(st.integers(0, 23), st.integers(0, 23))
limits = st.tuples(*[st.one_of(st.just(np.nan), st.floats(0, 5)) for _ in range(4)])


@given(
    st.lists(st.one_of(st.floats(-20, 20), st.sampled_from([np.nan, np.inf])), min_size=40, max_size=40),
    st.lists(st.integers(0, 2_000_000_000), min_size=40, max_size=40),
    st.lists(st.tuples(*spans, limits), max_size=4),
    st.sampled_from([0.0, 28_800.0, -12_600.0]),
)
def test_climatology(
    x: list[float],
    seconds: list[int],
    drawn: list[tuple[tuple[int, int], tuple[int, int], tuple[float, ...]]],
    offset_s: float,
) -> None:
    t = [float(second) for second in seconds]
    seasons = [SeasonalLimits(months, hours, -a, b, -a - c, b + d) for months, hours, (a, b, c, d) in drawn]
    found = checks.climatology(x, t, ClimatologyLimits.of(seasons), offset_s=offset_s)
    assert found.tolist() == slow_checks.climatology(x, t, list(map(tuple, seasons)), offset_s=offset_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: ClimatologyLimits.of([SeasonalLimits(months=(0, 3))]),
            "months 0 to 3 are not within 1 to 12",
        ),
        (
            lambda: ClimatologyLimits.of([SeasonalLimits(hours=(2, 24))]),
            "hours 2 to 24 are not within 0 to 23",
        ),
        (
            lambda: checks.climatology(
                [1], [0], ClimatologyLimits.of([SeasonalLimits((7, 7), (3, 4), 9, 5)])
            ),
            r"suspect_low 9 is above suspect_high 5 at \[6, 3\]",
        ),
        (
            lambda: checks.gross_range([1], fail_low=[1, 7], suspect_low=4),  # type: ignore[arg-type]
            r"fail_low 7 is above suspect_low 4 at \[1\]",
        ),
        (lambda: checks.gap([1], [0], suspect_s=2, fail_s=1), "suspect_s 2 is above fail_s 1"),
        (lambda: checks.stuck_clock([1], [0], suspect_s=2, fail_s=1), "suspect_s 2 is above fail_s 1"),
        (
            lambda: checks.flat_window([1], [0], tolerance=0, suspect_s=2, fail_s=1),
            "suspect_s 2 is above fail_s 1",
        ),
        (
            lambda: checks.attenuated_signal([1], [0], period_s=1, suspect=1, fail=2),
            "fail 2 is above suspect 1",
        ),
        (lambda: checks.attenuated_signal([1], [0], period_s=0), "period_s 0 must be above 0"),
        (lambda: checks.attenuated_signal([1], [0], period_s=1, least_n=1), "least_n 1 is below 2"),
        (
            lambda: checks.attenuated_signal([1], [0], period_s=1, by="mood"),  # type: ignore[arg-type]
            "by 'mood' is none of deviation, range",
        ),
        (lambda: checks.gap([1, 2], [0]), r"values have the shape \(2,\), but times_s \(1,\)"),
    ],
)
def test_what_cannot_be_is_named(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
