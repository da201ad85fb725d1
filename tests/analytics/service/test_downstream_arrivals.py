"""Tests the forecast of the arrival downstream, on the demo's river with the simulator's own slug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytics.service import missing_results, source_posterior, source_readings
from analytics.service.downstream_arrivals import ARRIVAL_SHARE
from analytics.service.source_posterior import SourcePosteriorAnswer
from deploy import demo
from edge.simulator.river import River
from ingest_service.storage.contract.models import READING, Anomaly
from ingest_service.storage.memory.store import MemoryStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELEASED_S = 1_764_000_000.0
DETECTED_AT, TOWN_B = "330483-d1-r05", ("330402-d1-r01", "330402-d1-r02", "330402-d1-r03")
NOW_S = RELEASED_S + 5 * 3600  # the slug has passed the last section of town A, and none of town B
SLUG = next(one for one in demo.plan() if one.fault_id == "slug-storm-sewer")


def concentration(node: str, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the slug adds at a node by the simulator's river [mg/L]."""
    river = River(demo.spec(), 1)
    passing = river.passing_releases(node, river.releases([SLUG]))
    since_s = times_s - RELEASED_S + SLUG.start_s
    return np.array([sum(one.concentration(at) for one in passing) for at in since_s])


def posterior_at(site_id: str, start_s: float, until_s: float) -> Any:
    """Return the trace of the slug from an anomaly at a site, by the readings until a time."""
    directory = MemoryStore().enrol(demo.directory())
    site = {one.series_id: one.site_id for one in directory.series}
    quantity = {one.series_id: one.quantity for one in directory.series}

    def read(series_id: int, from_s: float, to_s: float) -> Any:
        times_s = np.arange(np.ceil(from_s / 300) * 300, min(to_s, until_s), 300.0)
        if quantity[series_id] != "ammonia_nitrogen":
            times_s = times_s[:0]
        rows = np.zeros(len(times_s), READING)
        rows["series_id"], rows["time_us"] = series_id, (times_s * 1e6).astype(np.int64)
        rows["expected"], rows["spread"] = 0.4, 0.03
        rows["value"] = 0.4 + concentration(site[series_id], times_s)
        return rows

    anomaly = Anomaly(
        subject=f"site/{site_id}",
        site_id=site_id,
        series_id=None,
        detector="cause/sewage",
        version="1",
        start_s=start_s,
        peak_s=start_s,
        score=9.0,
        severity=3,
        n_readings=3,
        state="open",
        reason_en="up",
        reason_zh="升",
    )
    found = source_posterior.infer_sources(directory, anomaly, read, after_s=86_400.0)
    assert isinstance(found, SourcePosteriorAnswer), found
    return found


def test_the_demos_slug_is_forecast_in_town_b_before_it_comes() -> None:
    found = posterior_at(DETECTED_AT, RELEASED_S + 3.2 * 3600, NOW_S)
    assert found.candidates[0].node_id == SLUG.origin
    arrivals = {one.site_id: one for one in found.arrivals}
    for name in TOWN_B:
        times_s = np.arange(RELEASED_S, RELEASED_S + 86_400, 60.0)
        course = concentration(name, times_s)
        truth_s = times_s[np.argmax(course >= ARRIVAL_SHARE * course.max())]
        early_s, late_s = arrivals[name].arrival_band_s
        assert early_s <= truth_s <= late_s, name
        low, high = arrivals[name].peak_band_mg_l
        assert (low < course.max(), high > 0.75 * course.max()) == (True, True), name
        assert late_s - early_s < truth_s - RELEASED_S, "a band as wide as the way is no forecast"
    assert "330483-d1-r04" not in arrivals, "it lies above"


def test_a_section_below_more_sensors_than_are_used_has_a_trace_by_the_nearest() -> None:
    """At the last section of town B, with sixteen sensors above it, there was no trace."""
    began_s = RELEASED_S + 21 * 3600
    found = posterior_at("330402-d1-r05", began_s, began_s + 4 * 3600)
    assert found.candidates[0].node_id == SLUG.origin
    assert len(found.sensors) == source_readings.MAX_SENSORS
    assert {DETECTED_AT, *TOWN_B, "330402-d1-r05"} <= set(found.sensors), "those that detected"


def test_the_first_high_readings_are_no_arrival_downstream() -> None:
    """Half an hour after the first one, 27 mg/L were forecast at the next section, where 1.5 came."""
    detected_s = RELEASED_S + 3.2 * 3600
    early = posterior_at(DETECTED_AT, detected_s, detected_s + 1800)
    assert (early.arrivals, early.arrivals_missing) == ([], missing_results.FEW_DETECTIONS)
    (first, *_) = posterior_at(DETECTED_AT, detected_s, detected_s + 4500).arrivals
    assert first.peak_mg_l < 2 * concentration(TOWN_B[0], np.arange(RELEASED_S, NOW_S + 36_000, 60.0)).max()
