"""Tests anomalies in every store: stable ids, growing revisions, filters, cursors."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import Anomaly, AnomalyFields, AnomalyQuery
from ingest_service.storage.contract.paging import anomaly_pages
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.query_api import QueryApi
from ingest_service.storage.postgres.store import PostgresStore

if TYPE_CHECKING:
    from ingest_service.storage.contract.store import Store

from tests.support.incident_world import store_verdict
from tests.support.store_samples import DIRECTORY, START_US, anomaly


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
        after = page[-1].position
    assert paged == all_rows
    assert {one.detector for one in store.anomalies(AnomalyQuery(states=["open"]))} == {"silence"}
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], severity_min=3))) == 2
    assert len(store.anomalies(AnomalyQuery(series_ids=[1]))) == 7
    assert store.anomalies(AnomalyQuery(site_ids=[])) == []
    from_s = START_US / 1e6 + 3600 * 5
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], from_s=from_s))) == 2
    assert len(store.anomalies(AnomalyQuery(detectors=["residual"], to_s=from_s))) == 5


def test_anomalies_by_text_and_highest_severity(store: Store) -> None:
    store.record_anomalies(
        [
            anomaly(severity=1, reason_en="Above the limit", reason_zh="超过限值"),
            anomaly(subject="series/2", series_id=2, severity=3, reason_en="Silent", reason_zh="无数据"),
        ]
    )

    def severities(**query: Any) -> list[int]:
        found = store.anomalies(AnomalyQuery(**query))
        assert store.count_anomalies(AnomalyQuery(**query)) == len(found)
        return sorted(one.severity for one in found)

    assert severities() == [1, 3]
    assert severities(severity_max=2) == [1]
    assert severities(text="above THE") == severities(text="限值") == [1]
    assert severities(text="%") == []
    (silent,) = store.anomalies(AnomalyQuery(text="silent"))
    assert store.anomalies(AnomalyQuery(anomaly_id=silent.anomaly_id)) == [silent]


def test_anomalies_of_the_same_microsecond_are_paged_by_id(store: Store) -> None:
    start_s = START_US / 1e6 + 0.123457
    store.record_anomalies(
        [anomaly(subject=f"site/{at}", series_id=None, start_s=start_s) for at in range(5)]
    )
    ids = [one.anomaly_id for one in store.anomalies(AnomalyQuery())]
    pages = [
        [one.anomaly_id for one in page] for page in anomaly_pages(store.anomalies, AnomalyQuery(), rows=2)
    ]
    assert pages == [ids[:2], ids[2:4], ids[4:]]


def test_every_query_returns_each_field_in_its_place(plain_dsn: str) -> None:
    migrate(plain_dsn)
    with closing(PostgresStore.open(plain_dsn)) as store:
        store.enrol(DIRECTORY)
        times = {"start_s": 1e9, "peak_s": 1e9 + 1, "end_s": 1e9 + 2}
        numbers = {
            "observed": 1.5,
            "expected": 2.5,
            "spread": 3.5,
            "score": 4.5,
            "severity": 2,
            "n_readings": 7,
        }
        store.record_anomalies(
            [anomaly(device_id="d1", state="closed", reason_en="e", reason_zh="z", **times, **numbers)]
        )
        (recorded,) = store.anomalies(AnomalyQuery())
        assert recorded == anomaly(
            device_id="d1", state="closed", reason_en="e", reason_zh="z", **times, **numbers,
            anomaly_id=recorded.anomaly_id, revision=recorded.revision,
        )  # fmt: skip
        store_verdict(store, recorded.anomaly_id, 1, 0.9, ["a", "b"])
        (now,) = QueryApi(store).reader_at().anomalies(AnomalyQuery())
        assert (now.event_probability, now.compared) == (0.9, 2)
        (then,) = QueryApi(store).reader_at(QueryApi(store).reader_at().snapshot).anomalies(AnomalyQuery())
        assert now == then
        assert msgspec.json.decode(now.evidence) == recorded.evidence
        assert [getattr(now, name) for name in AnomalyFields.__struct_fields__] == [
            getattr(recorded, name) for name in AnomalyFields.__struct_fields__
        ]


def test_the_newest_revision_is_that_of_the_last_change(store: Store) -> None:
    assert store.newest_revision() == 0
    store.record_anomalies([anomaly(), anomaly(subject="series/2")])
    store.record_anomalies([anomaly(severity=3, reason_en="higher")])
    assert store.newest_revision() == store.anomalies_changed(0, limit=10)[-1].revision > 0
