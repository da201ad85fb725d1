"""Tests anomalies in every store: stable ids, growing revisions, filters, cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

from tests.support.store_samples import START_US, anomaly


def test_an_anomaly_keeps_its_id_and_raises_its_revision(store: Store) -> None:
    store.commit(Batch(anomalies=[anomaly()]))
    (first,) = store.anomalies(AnomalyQuery())
    assert first == msgspec.structs.replace(anomaly(), anomaly_id=first.anomaly_id, revision=first.revision)
    store.record_anomalies([anomaly(state="closed", end_s=START_US / 1e6 + 600, score=30.0)])
    (second,) = store.anomalies(AnomalyQuery())
    assert (second.anomaly_id, second.state, second.score) == (first.anomaly_id, "closed", 30.0)
    assert store.anomalies_changed(first.revision, limit=10) == [second]
    store.record_anomalies([anomaly(state="closed", end_s=START_US / 1e6 + 600, score=30.0)])
    assert store.anomalies_changed(second.revision, limit=10) == []
    assert store.anomaly(second.anomaly_id) == second
    assert store.anomaly(10**9) is None


def test_anomalies_by_filter_and_cursor(store: Store) -> None:
    for hour in range(7):
        start_s = START_US / 1e6 + 3600 * hour
        store.record_anomalies(
            [
                anomaly(
                    start_s=start_s, peak_s=start_s, severity=1 + hour % 3, end_s=start_s + 60, state="closed"
                ),
                anomaly(
                    subject="device/d1", series_id=None, device_id="d1", start_s=start_s, detector="silence"
                ),
            ]
        )
    all_rows = store.anomalies(AnomalyQuery())
    assert [(-one.start_s, -one.anomaly_id) for one in all_rows] == sorted(
        (-one.start_s, -one.anomaly_id) for one in all_rows
    )
    paged: list[Anomaly] = []
    after = None
    while page := store.anomalies(AnomalyQuery(limit=3, after=after)):
        paged += page
        after = (page[-1].start_s, page[-1].anomaly_id)
    assert paged == all_rows
    assert {one.detector for one in store.anomalies(AnomalyQuery(states=["open"]))} == {"silence"}
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], severity_min=3))) == 2
    assert len(store.anomalies(AnomalyQuery(series_ids=[1]))) == 7
    assert store.anomalies(AnomalyQuery(site_ids=[])) == []
    from_s = START_US / 1e6 + 3600 * 5
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], from_s=from_s))) == 2
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], to_s=from_s))) == 5


def test_the_newest_revision_is_that_of_the_last_change(store: Store) -> None:
    assert store.newest_revision() == 0
    store.record_anomalies([anomaly(), anomaly(subject="series/2")])
    store.record_anomalies([anomaly(severity=3, reason_en="higher")])
    assert store.newest_revision() == store.anomalies_changed(0, limit=10)[-1].revision > 0
