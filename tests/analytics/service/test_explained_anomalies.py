"""Tests that one cause is one alarm: what an event of the site, rain or the river covers is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from analytics.quality import explanation_text
from analytics.quality.anomaly_text import DETECTOR_NAMES
from analytics.service import explained_anomalies, site_anomalies, site_anomaly_builder
from analytics.service.service_state import SiteJudgingState
from analytics.service.settings import Settings
from ingest_service.storage.contract.explanations import as_judged, explanation_of
from ingest_service.storage.contract.models import Anomaly, AnomalyQuery
from ingest_service.storage.contract.network_changes import NetworkChange
from tests.support.chinese_texts import english_in
from tests.support.synthetic_sonde import AREA, BEGIN_S, DAY_S, HOUR_S, sonde_store

if TYPE_CHECKING:
    from ingest_service.storage.memory.store import MemoryStore
    from tests.support.synthetic_sonde import Disturbance

SETTINGS = Settings(several_history_days=3.0)
RAIN_H, PULSE_H = 124.0, 126.0
DAYS = 6.0


def pulse(since_s: np.ndarray, at_h: float) -> np.ndarray:
    """Return a pulse of some hours with a steep begin."""
    age_h = since_s / HOUR_S - at_h
    return np.asarray(np.where(age_h > 0, np.minimum(age_h / 0.5, np.exp(-age_h / 4.0)), 0.0))


def judged(store: MemoryStore) -> list[Anomaly]:
    """Judge the sites at the end of the recording, explain the anomalies, and return all that are stored."""
    until = {AREA: round((BEGIN_S + DAYS * DAY_S) / 300)}
    found = site_anomalies.find_site_anomalies(store, SETTINGS, SiteJudgingState(), until, models=100)
    assert found is not None
    store.record_anomalies(found)
    site_anomalies.explain(store, SETTINGS, until)
    query = AnomalyQuery(limit=1000, from_s=BEGIN_S + 5 * DAY_S)
    return [one for one in store.anomalies(query) if one.state != "withdrawn"]


def rain(since_s: np.ndarray) -> np.ndarray:
    """Return two hours of heavy rain [mm/h]."""
    return np.where((since_s >= RAIN_H * HOUR_S) & (since_s < (RAIN_H + 2) * HOUR_S), 8.0, 0.0)


def test_rain_and_what_it_does_to_the_river_raise_no_alarm_of_their_own() -> None:
    store = sonde_store(
        {
            ("s1", "turbidity"): lambda since_s, value: value + 150.0 * pulse(since_s, PULSE_H),
            ("s1", "conductivity"): lambda since_s, value: value - 120.0 * pulse(since_s, PULSE_H),
        },
        days=DAYS,
        rain_mm_h=rain,
    )
    quantity = {one.series_id: one.quantity for one in store.directory().series}
    found = judged(store)
    (event,) = [one for one in found if one.series_id is None]
    assert event.detector == "cause/rain_turbidity"
    assert (event.severity, event.evidence["explained_by"]["cause"]) == (1, "rain")
    parts = [one for one in found if one.series_id is not None]
    assert {quantity[one.series_id or 0] for one in parts} >= {"turbidity", "conductivity"}
    for one in parts:
        explanation = explanation_of(one)
        assert explanation is not None, (quantity[one.series_id or 0], one.reason_en)
        assert (explanation.anomaly_id, explanation.cause) == (event.anomaly_id, event.detector)
        assert one.severity == 1 < as_judged(one).severity
        assert one.reason_en.endswith("; part of the site's event (rain turbidity)")
        assert one.reason_zh.endswith("；属于该站点的同一事件（降雨致浊）")


def test_what_rain_does_to_one_quantity_alone_is_usual_and_the_opposite_is_not() -> None:
    def of_change(change: float) -> list[Anomaly]:
        store = sonde_store(
            {("s1", "conductivity"): lambda since_s, value: value + change * pulse(since_s, PULSE_H)},
            days=DAYS,
            rain_mm_h=rain,
        )
        return [one for one in judged(store) if one.series_id is not None]

    diluted, enriched = of_change(-120.0), of_change(120.0)
    assert diluted
    assert all(one.severity == 1 and one.reason_en.endswith("; it follows rain") for one in diluted)
    assert any(one.severity > 1 and "explained_by" not in one.evidence for one in enriched)


def test_water_that_passes_two_sites_is_one_cause() -> None:
    def sewage(at_h: float) -> dict[str, Disturbance]:
        return {
            "conductivity": lambda since_s, value: value + 150.0 * pulse(since_s, at_h),
            "dissolved_oxygen": lambda since_s, value: value - 4.0 * pulse(since_s, at_h),
        }

    store = sonde_store(
        {
            (site, quantity): disturb
            for site, at_h in (("s1", PULSE_H), ("s2", PULSE_H + 2))
            for quantity, disturb in sewage(at_h).items()
        },
        days=DAYS,
        sites=("s1", "s2"),
    )
    found = judged(store)
    above, below = sorted((one for one in found if one.series_id is None), key=lambda one: one.site_id)
    assert "explained_by" not in above.evidence
    assert below.evidence["explained_by"]["anomaly_id"] == above.anomaly_id
    assert below.severity <= 2 <= above.severity
    assert below.reason_en.endswith("; it began upstream, at s1")
    for one in found:
        if one.series_id is not None:
            own = above if one.site_id == "s1" else below
            explanation = explanation_of(one)
            assert explanation is not None
            assert explanation.anomaly_id == own.anomaly_id
    assert sum(one.severity == 3 for one in found) <= 1, "one cause is one alarm"

    end_s = BEGIN_S + DAYS * DAY_S
    store.change_network(NetworkChange(ended_links=["l-s2"], valid_from_s=end_s + 300.0))
    site_anomalies.explain(store, SETTINGS, {AREA: round(end_s / 300)})
    after = store.anomaly(below.anomaly_id)
    assert after is not None
    assert "explained_by" in after.evidence, "the reach was there then"


def test_an_explanation_goes_when_the_event_does() -> None:
    store = sonde_store(
        {
            ("s1", "conductivity"): lambda since_s, value: value + 150.0 * pulse(since_s, PULSE_H),
            ("s1", "dissolved_oxygen"): lambda since_s, value: value - 4.0 * pulse(since_s, PULSE_H),
        },
        days=DAYS,
    )
    found = judged(store)
    (event,) = [one for one in found if one.series_id is None]
    assert all("explained_by" in one.evidence for one in found if one.series_id is not None)
    withdrawn = {"state": "withdrawn", "reason_en": "withdrawn", "reason_zh": "已撤销"}
    store.record_anomalies(
        [Anomaly(**{name: getattr(event, name) for name in event.__struct_fields__} | withdrawn)]
    )
    site_anomalies.explain(store, SETTINGS, {AREA: round((BEGIN_S + DAYS * DAY_S) / 300)})
    after = [one for one in store.anomalies(AnomalyQuery(limit=1000)) if one.series_id is not None]
    assert after
    assert not [one for one in after if "explained_by" in one.evidence]
    assert {one.severity for one in after} == {as_judged(one).severity for one in found if one.series_id}


@pytest.mark.parametrize("detector", site_anomaly_builder.DETECTORS)
def test_each_explanation_has_its_words_in_both_languages(detector: str) -> None:
    for sentence in (
        explanation_text.part_of_event(detector),
        explanation_text.arrived_from("Bridge", "大桥"),
        explanation_text.arrived_from(None, None),
        explanation_text.FOLLOWS_RAIN,
    ):
        assert sentence.en.startswith("; ")
        assert sentence.zh.startswith("；")
        assert not english_in(sentence.zh)


def test_faults_of_a_sensor_are_no_changes_that_water_explains() -> None:
    assert set(DETECTOR_NAMES.values()) - explained_anomalies.CHANGES == {
        "gross_range",
        "flat_line",
        "attenuated_signal",
        "gap",
    }
