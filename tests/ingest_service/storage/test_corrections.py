"""Tests that every store keeps corrections and operator feedback atomically and on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from analytics.core import events
from analytics.quality import anomaly_text, default_limits
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.errors import StoreRefusedError
from ingest_service.storage.contract.models import REVISION, AnomalyQuery, LateReadings
from ingest_service.storage.memory.store import MemoryStore
from ingest_service.storage.postgres import feedback
from tests.support.store_samples import DIRECTORY, LATE, START_US, STEP_US, anomaly, readings, stored

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

NOTHING = np.empty(0, REVISION)
ANOMALY_1 = 1


def late(store: Store, ticks: range, *, series_id: int = 1) -> None:
    store.commit(Batch(doubtful=readings(series_id, ticks, rules=LATE, quality=2)))


def waiting(first: int, last: int, n: int) -> LateReadings:
    since_s, until_s = ((START_US + tick * STEP_US) / 1e6 for tick in (first, last))
    return LateReadings(series_id=1, since_s=since_s, until_s=until_s, readings=n)


def test_late_readings_wait_with_their_times_and_their_number(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10, 12))))
    late(store, range(4, 7))
    late(store, range(5, 9))
    late(store, range(4), series_id=2)
    assert [one.series_id for one in store.late_readings_due(limit=10)] == [1, 2]
    assert store.late_readings_due(limit=1) == [waiting(4, 8, 5)]


def test_a_correction_is_kept_with_its_revisions_and_waits_no_longer(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10, 12))))
    late(store, range(3))
    while store.refresh_rollups(limit=100):
        pass
    (due,) = store.late_readings_due(limit=10)
    revision = np.array([(1, START_US + STEP_US, 3, 16)], REVISION)
    assert store.store_corrections(due, revision, [anomaly()])
    assert stored(store)["rules"][:3].tolist() == [LATE, 16, LATE]
    assert len(store.anomalies(AnomalyQuery())) == 1
    health = store.health()
    assert (health.rejudge_due, health.rollups_due) == (0, 1)
    assert not store.store_corrections(due, NOTHING, [anomaly(subject="series/2")]), "another was faster"
    assert len(store.anomalies(AnomalyQuery())) == 1


def test_a_correction_that_did_not_know_the_newest_late_reading_changes_nothing(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10, 12))))
    late(store, range(3))
    (due,) = store.late_readings_due(limit=10)
    late(store, range(3, 4))
    assert not store.store_corrections(due, NOTHING, [anomaly()])
    assert store.anomalies(AnomalyQuery()) == []
    assert store.late_readings_due(limit=10) == [waiting(0, 3, 4)]


def test_a_series_may_be_put_off_and_is_back_with_the_next_late_reading(store: Store) -> None:
    store.commit(Batch(fresh=readings(1, range(10, 12))))
    late(store, range(3))
    (due,) = store.late_readings_due(limit=10)
    assert store.store_corrections(due, NOTHING, [], again_s=3600)
    assert store.late_readings_due(limit=10) == []
    assert store.health().rejudge_due == 1
    late(store, range(3, 4))
    assert store.late_readings_due(limit=10) == [waiting(0, 3, 4)]


def test_a_correction_is_whole_or_not_at_all(store: Store) -> None:
    if isinstance(store, MemoryStore):
        return
    store.commit(Batch(fresh=readings(1, range(10, 12))))
    late(store, range(3))
    (due,) = store.late_readings_due(limit=10)
    revision = np.array([(1, START_US, 3, 16)], REVISION)
    with pytest.raises(StoreRefusedError):
        store.store_corrections(due, revision, [anomaly(site_id="nowhere")])
    assert stored(store)["rules"][0] == LATE
    assert store.late_readings_due(limit=10) == [due]


def test_the_record_of_a_correction_outlives_what_live_judging_writes(store: Store) -> None:
    record = [{"at": "now", "was": {"end": None}}]
    store.record_anomalies([anomaly(evidence={"rejudged": record})])
    store.record_anomalies([anomaly(score=30.0, evidence={"rules": ["SPIKE"]})])
    (kept,) = store.anomalies(AnomalyQuery())
    assert kept.evidence == {"rules": ["SPIKE"], "rejudged": record}
    store.record_anomalies([anomaly(score=31.0, evidence={"rejudged": [*record, {"at": "later"}]})])
    assert len(store.anomalies(AnomalyQuery())[0].evidence["rejudged"]) == 2


def shift(store: Store) -> float:
    return store.directory().series[0].score_shift


def test_a_verdict_moves_its_series_and_one_that_is_withdrawn_leaves_no_trace(store: Store) -> None:
    store.record_anomalies([anomaly()])
    before = store.directory()
    assert store.give_feedback(ANOMALY_1, "false-alarm", who="Wang", note="a boat")
    after = store.directory()
    assert after.version == before.version + 1 == store.directory_version()
    assert [one.score_shift for one in after.series] == [0.5, 0.0]
    assert (
        default_limits.judge_parameters(after.series).score_weak[0]
        == default_limits.judge_parameters(before.series).score_weak[0] + 0.5
    )

    assert store.withdraw_feedback(ANOMALY_1, who="Li", note="it was no boat")
    again = store.directory()
    assert again.version == after.version + 1
    assert again.series == before.series
    assert np.array_equal(
        default_limits.judge_parameters(again.series).table,
        default_limits.judge_parameters(before.series).table,
        equal_nan=True,
    )
    (kept,) = store.feedback(anomaly_id=ANOMALY_1)
    assert (kept.verdict, kept.who, kept.note, kept.series_id) == ("false-alarm", "Wang", "a boat", 1)
    assert (kept.withdrawn_by, kept.withdrawn_note) == ("Li", "it was no boat")
    assert kept.withdrawn_s is not None
    assert kept.at_s <= kept.withdrawn_s
    assert not store.withdraw_feedback(ANOMALY_1, who="Li", note="")
    assert store.directory_version() == again.version


def test_an_anomaly_has_one_verdict_that_stands(store: Store) -> None:
    store.record_anomalies([anomaly()])
    for verdict in ("false-alarm", "false-alarm", "confirmed"):
        store.give_feedback(ANOMALY_1, verdict, who="Wang", note="")
    assert shift(store) == -0.25
    verdicts = store.feedback(series_id=1)
    assert [(one.verdict, one.withdrawn_s is None) for one in verdicts] == [
        ("false-alarm", False),
        ("false-alarm", False),
        ("confirmed", True),
    ]
    assert verdicts[0].withdrawn_note == feedback.REPLACED_NOTE
    assert store.feedback(series_id=2) == store.feedback(anomaly_id=99) == []


def test_the_shift_is_bounded(store: Store) -> None:
    starts = [START_US / 1e6 + 7200 * number for number in range(12)]
    store.record_anomalies([anomaly(start_s=start_s, peak_s=start_s) for start_s in starts])
    ids = [one.anomaly_id for one in store.anomalies(AnomalyQuery())]
    for anomaly_id in ids:
        store.give_feedback(anomaly_id, "false-alarm", who="Wang", note="")
    assert shift(store) == 3.0
    for anomaly_id in ids:
        store.give_feedback(anomaly_id, "confirmed", who="Wang", note="")
    assert shift(store) == -1.0


def test_what_no_score_found_moves_nothing_and_is_kept(store: Store) -> None:
    silent = anomaly(subject="device/d1", series_id=None, device_id="d1", detector="silence")
    store.record_anomalies([anomaly(detector="gross_range"), silent])
    for one in store.anomalies(AnomalyQuery()):
        assert store.give_feedback(one.anomaly_id, "false-alarm", who="Wang", note="")
        assert len(store.feedback(anomaly_id=one.anomaly_id)) == 1
    assert shift(store) == 0.0
    assert not store.give_feedback(99, "confirmed", who="Wang", note="")


@pytest.mark.parametrize("detector", ["noise", "rate_of_change", "flat_line", "attenuated_signal", "gap"])
def test_what_a_score_found_moves_the_limits_and_a_failed_check_does_not(store: Store, detector: str) -> None:
    """Verdicts on these moved nothing, though a score finds them by default."""
    failed = anomaly(detector=detector, start_s=START_US / 1e6 + 7200, score=events.FAILED_CHECK_SCORE)
    store.record_anomalies([anomaly(detector=detector), failed])
    for one in store.anomalies(AnomalyQuery()):
        store.give_feedback(one.anomaly_id, "false-alarm", who="Wang", note="")
    assert shift(store) == 0.5


def test_enrolment_neither_sets_nor_loses_a_shift(store: Store) -> None:
    store.record_anomalies([anomaly()])
    store.give_feedback(ANOMALY_1, "false-alarm", who="Wang", note="")
    known = store.directory()
    assert store.enrol(DIRECTORY) == store.enrol(known) == known
    series = [msgspec.structs.replace(one, score_shift=2.0) for one in known.series]
    assert store.enrol(msgspec.structs.replace(DIRECTORY, series=series)) == known


def test_the_detectors_that_feedback_moves_are_detectors() -> None:
    assert set(feedback.SCORED_DETECTORS) <= set(anomaly_text.DETECTOR_NAMES.values())
