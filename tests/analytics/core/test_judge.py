"""Tests that the judge gives identical flags, events and state by ticks, by blocks, at once, or restarted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.core import checks
from analytics.core.flags import Flag, Rule
from analytics.core.judge import judge
from analytics.core.parameters import PARAMETER_COLUMN, Parameters
from analytics.core.state import RECORD_COLUMN, State
from tests.support import slow_checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.core.judge import Judgement

N_SERIES = 3
LIMITS = {
    "fail_low": -50.0,
    "fail_high": 150.0,
    "spike_suspect": 20.0,
    "spike_fail": 40.0,
    "rate_suspect_per_s": 1.0,
    "flat_suspect_s": 3600.0,
    "flat_fail_s": 7200.0,
    "spread_floor": 0.1,
    "warm_up_s": 6 * 3600.0,
    "novelty_least": 0.3,
    "step_deviations": 10.0,
}


class RandomHistory:
    """A history of some series, in the order of its arrival, with everything that may go wrong in it."""

    def __init__(self, seed: int, n: int = 400) -> None:
        random = np.random.default_rng(seed)
        self.series = random.integers(0, N_SERIES, n)
        step = random.choice([60.0, 300.0, 300.0, 900.0, 20_000.0], n, p=[0.1, 0.4, 0.3, 0.19, 0.01])
        self.time_s: NDArray[np.float64] = np.empty(n)
        for one in range(N_SERIES):
            mine = self.series == one
            self.time_s[mine] = 1.7e9 + np.cumsum(step[mine])
        daily = 10 * np.sin(self.time_s / 86_400 * 2 * np.pi)
        self.value: NDArray[np.float64] = 50 + daily + random.normal(0, 1, n)
        self.value[random.random(n) < 0.02] += 60
        self.value[random.random(n) < 0.03] = np.nan
        self.value[random.random(n) < 0.005] = random.choice([np.inf, -np.inf, 1e300])
        stuck = slice(n // 2, n // 2 + n // 8)
        self.value[stuck] = 42.0

    def judged(
        self, cuts: list[int], *, restart: bool = False
    ) -> tuple[State, list[tuple[object, ...]], dict[object, object]]:
        """Feed it in blocks; rows by (series, time), the final content of events by (series, start)."""
        state = State.empty(N_SERIES)
        parameters = Parameters.of(N_SERIES, **LIMITS)
        rows: dict[tuple[int, float], list[object]] = {}
        events: dict[object, object] = {}
        edges = [0, *sorted(cuts), len(self.series)]
        for begin, end in itertools.pairwise(edges):
            part = slice(begin, end)
            order = np.lexsort((self.time_s[part], self.series[part]))
            series, time_s, value = (
                self.series[part][order],
                self.time_s[part][order],
                self.value[part][order],
            )
            if restart:
                state = State.from_arrays({name: array.copy() for name, array in state.arrays().items()})
            results = judge(state, parameters, series, time_s, value)
            self._note(results, series, time_s, rows, events)
        flat = [(*key, *content) for key, content in sorted(rows.items())]
        return state, flat, events

    @staticmethod
    def _note(
        results: Judgement,
        series: NDArray[np.int64],
        time_s: NDArray[np.float64],
        rows: dict[tuple[int, float], list[object]],
        events: dict[object, object],
    ) -> None:
        columns = (
            results.quality,
            results.rules,
            results.expected,
            results.spread,
            results.score,
            results.novelty,
        )
        for i, key in enumerate(zip(series.tolist(), time_s.tolist(), strict=True)):
            rows[key] = [repr(column[i]) for column in columns]
        revised = (
            results.revised_series,
            results.revised_time_s,
            results.revised_quality,
            results.revised_rules,
        )
        for one, at, quality, rules in zip(*(column.tolist() for column in revised), strict=True):
            rows[one, at][:2] = [repr(np.uint8(quality)), repr(np.uint16(rules))]
        found = results.events
        for i in range(len(found.series)):
            names = [name for name in found.__slots__ if name not in ("series", "start_s")]
            events[int(found.series[i]), float(found.start_s[i])] = [
                repr(getattr(found, name)[i]) for name in names
            ]


def same(one: State, other: State) -> bool:
    return all(
        np.array_equal(array, other.arrays()[name], equal_nan=True) for name, array in one.arrays().items()
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 400), max_size=30), st.booleans())
def test_blocks_are_as_good_as_the_whole(seed: int, cuts: list[int], restart: object) -> None:
    stream = RandomHistory(seed)
    whole, block = stream.judged([]), stream.judged(cuts, restart=bool(restart))
    assert block[1] == whole[1]
    assert block[2] == whole[2]
    assert same(block[0], whole[0])


def test_ticks_are_as_good_as_the_whole() -> None:
    stream = RandomHistory(7)
    whole, ticks = stream.judged([]), stream.judged(list(range(400)))
    assert ticks[1:] == whole[1:]
    assert same(ticks[0], whole[0])
    assert whole[2], "there are events in it"


def test_flags_are_those_of_the_checks() -> None:
    """Arrival and revision together give QARTOD's flags, where the baseline has nothing to say."""
    stream = RandomHistory(3, 300)
    state = State.empty(N_SERIES)
    parameters = Parameters.of(N_SERIES, **(LIMITS | {"warm_up_s": 1e12}))
    order = np.lexsort((stream.time_s, stream.series))
    series, time_s, value = stream.series[order], stream.time_s[order], stream.value[order]
    results = judge(state, parameters, series, time_s, value)
    quality = results.quality.copy()
    for one, at, flag in zip(
        results.revised_series, results.revised_time_s, results.revised_quality, strict=True
    ):
        quality[(series == one) & (time_s == at)] = flag
    for one in range(N_SERIES):
        x, t = value[series == one], time_s[series == one]
        with np.errstate(all="ignore"):
            expected_flags = np.max(
                [
                    checks.gross_range(x, fail_low=-50, fail_high=150),
                    np.where((rate := checks.rate_of_change(x, t, suspect_per_s=1)) == 2, 1, rate),
                    np.where((spike := checks.spike(x, suspect=20, fail=40)) == 2, 1, spike),
                    checks.flat_line(x, t, tolerance=0, suspect_s=3600, fail_s=7200),
                ],
                axis=0,
            )
        expected_flags = np.where(
            expected_flags == 1, 2, expected_flags
        )  # not evaluated: the baseline is warming up
        np.testing.assert_array_equal(quality[series == one], expected_flags)


