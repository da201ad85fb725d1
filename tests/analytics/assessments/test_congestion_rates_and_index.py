"""Tests congestion, delay, rates, response and the index against hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytics.assessments import capture_and_response, congestion, town_index


def test_levels_by_ratio_fall_to_the_worse_on_a_bound() -> None:
    assert congestion.congestion_levels([0.701, 0.7, 0.501, 0.5, 0.401, 0.4, 0.301, 0.3]).tolist() == [
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
    ]


@pytest.mark.parametrize(
    ("road", "speeds"),
    [
        ("expressway", [66, 65, 50, 35, 20]),
        ("arterial", [41, 40, 30, 20, 15]),
        ("branch", [36, 35, 25, 15, 10]),
    ],
)
def test_levels_by_speed_are_those_of_the_sheet(road: str, speeds: list[float]) -> None:
    assert congestion.congestion_levels(speeds, congestion.SPEED_BOUNDS[road]).tolist() == [1, 2, 3, 4, 5]


def test_two_hours_add_up_by_vehicles_and_harmonically() -> None:
    found = congestion.road_performance([1000, 500], [60, 20], 2.0, 60.0)
    assert found is not None
    assert (found.vehicle_km, found.hours) == (3000.0, 2)
    assert found.vehicle_h == pytest.approx(1000 * 2 / 60 + 500 * 2 / 20)
    assert found.delay_vehicle_h == pytest.approx(500 * (2 / 20 - 2 / 60))
    assert found.speed_km_h == pytest.approx(3000 / found.vehicle_h)
    assert found.travel_time_index == pytest.approx(60 / found.speed_km_h), "TTI = 60/Q where 60 is free flow"
    assert found.hours_by_level == (1, 0, 0, 1, 0), "20 of 60 is a third: medium"
    assert found.level == 2, "36 of 60"


def test_faster_than_free_flow_is_no_negative_delay() -> None:
    found = congestion.road_performance([100], [80], 1.0, 60.0)
    assert found is not None
    assert (found.delay_vehicle_h, found.level, found.hours) == (0.0, 1, 1)
    assert found.travel_time_index == 0.75


def test_standing_traffic_is_clipped_and_an_empty_road_divides_by_nothing() -> None:
    stands = congestion.road_performance([100], [0], 1.0, 48.0)
    assert stands is not None
    assert stands.level == 5
    assert stands.travel_time_index == pytest.approx(10.0)
    empty = congestion.road_performance([0, 0], [50, 50], 1.0, 50.0)
    assert empty is not None
    assert (empty.vehicle_km, empty.delay_vehicle_h, empty.level) == (0.0, 0.0, 1)


def test_hours_without_flow_or_speed_do_not_count() -> None:
    found = congestion.road_performance([100, np.nan, 300], [50, 50, np.nan], 1.0, 50.0)
    assert found is not None
    assert (found.hours, found.vehicle_km) == (1, 100.0)
    assert congestion.road_performance([np.nan], [50], 1.0, 50.0) is None
    assert congestion.road_performance([], [], 1.0, 50.0) is None
    with pytest.raises(ValueError, match="free-flow"):
        congestion.road_performance([1], [1], 1.0, 0.0)


def test_rates_count_what_came_against_what_should_have() -> None:
    whole = capture_and_response.CaptureRate(100, 90, 81) + capture_and_response.CaptureRate(100, 50, 50)
    assert (whole.capture, whole.validity) == (0.7, 131 / 140)
    assert capture_and_response.CaptureRate(10, 12, 12).capture == 1.0
    assert (
        capture_and_response.CaptureRate(0, 0, 0).capture,
        capture_and_response.CaptureRate(5, 0, 0).capture,
        capture_and_response.CaptureRate(5, 0, 0).validity,
    ) == (
        None,
        0.0,
        None,
    )


def test_response_counts_what_is_due() -> None:
    hour = 3600.0
    found = capture_and_response.response_statistics(
        [(0, 2 * hour, hour), (0, 30 * hour, None), (10 * hour, None, None), (49 * hour, None, 50 * hour)],
        now_s=50 * hour,
        target_h=24.0,
    )
    assert (found.anomalies, found.is_open, found.answered) == (4, 2, 2)
    assert found.in_time == pytest.approx(1 / 3), "the youngest may still close in time"
    assert (found.median_h, found.longest_h, found.median_answer_h) == (16.0, 40.0, 1.0)
    nothing = capture_and_response.response_statistics([], now_s=0.0, target_h=24.0)
    assert (nothing.anomalies, nothing.in_time, nothing.median_h, nothing.longest_h) == (0, None, None, None)


def test_the_index_weighs_what_is_known() -> None:
    weights = {"water": 2.0, "roads": 1.0, "unused": 0.0}
    assert town_index.weighted_index({"water": 1.0, "roads": 0.4, "unused": 0.0}, weights) == pytest.approx(
        80.0
    )
    assert town_index.weighted_index({"water": 1.0, "roads": None}, weights) == 100.0
    assert town_index.weighted_index({"water": None}, weights) is None
    assert town_index.ranks({"a": 1.0, "b": 2.0, "c": 2.0, "d": 0.0}) == {"a": 3, "b": 1, "c": 1, "d": 4}
    assert town_index.ranks({"a": 1.0, "b": 2.0}, high_first=False) == {"a": 1, "b": 2}


def test_the_congestion_index_has_two_points_a_level() -> None:
    assert [congestion.congestion_index(one) for one in (0.2, 0.5, 0.8, 1.1)] == [2, 4, 6, 8]
    assert math.isclose(congestion.congestion_index(1.4), 10)
