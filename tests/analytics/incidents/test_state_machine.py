"""Tests the two state machines of an incident: every state × every event × every role."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.incidents.state_machine import (
    ROLE_ORDER,
    ActingRole,
    IllegalTransitionError,
    IncidentError,
    MissingDetailError,
    RoleError,
    TransitionTable,
    apply_event,
    legal_events,
    role_includes,
    transition_table,
)
from ingest_service.storage.contract.incidents import OVER_STATES, AlarmState, Incident, IncidentState

TABLE = transition_table()
EVENTS = sorted({one.event for one in [*TABLE.workflow, *TABLE.alarm]})
ROLES: tuple[ActingRole, ...] = get_args(ActingRole)
WHOLE: Any = {"why": "because", "team_id": "t", "until_s": 1060.0, "approved": True}


def incident(
    state: IncidentState = "new", alarm_state: AlarmState = "unacknowledged", **fields: Any
) -> Incident:
    values: dict[str, Any] = {
        "area_id": "a",
        "area_ids": ["a"],
        "main_site_id": "s",
        "kind": "water",
        "cause": "sewage",
        "priority": 1,
        "started_s": 0.0,
        "last_s": 0.0,
        "opened_s": 0.0,
        "state": state,
        "alarm_state": alarm_state,
    }
    return Incident(**values | fields)


@pytest.mark.parametrize("state", get_args(IncidentState))
@pytest.mark.parametrize("alarm_state", get_args(AlarmState))
def test_every_event_in_every_state_is_what_the_table_has_or_is_refused_with_the_legal_ones(
    state: IncidentState, alarm_state: AlarmState
) -> None:
    for event, role, active in product(EVENTS, ROLES, (True, False)):
        before = incident(state, alarm_state, active=active)
        rows = [
            one
            for machine, now in ((TABLE.workflow, state), (TABLE.alarm, alarm_state))
            for one in machine
            if one.event == event and now in one.from_
        ]
        is_over = state in OVER_STATES and event not in {"reopen", "recur"}
        if not rows or (is_over and rows[0].role != "service"):
            with pytest.raises(IllegalTransitionError) as refused:
                apply_event(before, event, who="w", role=role, at_s=1000.0, **WHOLE)
            assert refused.value.legal == legal_events(before, None if role == "service" else role)
            assert event not in refused.value.legal
        elif not role_includes(role, rows[0].role):
            with pytest.raises(RoleError):
                apply_event(before, event, who="w", role=role, at_s=1000.0, **WHOLE)
        else:
            after, entries = apply_event(before, event, who="w", role=role, at_s=1000.0, **WHOLE)
            (row,) = rows
            machine = "workflow" if row in TABLE.workflow else "alarm"
            expected = row.to_if_active if row.to_if_active and active else row.to
            assert (entries[0].machine, entries[0].event, entries[0].who) == (machine, event, "w")
            assert entries[0].from_state == (state if machine == "workflow" else alarm_state)
            assert entries[0].to_state == expected
            assert (after.state if machine == "workflow" else entries[0].to_state) == expected
            assert entries[0].why == "because"
            if after.is_over and state not in OVER_STATES:
                assert after.alarm_state in {"normal", "out_of_service"}


@pytest.mark.parametrize("role", ROLE_ORDER)
def test_what_is_shown_as_legal_is_accepted(role: ActingRole) -> None:
    for state, alarm_state in product(get_args(IncidentState), get_args(AlarmState)):
        before = incident(state, alarm_state)
        for event in legal_events(before, role):
            after, _ = apply_event(before, event, who="w", role=role, at_s=1000.0, **WHOLE)
            assert after != before


def test_each_state_is_reached_and_none_is_a_trap() -> None:
    for machine, states in ((TABLE.workflow, get_args(IncidentState)), (TABLE.alarm, get_args(AlarmState))):
        assert {one.to for one in machine} | {one.to_if_active for one in machine} >= set(states) - {"new"}
        assert {state for one in machine for state in one.from_} == set(states)


def test_what_is_missing_is_refused_in_a_sentence() -> None:
    filed = incident("filed")
    for event, details, sentence in (
        ("dispatch", {}, "requires a team"),
        ("dismiss", {"why": "  "}, "requires a reason"),
        ("shelve", {"why": "x"}, "requires an end within 1 h"),
        ("shelve", {"why": "x", "until_s": 1000.0 + 3601.0}, "for priority 1"),
    ):
        with pytest.raises(MissingDetailError, match=sentence):
            apply_event(filed, event, who="w", role="operator", at_s=1000.0, **details)
    with pytest.raises(RoleError, match="follows a request"):
        apply_event(incident("in_hand"), "send_back", who="w", role="supervisor", at_s=1.0)
    with pytest.raises(IllegalTransitionError, match=r"'fly' is not legal .* legal now: file, dismiss"):
        apply_event(incident(), "fly", who="w", role="operator", at_s=1.0)


def test_shelving_ends_as_an_alarm_if_the_condition_lasts() -> None:
    shelved, _ = apply_event(incident(), "shelve", who="w", role="operator", at_s=0.0, why="x", until_s=60.0)
    assert (shelved.alarm_state, shelved.shelved_until_s) == ("shelved", 60.0)
    for active, state in ((True, "unacknowledged"), (False, "normal")):
        now = msgspec.structs.replace(shelved, active=active)
        after, _ = apply_event(now, "unshelve", who="service", role="service", at_s=60.0)
        assert (after.alarm_state, after.shelved_until_s) == (state, None)


@given(st.lists(st.sampled_from(EVENTS), max_size=40), st.sampled_from(ROLES))
def test_any_sequence_of_events_keeps_the_incident_consistent(events: list[str], role: ActingRole) -> None:
    now, entries = incident(alarm_state="normal"), []
    for k, event in enumerate(events):
        try:
            now, more = apply_event(
                now,
                event,
                who="w",
                role=role,
                at_s=float(k),
                why="x",
                team_id="t",
                until_s=k + 60.0,
                approved=True,
            )
        except IncidentError:
            continue
        entries += more
    sounded = [one for one in entries if one.machine == "alarm" and one.to_state == "unacknowledged"]
    assert now.annunciations == len(sounded)
    assert now.is_over == (now.closed_s is not None)
    assert (now.alarm_state == "shelved") == (now.shelved_until_s is not None)
    for machine, state in (("workflow", now.state), ("alarm", now.alarm_state)):
        walked = [one for one in entries if one.machine == machine]
        assert all(a.to_state == b.from_state for a, b in pairwise(walked))
        assert not walked or walked[-1].to_state == state


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"from": ["nowhere"]}, "'file' has no state 'nowhere'"),
        ({"to": "nowhere"}, "'file' has no state 'nowhere'"),
        ({"event": "dismiss"}, "'dismiss' twice from 'new'"),
    ],
)
def test_a_wrong_table_is_refused(change: dict[str, Any], sentence: str) -> None:
    rows = msgspec.to_builtins(TABLE)
    rows["workflow"][0] |= change
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert(rows, TransitionTable)
