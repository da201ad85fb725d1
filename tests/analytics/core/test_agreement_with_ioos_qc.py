"""Compares the flags of the checks with those of ioos_qc, reading by reading, and explains the differences.

Our checks skip missing values, so where it matters the expected flags are those of ioos_qc on the values
without the missing ones. ioos_qc itself flags neighbours of a missing value as good or unknown without a
check; the tests verify that this is the only difference.
"""

from __future__ import annotations

import gzip
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from analytics.core import checks
from analytics.core.checks import ClimatologyLimits, SeasonalLimits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.uint8]

STEP_S = 900.0
QUANTITIES = {"temp": 1, "cond": 4, "ph": 7, "do": 10, "turb": 13, "stage": 16}  # columns of the file
SOURCES = [*range(8), *QUANTITIES]
# by quantity and for drawn series: a usual step, which the limits are made of
STEPS = {"temp": 0.1, "cond": 2.0, "ph": 0.01, "do": 0.1, "turb": 1.0, "stage": 0.2}


@pytest.fixture(scope="module")
def qartod() -> Any:
    """Heavy, and so imported here alone."""
    from ioos_qc import qartod  # noqa: PLC0415

    return qartod


class EvenSeries:
    """An even cadence of values, some of them missing, and a usual step."""

    def __init__(self, values: Floats, step: float, start_s: float = 1.546e9) -> None:
        self.x, self.step = values, step
        self.t = start_s + STEP_S * np.arange(len(values), dtype=np.float64)
        self.is_present = ~np.isnan(values)


@pytest.fixture(scope="module", params=SOURCES)
def series(request: pytest.FixtureRequest) -> EvenSeries:
    """Drawn by a seed, or recorded in the Logan River, Utah, in 2019, taken as one value every 15 min."""
    if isinstance(request.param, str):
        folder: Path = request.getfixturevalue("recorded")
        with gzip.open(folder / "logan_river" / "MainStreet2019.csv.gz", "rt") as lines:
            rows = [line.split(",")[QUANTITIES[request.param]] for line in islice(lines, 1, 17_000)]
        x = np.array([np.nan if one == "NULL" else float(one) for one in rows])
        assert np.isfinite(x).sum() > 10_000
        return EvenSeries(x, STEPS[request.param])
    random = np.random.default_rng(request.param)
    x = np.round(10 + np.cumsum(random.normal(0, 0.2, 3000)), request.param % 3)
    x[1000:1100] = x[1000]
    x[1500:1600] += random.normal(0, 2, 100)
    x[random.random(3000) < 0.02] += 5
    if request.param % 2:
        x[random.random(3000) < 0.1] = np.nan
        x[2000:2100] = np.nan
    return EvenSeries(x, 0.5)


def same(ours: Flags, theirs: Any, *, varied: bool = True) -> None:
    np.testing.assert_array_equal(ours, np.ma.filled(theirs, 0))
    assert not varied or len(np.unique(ours)) > 1, "nothing was flagged"


def stamps(t: Floats) -> NDArray[np.datetime64]:
    return (t * 1e9).astype("datetime64[ns]")


def test_gross_range(qartod: Any, series: EvenSeries) -> None:
    low, suspect_low, suspect_high, high = np.nanpercentile(series.x, [1, 5, 95, 99])
    ours = checks.gross_range(
        series.x, fail_low=low, fail_high=high, suspect_low=suspect_low, suspect_high=suspect_high
    )
    same(ours, qartod.gross_range_test(series.x, (low, high), (suspect_low, suspect_high)))


def test_rate_of_change(qartod: Any, series: EvenSeries) -> None:
    """The first value has no rate: not evaluated here, good there."""
    suspect, fail = 0.7 * series.step / STEP_S, 2.3 * series.step / STEP_S
    x, t = series.x[series.is_present], series.t[series.is_present]
    ours = checks.rate_of_change(series.x, series.t, suspect_per_s=suspect, fail_per_s=fail)[
        series.is_present
    ]
    theirs = qartod.rate_of_change_test(x, stamps(t), suspect, fail)
    assert (ours[0], theirs[0]) == (2, 1)
    same(ours[1:], theirs[1:])


def test_rate_of_change_beside_missing_values_is_the_only_other_difference(
    qartod: Any, series: EvenSeries
) -> None:
    suspect = 0.7 * series.step / STEP_S
    ours = checks.rate_of_change(series.x, series.t, suspect_per_s=suspect)
    theirs = np.ma.filled(qartod.rate_of_change_test(series.x, stamps(series.t), suspect), 0)
    after = series.is_present[1:] & ~series.is_present[:-1]
    np.testing.assert_array_equal(ours[1:][~after], theirs[1:][~after])
    assert (theirs[1:][after] == 1).all(), "a value after a gap is called good without a look"


