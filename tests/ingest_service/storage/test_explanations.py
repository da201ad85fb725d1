"""Tests that every store keeps the explanation of an anomaly, whatever ingest writes to it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_service.storage.contract import explanations
from ingest_service.storage.contract.explanations import Explanation
from ingest_service.storage.contract.models import AnomalyQuery
from tests.support.store_samples import anomaly

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Anomaly
    from ingest_service.storage.contract.store import Store

RAIN = Explanation(cause="rain", severity=1, en="; it follows rain", zh="；发生于降雨之后")
PART = Explanation(cause="several", anomaly_id=7, site_id="s1", severity=2, en="; a part", zh="；一部分")


def only(store: Store) -> Anomaly:
    (one,) = store.anomalies(AnomalyQuery())
    return one


def test_an_explained_anomaly_is_lowered_and_keeps_its_explanation_when_it_is_recorded_again(
    store: Store,
) -> None:
    judged = anomaly(severity=3, score=11.0, evidence={"rules": ["SHIFT"]})
    store.record_anomalies([judged])
    store.explain_anomalies({1: RAIN})
    one = only(store)
    assert (one.severity, one.state, one.end_s) == (1, judged.state, judged.end_s)
    assert one.reason_en == f"{judged.reason_en}; it follows rain"
    assert one.reason_zh.endswith("；发生于降雨之后")
    assert one.evidence["explained_by"]["judged_severity"] == 3
    assert explanations.explanation_of(one) == RAIN

    store.record_anomalies([judged])
    assert only(store) == one, "nothing changed, so no revision does"
    worse = anomaly(severity=2, score=12.0, n_readings=9, reason_en="worse", evidence={"rules": ["SPIKE"]})
    store.record_anomalies([worse])
    one = only(store)
    assert (one.severity, one.reason_en, one.n_readings) == (1, "worse; it follows rain", 9)
    assert one.evidence["rules"] == ["SPIKE"]
    assert one.evidence["explained_by"]["judged_severity"] == 2
    assert explanations.as_judged(one).severity == 2


def test_an_explanation_is_replaced_and_removed_without_a_trace(store: Store) -> None:
    judged = anomaly(severity=3)
    store.record_anomalies([judged])
    before = only(store)
    store.explain_anomalies({1: RAIN})
    store.explain_anomalies({1: PART})
    one = only(store)
    assert (one.severity, one.reason_en) == (2, f"{judged.reason_en}; a part")
    assert one == explanations.explained(explanations.as_judged(one), PART)
    store.explain_anomalies({1: PART})
    assert only(store).revision == one.revision
    store.explain_anomalies({1: None})
    after = only(store)
    assert (after.severity, after.reason_en, after.reason_zh, after.evidence) == (
        before.severity,
        before.reason_en,
        before.reason_zh,
        before.evidence,
    )
    revision = after.revision
    store.explain_anomalies({1: None, 99: RAIN})
    assert only(store).revision == revision


def test_a_withdrawn_anomaly_has_no_explanation(store: Store) -> None:
    store.record_anomalies([anomaly(severity=3)])
    store.explain_anomalies({1: RAIN})
    store.record_anomalies([anomaly(severity=3, state="withdrawn", reason_en="withdrawn")])
    assert "explained_by" not in only(store).evidence
    assert only(store).reason_en == "withdrawn"
