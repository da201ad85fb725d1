"""Tests that scores are rarities for their own series: cadence, faults of days, stillness, missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core.flags import Flag, Rule
from analytics.core.judge import Judgement, judge
from analytics.core.parameters import Parameters
from analytics.core.state import State
from analytics.quality import anomaly_text, default_limits
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAY_S = 86_400.0
BEGIN_S = 1.7e9 - 1.7e9 % DAY_S
DAYS = 100


def autocorrelated(random: np.random.Generator, n: int, memory: float, sd: float) -> Floats:
    noise: Floats = random.normal(0, sd * np.sqrt(1 - memory**2), n)
    for i in range(1, n):
        noise[i] += memory * noise[i - 1]
    return noise


def times(interval_s: float) -> tuple[Floats, Floats]:
    """Return times [s] and days since the beginning."""
    days: Floats = np.asarray(np.arange(int(DAYS * DAY_S / interval_s)) * interval_s / DAY_S, np.float64)
    return BEGIN_S + days * DAY_S, days


def judged(quantity: str, interval_s: float, value: Floats) -> Judgement:
    limits = default_limits.judge_parameters([Series(site_id="s", quantity=quantity, interval_s=interval_s)])
    time_s, _ = times(interval_s)
    return judge(State.empty(1), limits, np.zeros(len(value), np.intp), time_s, value)


def begin_days(found: Judgement) -> list[float]:
    return [round((start_s - BEGIN_S) / DAY_S, 1) for start_s in found.events.start_s.tolist()]


@pytest.mark.parametrize("interval_s", [3_600.0, 3_601.0, 14_400.0])
def test_a_new_level_is_one_anomaly_at_any_cadence(interval_s: float) -> None:
    """Every 3,600 s it gave 4 anomalies, every 3,601 s 1,442."""
    _, days = times(interval_s)
    value = 1 + autocorrelated(np.random.default_rng(1), len(days), 0.8, 0.01) + 0.5 * (days >= 40)
    assert begin_days(judged("water_level", interval_s, value)) == [40.0]


def test_a_fault_of_days_is_not_learned_and_a_later_event_is_found() -> None:
    """After four days at 7999 the expected values ran from −250 to 690 where the water had 440 to 470."""
    _, days = times(900.0)
    true_value = 440 + 8 * np.sin(2 * np.pi * days)
    value = true_value + autocorrelated(np.random.default_rng(1), len(days), 0.95, 3.0)
    value[(days >= 60) & (days < 64)] = 7999.0
    value[(days >= 70) & (days < 70.25)] += 60.0
    found = judged("conductivity", 900.0, value)
    assert begin_days(found) == [60.0, 70.0]
    after = (days > 64 + 1 / 24) & (days < 69)
    assert np.abs(found.expected - true_value)[after].max() < 10


@pytest.mark.parametrize("jumps", [1, 6])
def test_an_adopted_level_is_left_when_the_value_returns(jumps: int) -> None:
    """A fault that moves is adopted after a day; the level before it is restored with the first value."""
    random = np.random.default_rng(jumps)
    _, days = times(900.0)
    value = 440 + 8 * np.sin(2 * np.pi * days) + autocorrelated(random, len(days), 0.95, 3.0)
    fault = (days >= 60) & (days < 64)
    value[fault] += 3_000 + np.round(random.normal(0, 3, fault.sum()) * jumps, 1)
    found = judged("conductivity", 900.0, value)
    after = (days > 64 + 1 / 24) & (days < 69)
    assert np.abs(found.expected - 440 - 8 * np.sin(2 * np.pi * days))[after].max() < 15


def test_a_calm_series_is_not_stuck() -> None:
    """Oxygen on winter nights, rounded to 0.1: 157 flat lines a month by a limit in hours."""
    _, days = times(900.0)
    noise = autocorrelated(np.random.default_rng(1), len(days), 0.97, 0.02)
    value = np.round(11.4 + 0.15 * np.sin(2 * np.pi * days) + noise, 1)
    found = judged("dissolved_oxygen", 900.0, value)
    assert (found.events.rule == Rule.FLAT_LINE).sum() <= 3


def test_noise_of_days_is_found_and_ends_when_it_does() -> None:
    """Twenty times the usual noise scored below 8, and the return to the usual noise was a stuck sensor."""
    n_series, days, begin, end = 20, 40, 30, 33
    value = np.random.default_rng(1).standard_normal((n_series, days * 96))
    value[:, begin * 96 : end * 96] *= 20
    events = judged_series(np.round(100 + value, 2)).events
    assert events.series.tolist() == list(range(n_series))
    assert set(events.rule.tolist()) == {Rule.NOISE}
    assert (np.abs(events.start_s - BEGIN_S - begin * DAY_S) < 0.1 * DAY_S).all()
    late_days = (events.end_s - BEGIN_S) / DAY_S - end  # the usual noise has learned a part of it
    assert -0.1 < np.median(late_days) < 2
    assert late_days.max() < 4


@pytest.mark.parametrize(
    ("interval_s", "rule", "n_days"),
    [(900.0, Rule.FLAT_LINE, 4), (60.0, Rule.FLAT_LINE, 2), (300.0, Rule.NOISE, 1), (60.0, Rule.NOISE, 1)],
)
def test_a_fault_of_days_lasts_and_is_found_again(interval_s: float, rule: Rule, n_days: int) -> None:
    """Each of its values raised the bound: it ended within hours, and the fourth one was found in none."""
    n_series, begins, per_day = 6, (10, 16, 22, 28), int(DAY_S / interval_s)
    random = np.random.default_rng(1)
    value = 100 + random.standard_normal((n_series, 36 * per_day))
    for begin in begins:
        fault = slice(begin * per_day, (begin + n_days) * per_day)
        if rule == Rule.FLAT_LINE:
            value[:, fault] = value[:, fault.start, None]
        else:
            value[:, fault] += 9 * random.standard_normal((n_series, n_days * per_day))
    events = judged_series(np.round(value, 2), interval_s).events
    assert set(events.rule.tolist()) == {rule}
    assert events.series.tolist() == np.repeat(np.arange(n_series), len(begins)).tolist()
    share = (events.end_s - events.start_s) / (n_days * DAY_S)
    assert share.min() > 0.85
    assert np.median(share) < 1.3


def test_a_reading_long_before_the_others_does_not_begin_the_warm_up() -> None:
    """A reading 100 days before the installation: it was judged as if of 100 days, once a month at most."""
    n_series, n = 50, 6 * 288
    random = np.random.default_rng(1)
    value = np.array([300 + autocorrelated(random, n, 0.97, 5.0) for _ in range(n_series)])
    time_s = BEGIN_S + 300.0 * np.arange(n)
    time_s[0] -= 100 * DAY_S
    series = np.repeat(np.arange(n_series), n)
    parameters, value = Parameters.of(n_series, spread_floor=0.1), np.round(value, 1)
    found = judge(State.empty(n_series), parameters, series, np.tile(time_s, n_series), value.ravel())
    assert len(found.events.series) <= 0.2 * n_series
    quality = found.quality.reshape(n_series, n)
    assert (quality[:, :230] == Flag.NOT_EVALUATED).all()
    assert (quality[:, 300:] == Flag.PASS).mean() > 0.9


def test_the_first_days_of_a_series_keep_the_alarm_budget() -> None:
    """A series whose days differ in scale raised five times as many alarms on its second day as later."""
    n_series, days = 400, 7
    random = np.random.default_rng(1)
    scale = np.exp(0.6 * random.standard_normal((n_series, days)))
    value = random.standard_normal((n_series, days * 96)) * np.repeat(scale, 96, axis=1)
    events = judged_series(np.round(100 + value, 2)).events
    begun = np.bincount(((events.start_s - BEGIN_S) / DAY_S).astype(np.intp), minlength=days)
    assert begun[0] == 0
    assert begun[1:].max() < 0.4 * n_series / 30


def judged_series(value: Floats, interval_s: float = 900.0) -> Judgement:
    """Judge values (n_series, n) at an interval."""
    n_series, n = value.shape
    series, time_s = np.repeat(np.arange(n_series), n), BEGIN_S + interval_s * np.arange(n)
    parameters = Parameters.of(n_series, spread_floor=0.01)
    return judge(State.empty(n_series), parameters, series, np.tile(time_s, n_series), value.ravel())


def test_one_high_reading_is_a_spike_of_that_reading() -> None:
    _, days = times(900.0)
    value = 8 + autocorrelated(np.random.default_rng(1), len(days), 0.9, 0.05)
    value[5_000] += 1.0
    found = judged("ph", 900.0, value)
    time_s, _ = times(900.0)
    at = np.flatnonzero(found.events.start_s == time_s[5_000])
    assert found.events.rule[at].tolist() == [Rule.SPIKE]
    assert found.events.observed[at].tolist() == [value[5_000]]
    assert found.events.score[at] > 9


def test_missing_values_are_an_anomaly_where_they_are_rare() -> None:
    _, days = times(900.0)
    random = np.random.default_rng(1)
    value = 8 + autocorrelated(random, len(days), 0.9, 0.05)
    value[5_000:5_003] = np.nan
    rare = judged("ph", 900.0, value)
    assert rare.events.rule[rare.events.rule == Rule.GAP].tolist() == [Rule.GAP]
    value[random.random(len(value)) < 0.05] = np.nan
    usual = judged("ph", 900.0, value)
    late = usual.events.start_s > BEGIN_S + 50 * DAY_S
    assert (usual.events.rule[late] == Rule.GAP).sum() <= 2


@pytest.mark.parametrize(
    ("quantity", "height", "detector"),
    [
        ("ph", 1.2, "spike"),
        ("water_temperature", 4.0, "spike"),
        ("dissolved_oxygen", -4.0, "spike"),
        ("ph", 0.0, ""),
    ],
)
def test_a_new_sensor_is_judged_by_the_usual_steps_of_its_quantity(
    quantity: str, height: float, detector: str
) -> None:
    """Nothing but the range of its quantity was checked on its first day."""
    _, days = times(300.0)
    value = 8 + 0.1 * np.sin(2 * np.pi * days) + np.random.default_rng(4).normal(0, 0.02, len(days))
    value[120:122] += height  # ten hours after the first reading
    found = judged(quantity, 300.0, value[:280])
    names = [anomaly_text.DETECTOR_NAMES[Rule(int(rule))] for rule in found.events.rule]
    assert names == [detector] * bool(detector)
    assert (found.quality[120:123] == Flag.SUSPECT).tolist() == [bool(detector), False, bool(detector)]
    assert set(np.delete(found.quality, [120, 122]).tolist()) == {int(Flag.NOT_EVALUATED)}
