"""Tests that an event is named by its course: of a shift that returns, of a drift, of impossible values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.core import events as core_events
from analytics.core.flags import Rule
from analytics.core.judge import judge
from analytics.core.state import SCALARS, State
from analytics.quality import anomaly_records, default_limits
from benchmarks.detection.reasons import reason_of
from ingest_service.storage.contract.models import Series

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAY_S, INTERVAL_S, BEGIN_S = 86_400.0, 900.0, 1.7e9 - 1.7e9 % 86_400.0
FAULT_DAY = 12.0
SERIES = Series(site_id="s", quantity="conductivity", interval_s=INTERVAL_S, series_id=1)


def shift_that_returns_by_a_larger_step(days: Floats, value: Floats) -> None:
    value[(days >= FAULT_DAY) & (days < FAULT_DAY + 0.5)] += 60
    value[(days >= FAULT_DAY + 0.25) & (days < FAULT_DAY + 0.5)] += 90


def drift_that_returns_by_a_step(days: Floats, value: Floats) -> None:
    drifts = (days >= FAULT_DAY) & (days < FAULT_DAY + 1)
    value[drifts] += 150 * (days[drifts] - FAULT_DAY)


def impossible_spike(days: Floats, value: Floats) -> None:
    value[np.searchsorted(days, FAULT_DAY)] = -500


def impossible_drift(days: Floats, value: Floats) -> None:
    drifts = (days >= FAULT_DAY) & (days < FAULT_DAY + 1)
    value[drifts] -= 900 * (days[drifts] - FAULT_DAY)


def impossible_step(days: Floats, value: Floats) -> None:
    value[days >= FAULT_DAY] -= 900


@pytest.mark.parametrize(
    ("fault", "detectors", "reasons", "end_en", "end_zh"),
    [
        (shift_that_returns_by_a_larger_step, {"shift", "rate_of_change"}, {"step", "lasting step"}, "", ""),
        (drift_that_returns_by_a_step, {"shift"}, {"drift"}, "", ""),
        (impossible_spike, {"gross_range"}, {"spike"}, "; it jumped there and back", "；突跳后回落"),
        (impossible_drift, {"gross_range"}, {"drift"}, " h", "逐渐漂移"),
        (impossible_step, {"gross_range"}, {"step", "lasting step"}, "; it changed by a step", "；数值突变"),
    ],
)
def test_an_event_is_named_by_its_course(
    fault: Callable[[Floats, Floats], None],
    detectors: set[str],
    reasons: set[str],
    end_en: str,
    end_zh: str,
) -> None:
    days = np.arange(14 * DAY_S / INTERVAL_S) * INTERVAL_S / DAY_S
    random = np.random.default_rng(3)
    value = 440 + 8 * np.sin(2 * np.pi * days) + random.normal(0, 1.0, len(days))
    fault(days, value)
    events = judge(
        State.empty(1),
        default_limits.judge_parameters([SERIES]),
        np.zeros(len(days), np.intp),
        BEGIN_S + days * DAY_S,
        value,
    ).events
    ends_s = np.where(np.isnan(events.end_s), np.inf, events.end_s)
    at = np.flatnonzero(ends_s >= BEGIN_S + FAULT_DAY * DAY_S)
    best = int(at[np.argmax(events.score[at])])
    anomaly = anomaly_records.anomaly_from_event(SERIES, events, best)
    assert anomaly.detector in detectors
    assert reason_of(Rule(int(events.rule[best])), anomaly_records.course_of_event(events, best)) in reasons
    assert anomaly.reason_en.endswith(end_en)
    assert anomaly.reason_zh.endswith(end_zh)


@pytest.mark.parametrize(
    ("n_readings", "hours", "rules", "name"),
    [
        (40, 10, Rule.RATE_OF_CHANGE, Rule.NOISE),
        (3, 10, Rule.RATE_OF_CHANGE, Rule.RATE_OF_CHANGE),
        (40, 3, Rule.RATE_OF_CHANGE, Rule.RATE_OF_CHANGE),
        (40, 10, Rule.RATE_OF_CHANGE | Rule.RESIDUAL, Rule.RATE_OF_CHANGE),
    ],
)
def test_steps_that_follow_each_other_for_hours_and_lead_nowhere_are_noise(
    n_readings: int, hours: float, rules: Rule, name: Rule
) -> None:
    of_event = {"start": 0.0, "last": hours * 3_600, "peak": 0.0, "count": n_readings, "rules": int(rules)}
    row = SCALARS | {f"event_{one}": value for one, value in of_event.items()}
    rows = np.array([[0.0, *row.values()]])
    assert core_events.events_from_rows(rows, rows[:0]).rule.tolist() == [name]
