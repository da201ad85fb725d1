"""Tests the table of cause patterns: each is found by its evidence, none where evidence is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytics.core import cause_patterns, event_shapes
from analytics.core.cause_patterns import PATTERNS, EventFeatures

QUANTITIES = [
    "dissolved_oxygen",
    "conductivity",
    "ammonia_nitrogen",
    "turbidity",
    "ph",
    "water_temperature",
    "water_level",
    "rainfall",
    "traffic_flow",
    "traffic_speed",
    "occupancy",
]
DO, EC, NH3, TURB, PH = (
    QUANTITIES.index(name)
    for name in (
        cause_patterns.DO,
        cause_patterns.EC,
        cause_patterns.NH3,
        cause_patterns.TURB,
        cause_patterns.PH,
    )
)
FLOW, SPEED, OCC = (
    QUANTITIES.index(name) for name in (cause_patterns.FLOW, cause_patterns.SPEED, cause_patterns.OCC)
)
TEMPERATURE = QUANTITIES.index("water_temperature")
MANY_TICKS = 60


def event(**given: Any) -> EventFeatures:
    """One event: scores by column, the rest by name; what is not given is calm."""
    n = len(QUANTITIES)
    columns: dict[str, Any] = {
        name: np.zeros((1, n)) for name in ("mean", "rise", "stays", "upstream", "downstream")
    }
    columns["rise"][:] = 0.6  # neither gradual nor a step
    columns |= {name: np.zeros((1, n), np.bool_) for name in ("flat", "nothing")}
    columns |= {"saturation": np.full(1, np.nan), "rain_mm": np.zeros(1), "ticks": np.array([MANY_TICKS])}
    for name, value in given.items():
        if isinstance(value, dict):
            for at, one in value.items():
                columns[name][0, at] = one
        else:
            columns[name][0] = value
    return EventFeatures(**columns)


def name(features: EventFeatures) -> str | None:
    named = cause_patterns.name_causes(features, QUANTITIES)
    return None if named.pattern[0] < 0 else PATTERNS[named.pattern[0]].name


CASES: dict[str, dict[str, Any]] = {
    "air_exposure": {
        "mean": {EC: -12, TEMPERATURE: 6},
        "nothing": {EC: True},
        "saturation": 1.02,
    },
    "sensor_stuck": {"mean": {DO: -3}, "flat": {DO: True}},
    "sewage": {"mean": {NH3: 8, EC: 3, DO: -2}},
    "rain_turbidity": {"mean": {TURB: 5, EC: -3}, "rain_mm": 6.0},
    "sensor_fouling": {"mean": {DO: -9}, "rise": {DO: 0.1}, "stays": {DO: 1.0}},
    "calibration_jump": {"mean": {PH: 9}, "rise": {PH: 0.95}, "stays": {PH: 0.9}},
    "incident_downstream": {"mean": {OCC: 9, SPEED: -8, FLOW: -3}},
    "incident_upstream": {"mean": {OCC: -2, FLOW: -2}, "upstream": {OCC: 9}},
}


def test_every_pattern_has_its_case() -> None:
    assert CASES.keys() == {one.name for one in PATTERNS}


@pytest.mark.parametrize("cause", CASES)
def test_what_speaks_for_a_cause_names_it(cause: str) -> None:
    features = event(**CASES[cause])
    assert name(features) == cause
    assert cause_patterns.name_causes(features, QUANTITIES).strength[0] >= cause_patterns.MIN_EVIDENCE


@pytest.mark.parametrize(
    "missing",
    [
        {"mean": {NH3: 8}},  # ammonia alone: nothing bears it out
        {"mean": {EC: 8, DO: -5}},  # without ammonia
        {"mean": {TURB: 5}},  # dry
        {"mean": {TURB: 5}, "rain_mm": 0.5},
        {"mean": {DO: -9, EC: 4}, "rise": {DO: 0.1}, "stays": {DO: 1.0}},  # another moves, too
        {"mean": {DO: -3}, "rise": {DO: 0.1}, "stays": {DO: 1.0}},  # too little, alone
        {"mean": {DO: -9}, "rise": {DO: 0.1}, "ticks": 10},  # too early to tell a shape
        {"mean": {DO: -9}, "rise": {DO: 0.1}, "upstream": {DO: -5}},  # it came down the river
        {"mean": {PH: 9}, "rise": {PH: 0.95}, "stays": {PH: 0.1}},  # a jump that does not stay
        {"mean": {EC: -12}, "rain_mm": 8.0, "rise": {EC: 0.1}, "stays": {EC: 1.0}},  # rain thins the water
        {"mean": {OCC: -3, FLOW: -3}},  # no queue above
        {"mean": {OCC: 9}},  # full, but not slow
        {},
    ],
)
def test_what_speaks_for_none_names_none(missing: dict[str, Any]) -> None:
    assert name(event(**missing)) is None


def test_the_strength_is_the_weakest_evidence_and_a_lone_quantity_is_named() -> None:
    named = cause_patterns.name_causes(event(mean={NH3: 8, EC: 1.5, DO: -1.0}), QUANTITIES)
    assert named.strength[0] == pytest.approx(2.5), "what helps is summed"
    named = cause_patterns.name_causes(event(**CASES["sensor_fouling"]), QUANTITIES)
    assert named.quantity[0] == DO


def test_several_events_are_named_as_each_alone() -> None:
    each = [event(**given) for given in CASES.values()]
    joined = EventFeatures(*(np.concatenate(column) for column in zip(*each, strict=True)))
    named = cause_patterns.name_causes(joined, QUANTITIES)
    assert [PATTERNS[at].name for at in named.pattern] == list(CASES)


def test_a_site_without_the_quantities_of_a_pattern_has_no_cause() -> None:
    features = event(mean={0: 9})
    assert cause_patterns.name_causes(features, ["total_nitrogen"] * len(QUANTITIES)).pattern[0] == -1


def test_what_passed_a_neighbour_is_looked_for_where_the_water_was() -> None:
    signed = np.zeros((200, 2, 1))
    signed[40:60, 0, 0] = 9
    signed[90:110, 1, 0] = 9
    below = event_shapes.EventWindow(1, 90, 109)
    assert event_shapes.neighbour_score(signed, below, event_shapes.LaggedSite(0, 50))[0] == 9
    assert event_shapes.neighbour_score(signed, below, event_shapes.LaggedSite(0, 150))[0] == 0
    above = event_shapes.EventWindow(0, 40, 59)
    assert event_shapes.neighbour_score(signed, above, event_shapes.LaggedSite(1, -50))[0] == 9
    assert event_shapes.departure_start(signed, event_shapes.EventWindow(0, 50, 59), 2.0)[0] == 40