def test_spike(qartod: Any, series: EvenSeries) -> None:
    suspect, fail = 0.7 * series.step, 2.3 * series.step
    ours = checks.spike(series.x, suspect=suspect, fail=fail)
    same(ours[series.is_present], qartod.spike_test(series.x[series.is_present], suspect, fail))


def test_spike_beside_missing_values_is_the_only_difference(qartod: Any, series: EvenSeries) -> None:
    suspect, fail = 0.7 * series.step, 2.3 * series.step
    ours = checks.spike(series.x, suspect=suspect, fail=fail)
    theirs = np.ma.filled(qartod.spike_test(series.x, suspect, fail), 0)
    is_present = np.concatenate([[True], series.is_present, [True]])
    beside = series.is_present & ~(is_present[:-2] & is_present[2:])
    first_last = np.flatnonzero(series.is_present)[[0, -1]]  # the ends are those of what is there
    beside[first_last] = True
    np.testing.assert_array_equal(ours[~beside], theirs[~beside])
    assert (theirs[beside] == 2).all()


def test_zero_is_a_limit_here_and_none_there(qartod: Any) -> None:
    x = np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    assert checks.spike(x, suspect=0, fail=0).tolist() == [2, 4, 4, 4, 2]
    assert qartod.spike_test(x, 0, 0).tolist() == [2, 1, 1, 1, 2]


@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_flat_line_by_windows(qartod: Any, series: EvenSeries, tolerance: float) -> None:
    """Theirs must lie below the tolerance and so finds nothing with 0; the next larger number makes them one.

    Where the row that a window begins with is missing, ours looks for a value before it, and may find none
    within the tolerance; theirs is content with what is left of the window, be it one value.
    """
    limit, count = tolerance * series.step, {3: 7, 4: 13}
    ours = checks.flat_window(
        series.x, series.t, tolerance=limit, suspect_s=count[3] * STEP_S, fail_s=count[4] * STEP_S
    )
    theirs = qartod.flat_line_test(
        series.x, stamps(series.t), count[3] * STEP_S, count[4] * STEP_S, np.nextafter(limit, np.inf)
    )
    sure = np.ones(len(ours), np.bool_)
    for rows in count.values():
        sure[rows:] &= series.is_present[:-rows]
    same(ours[sure], theirs[sure], varied=bool(tolerance))
    assert (ours <= theirs).all()
    if not tolerance:
        with_zero = qartod.flat_line_test(series.x, stamps(series.t), count[3] * STEP_S, count[4] * STEP_S)
        assert not np.isin(with_zero, [3, 4]).any(), "their default tolerance finds nothing"


def test_a_lone_value_after_a_gap_is_flat_there_and_not_here(qartod: Any) -> None:
    x = np.array([1.0, *[np.nan] * 9, 7.0, 3.0])
    t = STEP_S * np.arange(12, dtype=np.float64)
    assert qartod.flat_line_test(x, stamps(t), 3 * STEP_S, 5 * STEP_S, 0.1)[10] == 4
    assert checks.flat_window(x, t, tolerance=0.1, suspect_s=3 * STEP_S, fail_s=5 * STEP_S)[10] == 1


def test_two_values_are_judged_here_and_pass_there(qartod: Any) -> None:
    x, t = np.array([1.0, 1.0]), np.array([0.0, STEP_S])
    assert qartod.flat_line_test(x, stamps(t), STEP_S, STEP_S, 0.1).tolist() == [1, 1]
    assert checks.flat_window(x, t, tolerance=0, suspect_s=STEP_S, fail_s=STEP_S).tolist() == [1, 4]


@pytest.mark.parametrize("by", ["deviation", "range"])
@pytest.mark.parametrize("least_n", [2, 6])
def test_attenuated_signal(qartod: Any, series: EvenSeries, by: Any, least_n: int) -> None:
    """Their range is unknown in a window with a missing value, their deviation is not: here neither."""
    suspect, fail, period_s = 0.517 * series.step, 0.0713 * series.step, 12 * STEP_S
    ours = checks.attenuated_signal(
        series.x, series.t, period_s=period_s, suspect=suspect, fail=fail, least_n=least_n, by=by
    )
    considered = series.is_present if by == "range" else np.ones(len(series.x), np.bool_)
    theirs = qartod.attenuated_signal_test(
        series.x[considered],
        stamps(series.t[considered]),
        suspect,
        fail,
        test_period=int(period_s),
        min_obs=least_n,
        check_type={"deviation": "std", "range": "range"}[by],
    )
    same(ours[considered], theirs)


