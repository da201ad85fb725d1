"""Tests that histories judged anew warm the judge up by readings where there are few a day."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from analytics.service.limit_trials import try_limits
from analytics.service.rejudge_late_data import rejudge
from analytics.service.settings import Settings
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.memory.store import MemoryStore
from tests.support.river_pipeline import DIRECTORY, START_S, SectionPipeline

DAY_S, DAYS, SPIKE = 86_400.0, 120, 110
DAILY = msgspec.structs.replace(DIRECTORY.series[0], interval_s=DAY_S)


@pytest.fixture
def river() -> SectionPipeline:
    pipeline = SectionPipeline(MemoryStore())
    pipeline.store.enrol(Directory(series=[DAILY]))
    return pipeline


def daily_values() -> tuple[np.ndarray, np.ndarray]:
    value = 7.5 + np.random.default_rng(2).normal(0, 0.05, DAYS)
    value[SPIKE] = 9.5
    return START_S - DAY_S * DAYS + DAY_S * np.arange(DAYS), value


def test_a_late_reading_of_a_daily_series_is_judged_with_a_hundred_before_it(river: SectionPipeline) -> None:
    time_s, value = daily_values()
    river.send_late(time_s, value, np.arange(DAYS) == SPIKE)
    assert river.anomalies() == []
    rejudge(river.store, Settings(rejudge_days=10))
    (found,) = river.anomalies()
    assert (found.start_s, found.observed) == (time_s[SPIKE], 9.5)


def test_limits_are_tried_on_a_daily_series_with_a_hundred_readings_before(river: SectionPipeline) -> None:
    time_s, value = daily_values()
    river.send(time_s, value)
    (series,) = river.store.directory().series
    trial = try_limits(river.store, series, {}, time_s[SPIKE - 2], time_s[-1] + 1)
    assert [one.start_s for one in trial.tried.anomalies] == [time_s[SPIKE]]
