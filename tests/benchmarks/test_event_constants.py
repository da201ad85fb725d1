"""Tests the rule by which constants of events are chosen: recall, then false alarms, one origin left out."""

from __future__ import annotations

from benchmarks.detection.event_constants import SETTINGS, Outcome, choose

PRESENT, QUIET, DEAF = SETTINGS[:3]


def outcome(origin: str, recall: float, false: float, alarms_per_event: float = 1.0) -> Outcome:
    """Return what a setting finds in a part, the same recall at every budget."""
    return Outcome(origin, [recall] * 4, recall, false, recall, alarms_per_event, 0.0, 0.01, 10.0)


def test_the_fewest_false_alarms_are_chosen_among_settings_that_lose_no_events() -> None:
    found = {
        PRESENT: {"a": outcome("a", 0.8, 1.9), "b": outcome("b", 0.8, 1.9)},
        QUIET: {"a": outcome("a", 0.8, 1.4), "b": outcome("b", 0.8, 1.5)},
        DEAF: {"a": outcome("a", 0.7, 0.2), "b": outcome("b", 0.7, 0.2)},
    }
    assert choose(found, None) == (QUIET, [PRESENT, QUIET])


def test_the_origin_left_out_has_no_part_in_the_choice() -> None:
    found = {
        PRESENT: {"a": outcome("a", 0.8, 1.9), "b": outcome("b", 0.8, 1.9)},
        QUIET: {"a": outcome("a", 0.8, 0.1), "b": outcome("b", 0.8, 2.5)},
    }
    assert [choose(found, origin)[0] for origin in ("a", "b")] == [PRESENT, QUIET]


def test_a_setting_that_breaks_an_event_into_many_anomalies_is_not_admissible() -> None:
    found = {
        PRESENT: {"a": outcome("a", 0.8, 1.9)},
        QUIET: {"a": outcome("a", 0.9, 0.1, alarms_per_event=1.3)},
    }
    assert choose(found, None) == (PRESENT, [PRESENT])