def test_one_value_does_not_stand_still_here(qartod: Any) -> None:
    x, t = np.array([1.0, 5.0]), np.array([0.0, STEP_S])
    assert qartod.attenuated_signal_test(x, stamps(t), 1, 0.5, test_period=3600).tolist() == [4, 1]
    assert checks.attenuated_signal(x, t, period_s=3600, suspect=1, fail=0.5).tolist() == [2, 1]


def test_climatology(qartod: Any, series: EvenSeries) -> None:
    """By month and by hour; a later season holds where two overlap."""
    low, suspect_low, suspect_high, high = np.nanpercentile(series.x, [10, 25, 75, 90])
    table = (
        ("month", (1, 2), (suspect_low, suspect_high), (low, high)),
        ("hour", (6, 9), (low, suspect_high), (low, high)),
        ("hour", (17, 17), (suspect_low, high), None),
    )
    seasons, members = [], []
    for period, span, suspect, fail in table:
        limits = dict(zip(("suspect_low", "suspect_high"), suspect, strict=True))
        limits |= dict(zip(("fail_low", "fail_high"), fail or (), strict=False))
        seasons.append(SeasonalLimits(**{f"{period}s": span}, **limits))  # type: ignore[arg-type]
        members.append({"tspan": span, "vspan": suspect, "fspan": fail, "period": period})
    ours = checks.climatology(series.x, series.t, ClimatologyLimits.of(seasons))
    theirs = qartod.climatology_test(members, series.x, stamps(series.t), np.full(len(series.x), np.nan))
    same(ours[series.is_present], theirs[series.is_present])
    judged = theirs[~series.is_present] == 1
    assert judged.any() or series.is_present.all(), "a missing value is good there"
    assert (ours[~series.is_present] == 9).all()
    east = checks.climatology(series.x, series.t - 28_800, ClimatologyLimits.of(seasons), offset_s=28_800)
    np.testing.assert_array_equal(east, ours)


def test_gap(qartod: Any, series: EvenSeries) -> None:
    """There a row without a value ends a gap, and the first value has the flag of the second."""
    t = series.t + np.where(np.arange(len(series.t)) % 200 >= 150, 7300, 0)
    t += 86_400.0 * (np.arange(len(t)) // 200)  # so that it still rises
    ours = checks.gap(series.x, t, fail_s=7200)[series.is_present]
    theirs = qartod.time_gap_test(stamps(t[series.is_present]), 2)
    same(ours[1:], theirs[1:])
    assert (ours[0], theirs[0]) == (2, theirs[1])


def test_an_infinite_value_is_mostly_missing_there_and_a_value_here(qartod: Any) -> None:
    x, t = np.array([1.0, np.inf, 1.0]), STEP_S * np.arange(3, dtype=np.float64)
    same(checks.gross_range(x, fail_low=0, fail_high=2), qartod.gross_range_test(x, (0, 2)))
    assert qartod.rate_of_change_test(x, stamps(t), 1).tolist() == [1, 9, 3]
    assert checks.rate_of_change(x, t, suspect_per_s=1).tolist() == [2, 3, 3]


def test_what_cannot_run_is_a_sentence_here_and_a_log_line_there(qartod: Any) -> None:
    """Their runner swallows every exception of a check and returns no flags at all."""
    from ioos_qc.config import Config  # noqa: PLC0415
    from ioos_qc.streams import NumpyStream  # noqa: PLC0415

    wrong = {"suspect_span": [0, 9], "fail_span": [3, 5]}
    stream = NumpyStream(np.array([1.0, 4.0]), time=stamps(np.array([0.0, STEP_S])))
    found = [
        one.results
        for result in stream.run(Config({"s": {"qartod": {"gross_range_test": wrong}}}))
        for one in result.results
    ]
    assert found == []
    with pytest.raises(ValueError, match="fail_low 3 is above suspect_low 0"):
        checks.gross_range([1.0, 4.0], suspect_low=0, suspect_high=9, fail_low=3, fail_high=5)
    with pytest.raises(ValueError, match="must fall within"):
        qartod.gross_range_test([1.0, 4.0], (3, 5), (0, 9))
