"""Tests that the table of reasons counts the reason of the strongest anomaly of each typed event."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from analytics.core.flags import Rule
from analytics.quality.anomaly_text import DETECTOR_NAMES, Course
from benchmarks.detection.injection import FAULTS
from benchmarks.detection.labelled import NONE, Family, LabelledSeries
from benchmarks.detection.reasons import REASONS_OF_TYPE, TYPE_OF_KIND, count_reasons, reason_of, share_true
from benchmarks.detection.simulated import KINDS


@pytest.mark.parametrize(
    ("rule", "course", "reason"),
    [
        (Rule.SHIFT, Course(0.0, has_step=True), "lasting step"),
        (Rule.SHIFT, Course(0.0, has_step=False), "moved away"),
        (Rule.SHIFT, Course(86_400.0, has_step=True), "drift"),
        (Rule.ATTENUATED, Course(0.0, has_step=False), "stuck"),
    ],
)
def test_a_reason_is_that_of_the_sentence(rule: Rule, course: Course, reason: str) -> None:
    assert reason_of(rule, course) == reason


def test_every_rule_that_names_an_anomaly_has_a_reason_and_every_type_one_that_is_true() -> None:
    assert all(reason_of(rule, Course(0.0, has_step=False)) for rule in DETECTOR_NAMES)
    assert set(TYPE_OF_KIND.values()) == set(REASONS_OF_TYPE)
    assert {"spike", "step", "drift", "stuck", "noise", "calibration"} <= set(TYPE_OF_KIND) & set(FAULTS)
    assert set(KINDS) <= set(TYPE_OF_KIND)


def test_a_planted_spike_and_a_stuck_sensor_are_counted_by_their_reasons() -> None:
    value = 10 + np.random.default_rng(4).normal(0, 0.1, 2_000).round(2)
    time_s = 1.7e9 + 900.0 * np.arange(len(value), dtype=np.float64)
    value[1_500] += 3
    value[1_800:1_860] = value[1_800]
    events = np.column_stack([time_s[[1_500, 1_800]], time_s[[1_500, 1_859]]])
    kinds = np.array(["spike large", "stuck medium"])
    series = LabelledSeries("a/ph", "a", "ph", time_s, value, 900.0, 0.01, events, kinds, NONE)
    found = count_reasons(Family("one", [series], True))
    assert found == {"spike": Counter(["spike"]), "stuck": Counter(["stuck"])}
    assert share_true(found) == (2, 2)
