"""Tests which anomalies are one incident, when its alarm sounds, and that restarts change nothing."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest

from analytics.incidents import cross_border, incident_grouping
from analytics.incidents.anomaly_classes import SENSOR_CAUSES
from analytics.incidents.grouped_anomalies import StoredIncidents
from analytics.incidents.grouping_rules import GroupingRules
from analytics.incidents.incident_grouping import IncidentGrouping
from analytics.incidents.priority_matrix import default_matrix
from analytics.incidents.reasons import REASONS, SUPPRESSING, step_reason_zh
from analytics.incidents.site_relations import site_relations
from analytics.quality.detector_names import DETECTORS
from benchmarks._incident_storm import demo_directory
from benchmarks.incidents import run_storm, score
from tests.support.chinese_texts import english_in
from tests.support.incident_world import anomaly_at, town

if TYPE_CHECKING:
    from ingest_service.storage.contract.incidents import Incident, IncidentAnomaly
    from ingest_service.storage.contract.models import Anomaly

HOUR_S = 3600.0
TOWN = town("a")
NUMBERED = msgspec.structs.replace(
    TOWN, series=[msgspec.structs.replace(one, series_id=k) for k, one in enumerate(TOWN.series, start=1)]
)
RELATIONS = site_relations(NUMBERED)


def rounds(
    *batches: list[Anomaly], step_s: float = 60.0, from_s: float = 0.0, rules: GroupingRules | None = None
) -> IncidentGrouping:
    grouping = IncidentGrouping(RELATIONS, rules or GroupingRules(), default_matrix())
    for k, batch in enumerate(batches):
        grouping.group(batch, now_s=from_s + k * step_s)
        grouping.advance(now_s=from_s + k * step_s)
    return grouping


def of_series(number: int, start_s: float, anomaly_id: int, **fields: object) -> Anomaly:
    site = next(one.site_id for one in NUMBERED.series if one.series_id == number)
    return anomaly_at(
        site, start_s, anomaly_id=anomaly_id, series_id=number, subject=f"series/{number}", **fields
    )


def members(grouping: IncidentGrouping) -> dict[int, IncidentAnomaly]:
    updates, kept_out = grouping.changes()
    return {one.anomaly_id: one for update in updates for one in update.members} | {
        one.anomaly_id: one for one in kept_out
    }


def only(grouping: IncidentGrouping) -> Incident:
    (one,) = grouping.incidents
    return one


def test_travel_times_and_hops_follow_the_networks() -> None:
    at = RELATIONS.index
    assert RELATIONS.travel_s[at["a-r0"], at["a-r2"]] == pytest.approx(2 * HOUR_S)
    assert RELATIONS.travel_s[at["a-r2"], at["a-r0"]] == float("inf")
    assert RELATIONS.hops[at["a-s1"], at["a-s0"]] == 1.0
    assert RELATIONS.hops[at["a-s1"], at["a-r0"]] == float("inf")


@pytest.mark.parametrize(
    ("later_s", "joined"), [(2 * HOUR_S, True), (0.5 * HOUR_S, False), (12 * HOUR_S, False)]
)
def test_water_downstream_joins_when_its_travel_time_fits(later_s: float, *, joined: bool) -> None:
    first = of_series(2, 0.0, 1, end_s=HOUR_S)  # ammonia at the first section
    second = of_series(8, later_s, 2)  # ammonia at the third one
    grouping = rounds([first], [second], from_s=later_s)
    assert len(grouping.incidents) == (1 if joined else 2)
    if joined:
        assert members(grouping)[2].reason == "along_river"


def test_other_quantities_downstream_are_another_event() -> None:
    assert (
        len(rounds([of_series(2, 0.0, 1)], [of_series(7, 2 * HOUR_S, 2)], from_s=2 * HOUR_S).incidents) == 2
    )


def test_queues_on_neighbouring_links_are_one_incident() -> None:
    grouping = rounds(
        [anomaly_at("a-s1", 0.0, anomaly_id=1)], [anomaly_at("a-s0", 600.0, anomaly_id=2)], from_s=600.0
    )
    assert (only(grouping).kind, only(grouping).site_ids) == ("traffic", ["a-s0", "a-s1"])


def test_simultaneous_silence_is_one_power_cut_which_explains_what_follows() -> None:
    silent = [
        anomaly_at(site, 10.0 * k, anomaly_id=k, subject=f"device/{site}", device_id=site, detector="silence")
        for k, site in enumerate(RELATIONS.site_ids, start=1)
    ]
    back = [msgspec.structs.replace(one, state="closed", end_s=HOUR_S) for one in silent]
    restart = of_series(1, HOUR_S + 300.0, 99, detector="gap", end_s=HOUR_S + 600.0)
    grouping = rounds(silent, back, [restart], from_s=HOUR_S)
    one = only(grouping)
    assert (one.cause, one.kind, one.annunciations, len(one.site_ids)) == ("power_or_network", "device", 1, 5)
    assert (members(grouping)[99].role, members(grouping)[99].reason) == ("suppressed", "explained_by_outage")


def test_a_flapping_series_sounds_once_and_returns_after_a_quiet_time() -> None:
    batches = [[of_series(1, 300.0 * k, k + 1, end_s=300.0 * k + 120.0)] for k in range(40)]
    grouping = rounds(*batches, step_s=300.0)
    one = only(grouping)
    assert (one.cause, one.annunciations, one.active) == ("chattering", 1, True)
    assert Counter(member.reason for member in members(grouping).values()) == {
        "first": 1, "same_series": 1, "chattering": 38,
    }  # fmt: skip
    grouping.advance(now_s=300.0 * 40 + 1.9 * HOUR_S)
    assert only(grouping).active
    grouping.advance(now_s=300.0 * 40 + 2.1 * HOUR_S)
    assert (only(grouping).active, only(grouping).alarm_state) == (False, "returned_unacknowledged")


def test_two_flapping_sensors_of_a_site_are_two_incidents() -> None:
    batches = [
        [of_series(s, 300.0 * k + s, 2 * k + s, end_s=300.0 * k + s + 120.0) for s in (1, 2)]
        for k in range(20)
    ]
    incidents = rounds(*batches, step_s=300.0).incidents
    assert [one.cause for one in incidents] == ["chattering"] * 2


def test_a_condition_that_comes_back_within_the_off_delay_is_no_new_alarm() -> None:
    first, again = of_series(2, 0.0, 1, end_s=600.0), of_series(2, 1200.0, 2)
    grouping = rounds([first], [again], step_s=600.0, from_s=600.0)
    assert (only(grouping).annunciations, only(grouping).active) == (1, True)


def test_short_notices_open_nothing_and_are_listed() -> None:
    grouping = rounds([of_series(1, 0.0, 1, end_s=30.0, severity=1)])
    assert grouping.incidents == []
    assert (members(grouping)[1].reason, members(grouping)[1].incident_id) == ("too_short", None)
    spike = of_series(1, 0.0, 1, end_s=0.0, severity=1, detector="spike")
    assert only(rounds([spike])).cause == "sensor_fault"


def test_a_priority_that_rises_sounds_again_and_one_by_hand_stays() -> None:
    grouping = rounds([of_series(2, 0.0, 1, severity=1)])
    one = msgspec.structs.replace(
        only(grouping), incident_id=7, alarm_state="acknowledged", acknowledged_s=1.0
    )
    stored = {
        member.anomaly_id: msgspec.structs.replace(member, incident_id=7)
        for member in members(grouping).values()
    }
    known = {1: of_series(2, 0.0, 1, severity=1)}
    worse = anomaly_at("a-r0", 100.0, anomaly_id=2, detector="cause/sewage")
    for consequence, alarm_state in (("major", "unacknowledged"), ("by_hand", "acknowledged")):
        read = StoredIncidents(
            [msgspec.structs.replace(one, consequence=consequence)], list(stored.values()), known
        )
        again = IncidentGrouping(RELATIONS, GroupingRules(), default_matrix(), read)
        again.group([worse], now_s=200.0)
        assert only(again).alarm_state == alarm_state
        assert only(again).priority == (1 if consequence == "major" else one.priority)


def test_a_shelved_alarm_comes_back_when_its_time_is_over_and_the_urgent_never_expire() -> None:
    grouping = rounds([of_series(2, 0.0, 1)])
    one = msgspec.structs.replace(only(grouping), incident_id=7, alarm_state="shelved", shelved_until_s=500.0)
    stored = [msgspec.structs.replace(member, incident_id=7) for member in members(grouping).values()]
    again = IncidentGrouping(
        RELATIONS,
        GroupingRules(),
        default_matrix(),
        StoredIncidents([one], stored, {1: of_series(2, 0.0, 1)}),
    )
    again.advance(now_s=499.0)
    assert only(again).alarm_state == "shelved"
    again.advance(now_s=501.0)
    assert (only(again).alarm_state, only(again).annunciations) == ("unacknowledged", 2)
    routine = rounds([of_series(1, 0.0, 1, detector="flat_line", end_s=600.0)], from_s=600.0)
    routine.advance(now_s=3 * HOUR_S)
    routine.advance(now_s=20 * HOUR_S)
    assert (only(routine).priority, only(routine).state) == (4, "closed")


def test_a_closed_incident_is_opened_again_by_its_series_and_a_false_alarm_is_not() -> None:
    grouping = rounds([of_series(2, 0.0, 1, end_s=600.0)])
    stored = [msgspec.structs.replace(member, incident_id=7) for member in members(grouping).values()]
    for state, expected in (("closed", ("new", 2)), ("false_alarm", ("false_alarm", 1))):
        one = msgspec.structs.replace(
            only(grouping), incident_id=7, state=state, alarm_state="normal", active=False, closed_s=700.0
        )
        again = IncidentGrouping(
            RELATIONS, GroupingRules(), default_matrix(),
            StoredIncidents([one], stored, {1: of_series(2, 0.0, 1, end_s=600.0)}),
        )  # fmt: skip
        again.group([of_series(2, 1000.0, 2)], now_s=1000.0)
        assert (only(again).state, only(again).annunciations) == expected
        assert members(again)[2].reason == ("same_series" if state == "closed" else "judged_false_alarm")


def test_alarms_beyond_what_operators_can_take_wait_and_sound_later_the_urgent_first() -> None:
    rules = GroupingRules(operators=1, flood_limits=(2, 2, 1, 1))
    unrelated = [of_series(k, 3600.0 * k, k) for k in (1, 5, 9)]
    grouping = rounds(unrelated, from_s=20 * HOUR_S, rules=rules)
    states = Counter(one.alarm_state for one in grouping.incidents)
    assert states == {"unacknowledged": 2, "suppressed": 1}
    assert {one.suppressed_by for one in grouping.incidents} == {None, "flood"}
    grouping.advance(now_s=20 * HOUR_S + 601.0)
    assert {one.alarm_state for one in grouping.incidents} == {"unacknowledged"}


def test_every_reason_of_the_platforms_own_steps_has_a_chinese_text() -> None:
    texts = []
    for module in (incident_grouping, cross_border):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call):
                at_the_end = getattr(node.func, "attr", "") in {"_apply", "_return"}
                given = [*node.args[-1:]] * at_the_end + [
                    one.value for one in node.keywords if one.arg == "why"
                ]
                texts += [
                    one.value
                    for one in given
                    if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value
                ]
    assert len(texts) >= 8
    texts += ["it returned to normal 24 h ago, and nobody filed it"]
    matrix = default_matrix()
    texts += [f"{one} consequence, {two} response" for one in matrix.consequences for two in matrix.urgencies]
    assert {word for one in texts for word in english_in(step_reason_zh(one))} == set()


def test_every_detector_has_a_class_and_every_reason_two_texts() -> None:
    for detector in DETECTORS:
        grouping = rounds([anomaly_at("a-r0", 0.0, anomaly_id=1, detector=detector, severity=3)])
        kind = only(grouping).kind
        assert (detector.removeprefix("cause/") in SENSOR_CAUSES) <= (kind == "device"), detector
    assert all(english and chinese for english, chinese in REASONS.values())
    assert set(REASONS) >= SUPPRESSING


def test_the_storm_of_the_benchmark_in_small() -> None:
    result = run_storm(anomalies=5000, seed=2, step_s=300.0)
    scores = score(result)
    assert scores.found >= 0.95
    assert scores.extra <= 0.05
    assert scores.peak_per_operator <= 10
    assert scores.chattering == 0
    assert scores.unlisted == 0


def test_a_restart_in_the_middle_of_a_storm_changes_nothing() -> None:
    whole = run_storm(anomalies=1800, seed=4, step_s=300.0)
    restarted = run_storm(anomalies=1800, seed=4, step_s=300.0, restart_every=20)
    assert Counter(restarted.groups()) == Counter(whole.groups())
    assert [one.annunciations for one in restarted.incidents] == [
        one.annunciations for one in whole.incidents
    ]
    assert all(a.incident_id < b.incident_id for a, b in pairwise(restarted.incidents))
    assert demo_directory().sites
