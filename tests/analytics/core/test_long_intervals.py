"""Tests that series of few readings a day are judged as others are: by readings, not by seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core.baseline import EARLY_READINGS
from analytics.core.flags import Flag, Rule
from analytics.core.judge import Judgement, judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from tests.analytics.core.test_compiled import LIMITS, assert_same, assert_same_state, history
from tests.analytics.core.test_compiled import N_SERIES as N_HISTORIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

N, DAYS, DAY_S, BEGIN_S = 100, 60, 86_400.0, 1.6e9
FAULT = 80  # its first reading


def judged(value: Values, interval_s: float, **limits: float) -> Judgement:
    """Judge values (n_series, n) of one reading each interval."""
    n_series, n = value.shape
    series = np.repeat(np.arange(n_series), n)
    time_s = np.tile(BEGIN_S + interval_s * np.arange(n), n_series)
    parameters = (
        Parameters.of(n_series, spread_floor=1e-3) if not limits else Parameters.of(n_series, **limits)
    )
    return judge(State.empty(n_series), parameters, series, time_s, value.ravel())


def share_in_events(found: Judgement, n: int, interval_s: float) -> float:
    end_s = np.where(np.isnan(found.events.end_s), BEGIN_S + n * interval_s, found.events.end_s)
    return float((end_s - found.events.start_s).sum() / (N * n * interval_s))


def noise(kind: str, n: int, interval_s: float) -> Values:
    random = np.random.default_rng(1)
    value: Values = 20 + random.standard_normal((N, n))
    if kind == "autocorrelated":
        memory = np.exp(-interval_s / (3 * DAY_S))
        for i in range(1, n):
            value[:, i] = 20 + memory * (value[:, i - 1] - 20) + np.sqrt(1 - memory**2) * (value[:, i] - 20)
    elif kind == "seasonal":
        phase = random.uniform(0, 2 * np.pi, (N, 1))
        value += 10 * np.sin(2 * np.pi * np.arange(n) * interval_s / (365.25 * DAY_S) + phase)
    elif kind == "rounded":
        value = np.round(2 * value) / 2
    return value


@pytest.mark.parametrize(
    ("kind", "per_month"), [("white", 0.1), ("autocorrelated", 0.1), ("seasonal", 0.1), ("rounded", 0.5)]
)
@pytest.mark.parametrize("interval_s", [DAY_S, DAY_S / 4, DAY_S / 24])
def test_a_new_series_of_few_readings_a_day_keeps_the_alarm_budget(
    interval_s: float, kind: str, per_month: float
) -> None:
    """At a reading a day each opened one on its second day, by the first two residuals, and stayed in it."""
    n = int(DAYS * DAY_S / interval_s)
    found = judged(noise(kind, n, interval_s), interval_s)
    begun = np.bincount(((found.events.start_s - BEGIN_S) / DAY_S / 10).astype(np.intp), minlength=DAYS // 10)
    assert begun.max() <= N * 10 / 30, "false events begun in each ten days"
    assert len(found.events.start_s) <= per_month * N * DAYS / 30
    assert share_in_events(found, n, interval_s) < per_month
    first = np.tile(np.arange(n) < EARLY_READINGS, N)
    assert (found.quality[first] == Flag.NOT_EVALUATED).all()


@pytest.mark.parametrize("kind", ["white", "seasonal"])
@pytest.mark.parametrize("interval_s", [DAY_S, DAY_S / 4])
@pytest.mark.parametrize(
    ("readings", "names"),
    [(1, {Rule.SPIKE, Rule.RESIDUAL, Rule.RATE_OF_CHANGE}), (160, {Rule.RATE_OF_CHANGE, Rule.SHIFT})],
)
def test_what_is_planted_is_found_at_few_readings_a_day(
    readings: int, names: set[Rule], interval_s: float, kind: str
) -> None:
    value = noise(kind, 2 * FAULT, interval_s)
    value[:, FAULT : FAULT + readings] += 12
    events = judged(value, interval_s).events
    at_fault = np.abs(events.start_s - (BEGIN_S + FAULT * interval_s)) <= interval_s
    assert len(np.unique(events.series[at_fault])) >= 0.95 * N
    assert np.isin(events.rule[at_fault], list(names)).mean() > 0.95


def test_two_days_are_no_new_level_of_a_series_of_a_reading_a_day() -> None:
    value = noise("white", 2 * FAULT, DAY_S)
    value[:, FAULT : FAULT + 3] += 12
    expected = judged(value, DAY_S).expected.reshape(N, -1)
    assert np.abs(expected[:, FAULT + 3] - 20).mean() < 1.5


def test_noise_is_compared_with_more_values_than_its_own() -> None:
    """The usual noise of a week was a mean of seven values, the recent one of sixteen."""
    value = noise("white", 2 * FAULT, DAY_S)
    value[:, FAULT:] = 20 + 8 * (value[:, FAULT:] - 20)
    rules = judged(value, DAY_S).rules.reshape(N, -1)
    assert ((rules[:, FAULT:] & Rule.ATTENUATED) == 0).all()
    assert (rules[:, FAULT : FAULT + 24] & (Rule.NOISE | Rule.RATE_OF_CHANGE | Rule.RESIDUAL) > 0).any(
        axis=1
    ).mean() > 0.9


def test_a_signal_is_not_attenuated_because_its_interval_is_longer_than_the_memory() -> None:
    limits = {"spread_floor": 1e-3, "attenuated_s": 7_200.0, "attenuated_suspect": 0.3}
    rules = judged(noise("white", 2 * FAULT, DAY_S), DAY_S, **limits).rules
    assert ((rules & Rule.ATTENUATED) > 0).mean() < 0.001


@pytest.mark.parametrize("use_records", [False, True])
def test_compiled_and_numpy_agree_at_few_readings_a_day(*, use_records: bool) -> None:
    series, time_s, value = history(11, 400)
    time_s = 1.6e9 + (time_s - 1.7e9) * 100  # a reading in eight hours
    limits = LIMITS | ({"novelty_least": 0.1, "step_deviations": 12.0} if use_records else {})
    parameters = Parameters.of(N_HISTORIES, **limits)
    states = [State.empty(N_HISTORIES), State.empty(N_HISTORIES)]
    one, other = (
        judge(state, parameters, series, time_s, value, use_compiled=use_compiled)
        for state, use_compiled in zip(states, (True, False), strict=True)
    )
    assert_same(one, other)
    assert_same_state(*states)
