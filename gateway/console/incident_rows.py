"""Describes incidents for lists: title, priority, state, since when, whose turn it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from analytics.incidents import incident_text
from gateway.api.incident_access import incident_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.api.directory_cache import DirectoryIndex
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.incidents import Incident

OPERATOR_STATES: Final = frozenset({"new", "filed", "reported", "verified"})
"""States in which the next step is the duty operator's; in the others that are open it is the team's."""
TURN_KEYS: Final[Mapping[str, str]] = {
    "new": "turn_file",
    "filed": "turn_dispatch",
    "dispatched": "turn_accept",
    "in_hand": "turn_handle",
    "reported": "turn_verify",
    "verified": "turn_close",
    "closed": "turn_nobody",
    "false_alarm": "turn_nobody",
}
PRIORITY_MARKS: Final = {1: "◆", 2: "▲", 3: "●", 4: "○"}
QUIET_ALARM_STATES: Final = frozenset({"shelved", "suppressed", "out_of_service"})


def incident_row(one: Incident, visitor: Visitor, index: DirectoryIndex) -> dict[str, Any]:
    """Return what a list shows of an incident; its title without sites that the visitor may not see."""
    response = incident_response(one, index)
    is_zh = visitor.language == "zh"
    return {
        "id": one.incident_id,
        "title": response.title_zh if is_zh else response.title_en,
        "priority": one.priority,
        "mark": PRIORITY_MARKS[one.priority],
        "state": state_name(one.state, visitor),
        "alarm": state_name(one.alarm_state, visitor),
        "is_unacknowledged": one.alarm_state in {"unacknowledged", "returned_unacknowledged"},
        "is_quiet": one.alarm_state in QUIET_ALARM_STATES,
        "started_s": one.started_s,
        "active": one.active,
        "turn": visitor.text(TURN_KEYS[one.state], one.assignee or one.team_id or visitor.text("the_team")),
        "anomalies": one.anomalies,
        "is_over": one.is_over,
    }


def sorted_for_work(found: list[Incident]) -> list[Incident]:
    """Return incidents with the most urgent first: those whose alarm is quiet by design last, then by age."""
    return sorted(found, key=lambda one: (one.alarm_state in QUIET_ALARM_STATES, one.priority, one.opened_s))


def state_name(state: str, visitor: Visitor) -> str:
    """Return the name of one of both states in the visitor's language."""
    return incident_text.STATE_NAMES[state][visitor.language == "zh"]


def event_name(event: str, visitor: Visitor) -> str:
    """Return the name of an event in the visitor's language."""
    return incident_text.event_name(event)[visitor.language == "zh"]