@pytest.mark.parametrize("use_compiled", [True, False])
def test_a_gap_flags_the_reading_that_ends_it_and_nothing_else(*, use_compiled: bool) -> None:
    """Flags are those of the slow twin; what is expected and which events there are does not change."""
    stream = RandomHistory(5, 300)
    order = np.lexsort((stream.time_s, stream.series))
    series, time_s, value = stream.series[order], stream.time_s[order], stream.value[order]
    without, results = (
        judge(
            State.empty(N_SERIES),
            Parameters.of(N_SERIES, **limits),
            series,
            time_s,
            value,
            use_compiled=use_compiled,
        )
        for limits in (LIMITS, LIMITS | {"gap_suspect_s": 250.0, "gap_fail_s": 800.0})
    )
    for one in range(N_SERIES):
        mine = series == one
        flags = np.array(
            slow_checks.gap(value[mine].tolist(), time_s[mine].tolist(), suspect_s=250.0, fail_s=800.0)
        )
        late = (flags == Flag.SUSPECT) | (flags == Flag.FAIL)
        assert {Flag.SUSPECT, Flag.FAIL} <= set(flags.tolist())
        np.testing.assert_array_equal((results.rules[mine] & Rule.GAP) > 0, late)
        expected_flags = np.where(late, np.maximum(without.quality[mine], flags), without.quality[mine])
        np.testing.assert_array_equal(results.quality[mine], expected_flags)
    np.testing.assert_array_equal(results.expected, without.expected)
    np.testing.assert_array_equal(results.events.start_s, without.events.start_s)
    np.testing.assert_array_equal(results.events.rules, without.events.rules)


@pytest.mark.parametrize(
    ("series", "time_s"),
    [([1, 0], [1.0, 2.0]), ([0, 0], [2.0, 1.0]), ([0, 0], [1.0, 1.0]), ([0], [0.5]), ([0], [np.nan])],
)
def test_a_wrong_order_is_refused_and_changes_nothing(series: list[int], time_s: list[float]) -> None:
    state = State.empty(2)
    parameters = Parameters.of(2)
    judge(state, parameters, np.array([0]), np.array([0.5]), np.array([1.0]))
    before = {name: array.copy() for name, array in state.arrays().items()}
    with pytest.raises(ValueError, match="is not later"):
        judge(state, parameters, np.array(series), np.array(time_s), np.ones(len(series)))
    assert all(np.array_equal(array, before[name], equal_nan=True) for name, array in state.arrays().items())


@pytest.mark.parametrize("series", [-1, 2, 10**9])
@pytest.mark.parametrize("use_compiled", [False, True])
def test_a_series_that_the_state_has_not_is_refused(*, series: int, use_compiled: bool) -> None:
    """Machine code checks no index: it would read and write beside the state."""
    with pytest.raises(ValueError, match="not all among the 2 of the state"):
        judge(
            State.empty(2),
            Parameters.of(2),
            np.array([series]),
            np.array([0.5]),
            np.array([1.0]),
            use_compiled=use_compiled,
        )


