"""Tests that the live rule for a clock that stands still flags what the block check flags."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.core import checks
from analytics.core.flags import Flag, Rule
from ingest_service.pipeline.decode import DecodedBatch
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import Area, Directory, Series, Site
from ingest_service.storage.memory.store import MemoryStore

START_S = 1_790_000_000.0
LIMITS = {"stuck_clock_suspect_s": 150.0, "stuck_clock_fail_s": 400.0}
Rows = list[tuple[float, float, float]]
"""Measured time, received time [s from the start] and value of readings, in the order of reception."""


def directory(limits: dict[str, float]) -> Directory:
    return Directory(
        areas=[Area(area_id="a", level="town", en="A", zh="甲")],
        sites=[Site(site_id="s", area_id="a", kind="river_section", en="S", zh="站", lon=120, lat=30)],
        series=[Series(site_id="s", quantity="ph", series_id=1, limits=limits)],
    )


def batch(rows: Rows) -> DecodedBatch:
    measured, received, value = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    n = len(rows)
    return DecodedBatch(
        message=np.arange(n),
        series_id=np.ones(n, np.int32),
        time_s=START_S + measured,
        received_s=START_S + received,
        value=value,
        has_wrong_clock=np.zeros(n, np.bool_),
        declared_quality=np.zeros(n, np.uint8),
        dead_letters=[],
        statuses=[],
    )


def flags_by_time(judge: ShardJudge, batches: list[Rows]) -> dict[float, tuple[int, int]]:
    """Flag and rules of each stored reading by its measured time, after all revisions."""
    found: dict[float, tuple[int, int]] = {}
    for one in batches:
        judged = judge.judge(batch(one))
        for rows in (judged.fresh, judged.revisions):
            for row in rows:
                found[row["time_us"] / 1e6 - START_S] = int(row["quality"]), int(row["rules"])
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 200)), min_size=2, max_size=30),
    st.integers(1, 2),
)
def test_the_live_rule_flags_what_the_block_check_flags(steps: list[tuple[bool, int]], at_once: int) -> None:
    """Each reading has a value of its own; only a restart of the clock advances the measured time."""
    rows: Rows = []
    measured = received = 0.0
    for number, (advances, seconds) in enumerate(steps):
        received += seconds
        measured = received if advances else measured
        rows.append((measured, received, 7 + number / 100))
    batches = [rows[begin : begin + at_once] for begin in range(0, len(rows), at_once)]
    live = flags_by_time(ShardJudge(directory(LIMITS)), batches)
    by_block = checks.stuck_clock(
        [one[0] for one in rows], [one[1] for one in rows], suspect_s=150.0, fail_s=400.0
    )
    for measured in {one[0] for one in rows}:
        worst = max(flag for one, flag in zip(rows, by_block.tolist(), strict=True) if one[0] == measured)
        quality, rules = live[measured]
        assert (quality if quality >= Flag.SUSPECT else Flag.PASS) == worst
        assert bool(rules & Rule.CLOCK) == (worst >= Flag.SUSPECT)


def test_a_reading_that_is_delivered_again_is_no_stuck_clock_and_without_a_limit_nothing_is() -> None:
    first, again, other = (0.0, 0.0, 7.0), (0.0, 900.0, 7.0), (0.0, 901.0, 7.1)
    assert flags_by_time(ShardJudge(directory(LIMITS)), [[first], [again]])[0.0][0] == Flag.NOT_EVALUATED
    assert flags_by_time(ShardJudge(directory(LIMITS)), [[first], [again], [other]])[0.0][0] == Flag.FAIL
    assert flags_by_time(ShardJudge(directory({})), [[first], [other]])[0.0][0] == Flag.NOT_EVALUATED


def test_a_restart_and_a_batch_that_is_undone_keep_since_when_the_clock_stands_still() -> None:
    judge = ShardJudge(directory(LIMITS))
    judge.judge(batch([(0.0, 0.0, 7.0)]))
    undone = judge.judge(batch([(0.0, 900.0, 7.5)]))
    assert undone.revisions["quality"].tolist() == [Flag.FAIL]
    judge.undo(undone)
    store = MemoryStore()
    store.commit(Batch(checkpoint=judge.checkpoint("1/1")))
    restarted = ShardJudge(directory(LIMITS))
    restarted.restore(store, "1/1", replay_days=1, now_s=START_S)
    for one in (judge, restarted):
        again = one.judge(batch([(0.0, 900.0, 7.5)]))
        assert again.revisions["quality"].tolist() == [Flag.FAIL]
        assert not len(one.judge(batch([(0.0, 901.0, 7.5)])).revisions), "revised once"
