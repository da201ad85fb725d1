"""Tests that ingest applies and reverts limits moved by feedback without a restart."""

from __future__ import annotations

import numpy as np

from analytics.quality import default_limits
from ingest_service.storage.contract.models import Series
from ingest_service.storage.memory.store import MemoryStore
from tests.support.river_pipeline import SectionPipeline, quiet_series

DAY = 288  # readings
FIRST, JUDGED, TAKEN_BACK, LAST = 4, 6, 10, 14  # days


def alarms(*, feedback: bool) -> list[int]:
    """How many anomalies each day had, with a blip of one kind a day; all of the first are false alarms."""
    time_s, value = quiet_series(LAST * DAY)
    value[[day * DAY + 100 for day in range(FIRST, LAST)]] += 0.45
    river = SectionPipeline(MemoryStore())
    store = river.store
    found = []
    for day in range(LAST):
        if feedback and day == JUDGED:
            for one in river.anomalies():
                assert store.give_feedback(one.anomaly_id, "false-alarm", who="Wang", note="")
        if feedback and day == TAKEN_BACK:
            for one in river.anomalies():
                store.withdraw_feedback(one.anomaly_id, who="Wang", note="")
        before = len(river.anomalies())
        part = slice(day * DAY, (day + 1) * DAY)
        river.send(time_s[part], value[part])
        found.append(len(river.anomalies()) - before)
    return found


def test_ingest_takes_moved_limits_up_and_gives_them_back() -> None:
    blips = [0] * FIRST + [1] * (LAST - FIRST)
    assert alarms(feedback=False) == blips
    assert alarms(feedback=True) == [0 if JUDGED <= day < TAKEN_BACK else n for day, n in enumerate(blips)]


def test_limits_of_a_series_are_moved_from_where_they_were_put() -> None:
    plain = Series(site_id="s", quantity="ph", limits={"score_strong": 9.0})
    moved = Series(site_id="s", quantity="ph", limits={"score_strong": 9.0}, score_shift=-0.25)
    off = Series(site_id="s", quantity="rainfall", score_shift=3.0)
    alarms_by_stage = default_limits.judge_parameters([plain, moved, off])
    assert alarms_by_stage.score_strong[:2].tolist() == [9.0, 8.75]
    assert alarms_by_stage.score_weak[:2].tolist() == [7.0, 6.75]
    assert np.isnan(alarms_by_stage.score_strong[2])
    assert "score_strong" in default_limits.effective_limits(moved)
    assert "score_weak" not in default_limits.effective_limits(plain)
