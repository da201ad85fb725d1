"""Compares the quality checks with slow reference implementations, reading by reading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core import checks
from tests.support import slow_checks

values = st.lists(st.one_of(st.floats(-100, 100), st.sampled_from([0.0, 1.0, np.nan])), max_size=40)
limit = st.one_of(st.just(np.nan), st.floats(0, 50))
gaps = st.lists(st.floats(0.5, 1000), min_size=40, max_size=40)


def pair(one: float, other: float) -> tuple[float, float]:
    return (min(one, other), max(one, other)) if not np.isnan(one + other) else (one, other)


def times(gap: list[float], n: int) -> list[float]:
    return [1.7e9 + float(total) for total in np.cumsum(gap)[:n]]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30), limit, limit)
def test_gross_range(x: list[float], one: float, other: float) -> None:
    low, high = pair(one, other)
    limits = {"fail_low": -high, "fail_high": high, "suspect_low": -low, "suspect_high": low}
    assert checks.gross_range(x, **limits).tolist() == slow_checks.gross_range(x, **limits)


@given(values, gaps, limit, limit)
def test_rate_of_change(x: list[float], gap: list[float], one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    t = times(gap, len(x))
    found = checks.rate_of_change(x, t, suspect_per_s=suspect, fail_per_s=fail)
    assert found.tolist() == slow_checks.rate_of_change(x, t, suspect_per_s=suspect, fail_per_s=fail)


@given(values, limit, limit)
def test_spike(x: list[float], one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    assert checks.spike(x, suspect=suspect, fail=fail).tolist() == slow_checks.spike(
        x, suspect=suspect, fail=fail
    )


@given(values, gaps, st.sampled_from([0.0, 0.5, 10.0]), st.floats(0, 5000), st.floats(0, 5000))
def test_flat_line(x: list[float], gap: list[float], tolerance: float, one: float, other: float) -> None:
    suspect, fail = pair(one, other)
    t = times(gap, len(x))
    found = checks.flat_line(x, t, tolerance=tolerance, suspect_s=suspect, fail_s=fail)
    assert found.tolist() == slow_checks.flat_line(x, t, tolerance=tolerance, suspect_s=suspect, fail_s=fail)


def test_zero_is_a_limit() -> None:
    assert checks.gross_range([-1.0, 0.0, 1.0], fail_low=0, fail_high=0).tolist() == [4, 1, 4]
    assert checks.spike([0, 1, 0], fail=0).tolist() == [2, 4, 2]


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (checks.rate_of_change, {"times_s": [0, 1], "suspect_per_s": 2, "fail_per_s": 1}),
        (checks.spike, {"suspect": 2, "fail": 1}),
        (checks.flat_line, {"times_s": [0, 1], "tolerance": 0, "suspect_s": 2, "fail_s": 1}),
    ],
)
def test_limits_that_contradict_each_other_are_both_named(
    check: object, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"suspect\w* 2 is above fail\w* 1"):
        check([1.0, 2.0], **arguments)  # type: ignore[operator]


def test_the_input_is_left_untouched() -> None:
    x = np.array([1.0, np.nan, 3.0])
    before = x.copy()
    checks.gross_range(x, fail_high=2)
    checks.spike(x, fail=1)
    np.testing.assert_array_equal(x, before)