@pytest.mark.parametrize(
    "values",
    [
        [5.0] * 500,
        [np.nan] * 500,
        [7.0],
        [1e300, -1e300] * 50,
        [np.inf, np.nan, -np.inf] * 50,
        [0.0] * 100 + [1e308] * 3,
    ],
)
def test_no_input_is_an_exception_or_a_warning(values: list[float]) -> None:
    state = State.empty(1)
    time_s = 1.7e9 + 300.0 * np.arange(len(values), dtype=np.float64)
    with np.errstate(all="raise", under="ignore"):
        results = judge(state, Parameters.of(1), np.zeros(len(values), np.intp), time_s, np.array(values))
    assert set(results.quality.tolist()) <= {1, 2, 3, 4, 9}


def test_records_are_kept_of_no_state_without_a_limit_and_undone_with_a_batch() -> None:
    """A series took 2.4 kB, a fifth of it for detectors that are off."""
    state, tick = State.empty(2), (np.arange(2), np.full(2, 1.7e9), np.array([1.0, 2.0]))
    judge(state, Parameters.of(2), *tick)
    assert sum(array.nbytes for array in state.arrays().values()) <= 2 * 2_048
    before = state.select_series(np.array([1]))
    judge(state, Parameters.of(2, novelty_least=[np.nan, 0.3]), tick[0], tick[1] + 60, tick[2])
    assert state.records[:, RECORD_COLUMN["record_count"]].tolist() == [0, 1]
    restored = State.empty(3)
    restored.put(np.array([2, 0]), state)
    assert restored.records[:, RECORD_COLUMN["record_count"]].tolist() == [1, 0, 0]
    state.put(np.array([1]), before)
    assert not state.extended_to(4).records[:, RECORD_COLUMN["record_count"]].any()


def test_a_state_that_is_not_whole_is_refused() -> None:
    arrays = dict(State.empty(2).arrays())
    with pytest.raises(ValueError, match="shape"):
        State.from_arrays({**arrays, "daily": np.zeros((2, 3))})
    del arrays["week"]
    with pytest.raises(ValueError, match="'week'"):
        State.from_arrays(arrays)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"fail_low": 5, "fail_high": [9, 4]}, "series 1: fail_low 5 is above fail_high 4"),
        ({"score_weak": 10}, "score_weak 10 is above score_strong 8"),
        ({"spread_floor": 0}, "spread_floor 0 must be above 0"),
        ({"colour": 1}, "no limit 'colour'"),
        ({"day_offset_s": [0.0, 7.7e25]}, "series 1: day_offset_s .* must be between -86400 and 86400"),
    ],
)
def test_limits_that_contradict_each_other_are_named(limits: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Parameters.of(2, **limits)  # type: ignore[arg-type]


def test_the_value_of_an_event_is_its_farthest_where_scores_are_at_their_bound() -> None:
    """The headline of an anomaly was the first reading whose score reached the bound, not the peak."""
    random = np.random.default_rng(5)
    value = 50 + random.normal(0, 1, 600)
    value[560:570] += [200, 400, 600, 800, 1000, 700, 500, 300, 200, 100]
    time_s: NDArray[np.float64] = 1.7e9 + 300.0 * np.arange(len(value), dtype=np.float64)
    parameters = Parameters.of(1, **(LIMITS | {"fail_high": 1e6, "spike_fail": 1e6, "spike_suspect": 1e6}))
    events = judge(State.empty(1), parameters, np.zeros(len(value), np.intp), time_s, value).events
    peak = value.argmax()
    at_peak = (events.start_s <= time_s[peak]) & (events.peak_s >= time_s[560])
    assert events.peak_s[at_peak][-1] == time_s[peak]
    assert events.observed[at_peak][-1] == value[peak]


@pytest.mark.parametrize("use_compiled", [False, True])
def test_novelty_counts_once_its_records_are_as_old_as_the_warm_up(*, use_compiled: bool) -> None:
    day, interval_s = 48, 1_800.0
    time_s: NDArray[np.float64] = 1.7e9 + interval_s * np.arange(8 * day, dtype=np.float64)
    value: NDArray[np.float64] = (
        10 + np.sin(time_s / 86_400 * 2 * np.pi) + np.random.default_rng(5).normal(0, 0.05, len(time_s))
    )
    value[[2 * day, 4 * day + 20, 7 * day]] += 3.0
    without, given_ = Parameters.of(1), Parameters.of(1, novelty_least=np.inf)
    state = State.empty(1)
    reported = []
    for at, limits in ((slice(0, 4 * day), without), (slice(4 * day, 8 * day), given_)):
        part = judge(
            state, limits, np.zeros(4 * day, np.intp), time_s[at], value[at], use_compiled=use_compiled
        )
        reported.append(np.nan_to_num(part.novelty))
    assert not reported[0].any()  # no limit is given, so nothing is recorded
    until_old = int(without.by_series[0, PARAMETER_COLUMN["warm_up_s"]] / interval_s)
    assert not reported[1][:until_old].any()
    assert reported[1][3 * day] > 0.1
